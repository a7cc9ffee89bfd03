"""The rules of ``deploy/prometheus/rules.yml``, as the Prometheus Operator takes them.

``make rules`` writes them again.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "prometheus" / "rules.yml"
PATH = Path(__file__).parent / "components" / "prometheus-operator" / "rules.yaml"

_HEAD = """\
# Written from deploy/prometheus/rules.yml by `make rules`: change them there.
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ampeco-receiver
spec:
"""


def prometheus_rule() -> str:
    """Return the PrometheusRule as YAML, with the comments of the groups."""
    _, key, groups = SOURCE.read_text(encoding="utf-8").partition("groups:\n")
    return _HEAD + textwrap.indent(key + groups, "  ")


if __name__ == "__main__":
    PATH.write_text(prometheus_rule(), encoding="utf-8")
