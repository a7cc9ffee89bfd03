"""Everything that the service promises, tried."""

from __future__ import annotations

import pytest

# A failed assertion of a support module is reported as fully as one of a test.
pytest.register_assert_rewrite("tests.support")
