"""Processes: the supervisor, what it starts, and the embedded servers."""
