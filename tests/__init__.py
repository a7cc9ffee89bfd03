"""Everything that the service promises, tried."""

import pytest

# What the support modules find missing is told as fully as what a test itself finds.
pytest.register_assert_rewrite("tests.support")
