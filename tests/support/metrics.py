"""The metrics of the service, as Prometheus sees them, and those that an expression names."""

from __future__ import annotations

import re
from typing import get_args

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from sqlalchemy import create_engine

import receiver.accept.metrics
import receiver.accept.notifier
import receiver.consume.metrics
import runtime.clock_watch
import workers.metrics
from receiver.admin.metrics_page import MetricsPage
from storage.monitoring.processes import ProcessState

#: The modules that register the others of their process.
MODULES = (
    receiver.accept.metrics,
    receiver.accept.notifier,
    receiver.consume.metrics,
    runtime.clock_watch,
    workers.metrics,
)

#: The labels that Prometheus gives every series: no metric of ours may have them.
OF_TARGETS = frozenset({"job", "instance"})

_OF_HISTOGRAMS = ("_bucket", "_count", "_sum")


def metrics() -> dict[str, frozenset[str]]:
    """Return the labels of each metric, by its name."""
    found = {}
    for metric in list(prometheus_client.REGISTRY._collector_to_names):
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("ampeco_"):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            found[name] = frozenset(metric._labelnames)
    # What is read from Postgres has a name even when Postgres does not answer.
    engine = create_engine("postgresql+psycopg://user@127.0.0.1:1/none")
    for family in MetricsPage(engine, {})._stored().collect():
        assert isinstance(family, GaugeMetricFamily)
        found[family.name] = frozenset(family._labelnames)
    return found


def series() -> dict[str, frozenset[str]]:
    """Return the labels of each series, by the name that a query uses: a histogram has three."""
    found = metrics()
    for name, labels in metrics().items():
        metric = prometheus_client.REGISTRY._names_to_collectors.get(name)
        if isinstance(metric, prometheus_client.Histogram):
            del found[name]
            found |= {
                f"{name}{suffix}": labels | ({"le"} if suffix == "_bucket" else set()) for suffix in _OF_HISTOGRAMS
            }
    return found


def named(expression: str) -> set[str]:
    """Return the names of our metrics in a query; recorded ones have a colon."""
    return set(re.findall(r"\bampeco_[a-z0-9_]+\b(?!:)", expression))


def _values() -> dict[tuple[str, str], set[str]]:
    """Return the values of each label of each series that exists from the start."""
    receiver.accept.metrics.create_series(["demo"])
    workers.metrics.create_series({"demo": ["evse"]})
    found: dict[tuple[str, str], set[str]] = {
        ("ampeco_processes", "state"): set(get_args(ProcessState)) - {"stopped"},
    }
    for family in prometheus_client.REGISTRY.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                found.setdefault((sample.name, label), set()).add(value)
    return found


def unknown(expression: str) -> list[str]:
    """Return what a query names and the service does not have: metrics, and labels and values of those that it names."""
    known, values = series(), _values()
    wrong = sorted(named(expression) - known.keys())
    for name, selector in re.findall(r"\b(ampeco_[a-z0-9_]+)\{([^}]*)\}", expression):
        for label, selected in re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"', selector):
            if label not in known.get(name, frozenset()) | OF_TARGETS:
                wrong.append(f"{name}: {label}")
            elif "$" not in selected:
                wrong += [f"{name}: {value}" for value in selected.split("|") if value not in values[name, label]]
    of_any = frozenset[str]().union(OF_TARGETS, *(known.get(name, frozenset()) for name in named(expression)))
    for grouping in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        wrong += [f"by {label}" for label in re.findall(r"\w+", grouping) if label not in of_any]
    return wrong
