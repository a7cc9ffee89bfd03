"""The tables, as SQLAlchemy describes them; importing the package fills ``tables.metadata`` with all of them."""

from __future__ import annotations

from storage.schema import commerce, console, derivation, entities, erasure, exclusions, history, monitoring, tables

__all__ = ["commerce", "console", "derivation", "entities", "erasure", "exclusions", "history", "monitoring", "tables"]
