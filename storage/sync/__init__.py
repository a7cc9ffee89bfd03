"""What is read from the API: refresh requests, sync runs, and what they found."""

from __future__ import annotations
