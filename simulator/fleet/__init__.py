"""The simulated tenant: its fleet, its people, and what happens to them."""

from __future__ import annotations
