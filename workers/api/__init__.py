"""Calls of the tenants' APIs: clients, rate limits, pauses and backing off."""
