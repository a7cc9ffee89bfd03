"""What some tests need: programs of Debian packages, and another user."""

from __future__ import annotations

import os

import pytest

#: Runs a command as another user, who may read what root reads: the Python that runs the tests may be root's own.
AS_NOBODY = (
    *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


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
