"""The kinds of each group, each with one entry."""
