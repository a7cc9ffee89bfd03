"""Read-only views for `status`, the demo and the chaos test."""

from __future__ import annotations
