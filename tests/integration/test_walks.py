"""Walks through AMPECO's listings: what was missed is found and healed, and nothing is lost on the way."""
