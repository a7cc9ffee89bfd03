"""What is shown live: one poller asks Postgres once a second for all open pages, and streams bring it to them."""

from __future__ import annotations
