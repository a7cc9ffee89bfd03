"""Refresh and reconcile: reading from the tenants' APIs."""

from __future__ import annotations
