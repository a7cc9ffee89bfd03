"""The state computed again from the log, compared with the live one, and put in its place."""

from __future__ import annotations
