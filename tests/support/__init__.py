"""Helpers of the tests: servers, processes, a simulated tenant, senders and comparisons."""

from __future__ import annotations
