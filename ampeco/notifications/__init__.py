"""Notifications: their types, and how each is parsed."""
