"""The log applied again, and the state computed from it, compared with the live one, and put in its place."""

from __future__ import annotations
