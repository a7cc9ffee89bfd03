"""Everything that the service promises, tried."""

from __future__ import annotations

import pytest

# What the support modules find missing is told as fully as what a test itself finds.
pytest.register_assert_rewrite("tests.support")
