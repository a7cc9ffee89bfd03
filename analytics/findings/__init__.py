"""Findings: what looks wrong in the data, by named rules."""
