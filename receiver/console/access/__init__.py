"""Access to the console: who may sign in, who is signed in, and which requests may act."""

from __future__ import annotations
