"""Plain records: the resources that staff keep and that no notification or session of the simulator needs."""

from __future__ import annotations
