"""The place of an error is the innermost frame of the service's own code."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import place


def raised_in(*modules: str) -> Exception:
    """Return an error that a function of the last module raised, after those of the others had called it."""
    called: Any = None
    for module in reversed(modules):
        name = module.replace(".", "_")
        namespace: dict[str, Any] = {"__name__": module, "called": called}
        source = f"def {name}():\n    called() if called else int('x')"
        exec(compile(source, "executing.py", "exec"), namespace)
        called = namespace[name]
    with pytest.raises(ValueError, match="invalid literal") as raised:
        called()
    return raised.value


@pytest.mark.parametrize("package", ["ampeco", "storage", "runtime", "analytics", "workers", "receiver"])
def test_each_package_of_the_service_can_be_the_place(package: str) -> None:
    assert place(raised_in("dramatiq.worker", f"{package}.derive")) == f"executing.py:2 in {package}_derive"


def test_the_place_is_where_our_code_called_a_library() -> None:
    assert place(raised_in("workers.derive", "analytics.writing", "sqlalchemy.engine")) == (
        "executing.py:2 in analytics_writing"
    )


def test_an_error_outside_of_our_code_has_no_place() -> None:
    assert place(raised_in("dramatiq.worker", "sqlalchemy.engine")) == ""
