"""The energy of sessions by quarter of an hour."""
