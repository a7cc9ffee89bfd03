"""The console: web pages that show what the service does and knows, and from which operators act."""

from __future__ import annotations
