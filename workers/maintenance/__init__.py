"""Replay, rebuild and erase."""
