"""Programs of Debian packages that some tests need."""

from __future__ import annotations

import os

import pytest


def needs(path: str | None, package: str) -> str:
    """Return the path of a program or library; skip the test if its package is not installed.

    In CI the test fails instead, because ``.ci/packages.txt`` lists the packages.
    """
    if path is None:
        message = f"the package {package} is not installed: `apt-get install {package}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
