"""Consume: AMPECO's other delivery, from a record of a topic in Kafka to a committed notification and its offset."""

from __future__ import annotations
