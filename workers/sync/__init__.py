"""Refresh and reconcile: reading from the tenants' APIs."""
