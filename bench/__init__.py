"""The benchmark: ``python -m bench``; ``docs/benchmark.md`` describes what it measures and how to read it."""

from __future__ import annotations
