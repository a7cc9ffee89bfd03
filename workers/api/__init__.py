"""Calls of the tenants' APIs: clients, rate limits, pauses and backing off."""

from __future__ import annotations
