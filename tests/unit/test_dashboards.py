"""The dashboard is the one that its program writes, and shows metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboards import PATH, dashboard
from tests.support.metrics import named, unknown
from tests.support.requirements import needs

DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())
TARGETS: dict[str, dict[str, str]] = {
    f"{panel['title']}-{target['refId']}": target for panel in DOCUMENT["panels"] for target in panel.get("targets", [])
}


def test_the_dashboard_is_as_its_program_writes_it() -> None:
    assert PATH.read_text() == dashboard(), "`make dashboards` writes it again."


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_metric_label_and_value_of_a_panel_exists(target: dict[str, str]) -> None:
    rules = yaml.safe_load((PATH.parents[1] / "prometheus" / "rules.yml").read_text())
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    assert named(target["expr"]) or target["expr"] in recorded
    assert unknown(target["expr"]) == []
    grouped = {
        label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.findall(r"\w+", labels)
    }
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == grouped - {"le"}


@pytest.mark.process
def test_every_query_is_one_that_prometheus_can_read(tmp_path: Path) -> None:
    queries = [target["expr"].replace("$__rate_interval", "5m") for target in TARGETS.values()]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    program = needs(shutil.which("promtool"), "prometheus")
    done = subprocess.run([program, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_has_a_place_and_an_id_of_its_own() -> None:
    ids = [panel["id"] for panel in DOCUMENT["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DOCUMENT["panels"]]
    assert len(set(ids)) == len(ids) == len(set(places))
