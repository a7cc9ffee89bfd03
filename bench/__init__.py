"""The benchmark: ``python -m bench``. What it measures and how to read it is in ``docs/benchmark.md``."""
