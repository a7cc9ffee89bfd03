"""The HTTP API of a tenant: client, transport, listings and answers."""

from __future__ import annotations
