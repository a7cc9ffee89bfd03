"""The monitors of subscriptions and traffic."""

from __future__ import annotations
