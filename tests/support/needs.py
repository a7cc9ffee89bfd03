"""Programs from Debian's packages that some tests need."""

from __future__ import annotations

import os

import pytest


def needs(path: str | None, package: str) -> str:
    """Return the path of a program or library, or skip the test where its package is not installed.

    In CI nothing is skipped: the packages are listed in ``.ci/packages.txt``.
    """
    if path is None:
        message = f"the package {package} is not installed: `apt-get install {package}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
