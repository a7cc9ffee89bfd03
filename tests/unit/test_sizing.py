"""The page about sizing: its sums are right, and what it calls measured is what the other pages say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operations/sizing.md").read_text()

#: Where each measured value stands, in a form that finds it and nothing else.
MEASURED = {
    "accepted": ("benchmark.md", r"\(b\) ours: accepted +\| +([\d,]+) "),
    "applied": ("benchmark.md", r"\(d\) ours: accepted and applied \| +([\d,]+) "),
    "cores": ("benchmark.md", r"^    CPUs (\d+) "),
    "chunk_ms": ("benchmark.md", r"^\| 1 \| \d+ \| ([\d.]+) "),
    "chunk_db_ms": ("benchmark.md", r"^\| 1 \| \d+ \| [\d.]+ \+ ([\d.]+) "),
    "round_ms": ("benchmark.md", r"^\| 1 (?:\|[^|]+){2}\| \d+ \| ([\d.]+) "),
    "round_db_ms": ("benchmark.md", r"^\| 1 (?:\|[^|]+){2}\| \d+ \| [\d.]+ \+ ([\d.]+) "),
    "bytes": ("benchmark.md", r"^    \| together .* ([\d,]+) \|$"),
    "log_bytes": ("benchmark.md", r"^    \| ingest\.notification .* ([\d,]+) \|$"),
    "fleet_evses": ("benchmark.md", r"^\| ([\d,]+) EVSEs, calm \| 315 "),
    "fleet_notifications": ("benchmark.md", r"^\| 2,000 EVSEs, calm \| [\d,]+ \| ([\d,]+) "),
    "fleet_calls": ("benchmark.md", r"^\| 2,000 EVSEs, calm (?:\| [\d,]+ ){5}\| ([\d,]+) "),
    "fleet_reconcile": ("benchmark.md", r"one costs it some (\d+) calls"),
    "small_evses": ("benchmark.md", r"^\| ([\d,]+) EVSEs, calm \| 130 "),
    "small_calls": ("benchmark.md", r"^\| 80 EVSEs, calm (?:\| [\d,]+ ){5}\| ([\d,]+) "),
    "serve_connections": ("operations/running.md", r"^\| `serve`, for each process .* (\d+) \|$"),
    "work_connections": ("operations/running.md", r"^\| `work`, for each process .* (\d+) \|$"),
    "daily_quota": ("configuration.md", r"^\| `calls_per_day` \| `(\d+)` "),
}


def number(text: str) -> float:
    return float(text.replace(",", ""))


def shown(value: float) -> str:
    """Write a number as the page does: three digits, and small whole numbers exactly."""
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading, without those of its head."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    found = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in found]


def test_every_measured_value_is_that_of_the_page_that_it_comes_from() -> None:
    values = {name: value for name, value, *_ in rows("What was measured")}
    assert values.keys() == MEASURED.keys()
    for name, (page, pattern) in MEASURED.items():
        (found,) = re.findall(pattern, (DOCS / page).read_text(), re.MULTILINE)
        assert number(values[name]) == number(found), name


@pytest.mark.parametrize("column", range(4))
def test_every_reckoned_value_is_what_its_formula_gives(column: int) -> None:
    values = {
        name: number(value) for heading in ("What was measured", "What is assumed") for name, value, *_ in rows(heading)
    }
    reckoned = 0
    for name, _, *cells, formula in rows("Four sizes"):
        if formula == "–":
            values[name] = number(cells[column])
            continue
        values[name] = eval(formula, {"__builtins__": {}, "ceil": math.ceil, "max": max, "min": min}, values)
        assert cells[column] == shown(values[name]), f"{name} is {shown(values[name])}"
        reckoned += 1
    assert reckoned > 10


def test_the_figures_of_the_text_are_those_of_the_table() -> None:
    table = {name: cells for name, _, *cells, _ in rows("Four sizes")}
    (section,) = re.findall(r"^## Which limit comes first\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    values = {name: number(value) for name, value, *_ in rows("What was measured") + rows("What is assumed")}
    one_host = (
        values["host_cores"] / values["postgres_share"] / values["cores"] * values["applied"] * values["headroom"]
    )
    for figure in (
        f"some {shown(values['applied'] * values['headroom'])} a second",
        f"more than {table['largest'][0]} EVSEs",
        f"{table['written'][2]} MB a second",
        f"{table['log_tb'][2]} TB of the log in {shown(values['keep_days'])} days",
        f"{table['year_tb'][2]} TB of history a year",
        f"some {shown(one_host)} a second",
        f"{values['round_ms'] + values['round_db_ms']:.0f} ms of processor time for one change",
    ):
        assert figure in section, figure
