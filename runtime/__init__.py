"""What every process needs: settings, logging, readiness, heartbeats and the admin port."""

from __future__ import annotations
