"""The rules for Prometheus name what the service has, are tested one by one, and lead to a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.metrics import OF_TARGETS, metrics, named, unknown
from tests.support.pages import anchors
from tests.support.requirements import needs

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"


def loaded(path: Path) -> Any:
    return yaml.load(path.read_text(), yaml.CSafeLoader)  # the loader in Python takes half a second


RULES: list[dict[str, Any]] = [rule for group in loaded(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
TESTS: list[dict[str, Any]] = [
    test for path in sorted((PROMETHEUS / "tests").glob("*.yml")) for test in loaded(path)["tests"]
]

#: Series that begin with the first failure of a sort: ``increase()`` does not see it.
BORN_LATE = {"ampeco_commit_failures_total", "ampeco_batches_postponed_total", "ampeco_api_deprecated_calls_total"}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = needs(shutil.which("promtool"), "prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.process
def test_the_rules_are_valid_and_every_alert_fires_and_is_silent_as_its_tests_say() -> None:
    for command, files in (
        ("check", [PROMETHEUS / "rules.yml"]),
        ("test", sorted((PROMETHEUS / "tests").glob("*.yml"))),
    ):
        done = promtool(command, "rules", *files)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_both_firing_and_silent(alert: str) -> None:
    tested = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert {bool(case["exp_alerts"]) for case in tested} == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_label_and_value_of_a_rule_exists(rule: dict[str, Any]) -> None:
    recorded = {other["record"] for other in RULES if "record" in other}
    assert named(rule["expr"]) or any(name in rule["expr"] for name in recorded)
    assert set(re.findall(r"\bampeco:[a-z0-9_:]+", rule["expr"])) <= recorded
    assert unknown(rule["expr"]) == []
    assert BORN_LATE.isdisjoint(named(rule["expr"]))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_patience_a_severity_a_summary_and_a_page_that_says_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors((ROOT / page).read_text())


def test_every_alert_is_in_the_documentation_and_no_other() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    assert set(re.findall(r"^\| `(Ampeco\w+)` \|", page, re.MULTILINE)) == ALERTS.keys()


def test_no_metric_has_a_label_that_prometheus_gives_its_targets() -> None:
    assert [name for name, labels in metrics().items() if labels & OF_TARGETS] == []
