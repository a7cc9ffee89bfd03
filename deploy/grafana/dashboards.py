"""Write the dashboard for Grafana, ``receiver.json``: `make dashboards`.

The queries are those of ``docs/operations/monitoring.md``; a test compares their metrics and labels with the code.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

PATH = Path(__file__).with_name("receiver.json")

#: Panels are on a grid of 24 columns: three beside each other.
PANEL_WIDTH = 8
PANEL_HEIGHT = 8

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")

#: The selected tenants.
TENANT = 'tenant=~"$tenant"'


@dataclass(frozen=True, slots=True)
class Graph:
    """A panel: its title, its unit by Grafana's name, and its queries by their legends."""

    title: str
    unit: str
    queries: dict[str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """A row of panels."""

    title: str
    graphs: Sequence[Graph]


def rate(metric: str, by: str, *matchers: str) -> str:
    """Return the query of how often something happens in a second, by some labels."""
    return f"sum by ({by}) (rate({metric}{{{', '.join(matchers)}}}[$__rate_interval]))"


def quantiles(histogram: str, by: str = "", *matchers: str) -> dict[str, str]:
    """Return the queries of the median and of the slowest hundredth of a histogram, by some labels."""
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return {
        f"{legend}{name}": f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, *matchers)})"
        for name, share in (("median", 0.5), ("99 %", 0.99))
    }


def latest(metric: str, by: str, *matchers: str) -> str:
    """Return the query of a gauge that several processes show alike, by some labels."""
    return f"max by ({by}) ({metric}{{{', '.join(matchers)}}})"


SECTIONS = (
    Section(
        "Accepting",
        (
            Graph(
                "Notifications accepted",
                "cps",
                {"{{tenant}}": rate("ampeco_notifications_accepted_total", "tenant", TENANT)},
            ),
            Graph(
                "Requests refused and connections closed",
                "cps",
                {
                    "refused: {{reason}}": rate("ampeco_notifications_refused_total", "reason"),
                    "closed: {{reason}}": rate("ampeco_connections_cut_total", "reason"),
                },
            ),
            Graph(
                "Part of the notifications that we failed to accept (objective: 0.1 %)",
                "percentunit",
                {
                    "5 minutes": "ampeco:accept_failures:ratio_rate5m",
                    "1 hour": "ampeco:accept_failures:ratio_rate1h",
                    "6 hours": "ampeco:accept_failures:ratio_rate6h",
                },
            ),
            Graph("Time of a commit", "s", quantiles("ampeco_commit_seconds")),
            Graph("Notifications of a commit", "short", quantiles("ampeco_committed_together")),
            Graph(
                "Waiting for a commit, and failed commits",
                "short",
                {
                    "waiting": "sum(ampeco_notifications_waiting)",
                    "failed: {{error}}": "sum by (error) (increase(ampeco_commit_failures_total[$__rate_interval]))",
                },
            ),
        ),
    ),
    Section(
        "Consuming from Kafka",
        (
            Graph(
                "Records that wait in Kafka",
                "short",
                {"{{tenant}}": f"sum by (tenant) (ampeco_kafka_lag_records{{{TENANT}}})"},
            ),
            Graph(
                "Records rejected, and errors of brokers",
                "short",
                {
                    "rejected: {{tenant}}, {{reason}}": "sum by (tenant, reason)"
                    f" (increase(ampeco_kafka_records_rejected_total{{{TENANT}}}[$__rate_interval]))",
                    "error: {{error}}": "sum by (error) (increase(ampeco_kafka_errors_total[$__rate_interval]))",
                },
            ),
            Graph(
                "Partitions consumed, and consumers that are paused",
                "short",
                {
                    "partitions: {{tenant}}": f"sum by (tenant) (ampeco_kafka_partitions{{{TENANT}}})",
                    "paused": "sum(ampeco_kafka_paused)",
                },
            ),
        ),
    ),
    Section(
        "From accepted to derived",
        (
            Graph("From commit to applied", "s", quantiles("ampeco_applied_lag_seconds", "tenant", TENANT)),
            Graph("From applied to derived", "s", quantiles("ampeco_derived_lag_seconds", "tenant", TENANT)),
            Graph(
                "Age of what waits",
                "s",
                {
                    "to be applied: {{tenant}}": latest("ampeco_oldest_pending_seconds", "tenant", TENANT),
                    "to be derived: {{tenant}}": latest("ampeco_oldest_underived_seconds", "tenant", TENANT),
                    "findings to be evaluated: {{tenant}}": latest(
                        "ampeco_oldest_unevaluated_seconds", "tenant", TENANT
                    ),
                },
            ),
            Graph(
                "Notifications pending",
                "short",
                {"{{tenant}}": latest("ampeco_notifications_pending", "tenant", TENANT)},
            ),
            Graph(
                "Notifications ignored or failed",
                "cps",
                {"{{tenant}}: {{state}}": rate("ampeco_notifications_not_applied_total", "tenant, state", TENANT)},
            ),
            Graph(
                "Batches postponed, and sent again",
                "cps",
                {
                    "postponed: {{error}}": rate("ampeco_batches_postponed_total", "error", TENANT),
                    "sent again": "sum(rate(ampeco_batches_swept_total[$__rate_interval]))",
                },
            ),
        ),
    ),
    Section(
        "AMPECO's API",
        (
            Graph("Calls", "cps", {"{{tenant}}: {{reason}}": rate("ampeco_api_calls_total", "tenant, reason", TENANT)}),
            Graph("Time of a call", "s", quantiles("ampeco_api_call_seconds", "outcome", TENANT)),
            Graph(
                "Part of the daily quota that is used",
                "percentunit",
                {"{{tenant}}": latest("ampeco_api_quota_used_ratio", "tenant", TENANT)},
            ),
            Graph(
                "Reads by result",
                "cps",
                {"{{tenant}}: {{result}}": rate("ampeco_api_reads_total", "tenant, result", TENANT)},
            ),
            Graph(
                "Refresh requests",
                "short",
                {
                    "waiting: {{tenant}}": latest("ampeco_refresh_waiting", "tenant", TENANT),
                    "due: {{tenant}}": latest("ampeco_refresh_due", "tenant", TENANT),
                    "not resolved: {{tenant}}": latest("ampeco_refresh_troubled", "tenant", TENANT),
                },
            ),
            Graph(
                "Calls that were not necessary",
                "cps",
                {"{{tenant}}: {{reason}}": rate("ampeco_api_calls_saved_total", "tenant, reason", TENANT)},
            ),
        ),
    ),
    Section(
        "Completeness",
        (
            Graph(
                "Entities that reconciling found missing or stale",
                "cps",
                {
                    "{{tenant}}: {{kind}} {{found}}": rate(
                        "ampeco_reconciled_total", "tenant, kind, found", TENANT, 'found=~"missing|stale|absent"'
                    )
                },
            ),
            Graph(
                "Time since the last notification",
                "s",
                {"{{tenant}}": latest("ampeco_last_notification_age_seconds", "tenant", TENANT)},
            ),
            Graph(
                "Traffic gaps, and subscriptions that are not sound",
                "short",
                {
                    "traffic gap: {{tenant}}": latest("ampeco_tenant_traffic_gap", "tenant", TENANT),
                    "not sound: {{tenant}}": f"1 - min by (tenant) (ampeco_subscription_sound{{{TENANT}}})",
                },
            ),
        ),
    ),
    Section(
        "Processes",
        (
            Graph("Processes by state", "short", {"{{name}}: {{state}}": latest("ampeco_processes", "name, state")}),
            Graph("Processes by release", "short", {"{{version}}": "count by (version) (ampeco_build_info)"}),
            Graph("Jobs overdue", "short", {"{{task}}": "sum by (task) (ampeco_job_overdue)"}),
            Graph("Failures in the background", "cps", {"{{task}}": rate("ampeco_background_failures_total", "task")}),
            Graph("Clocks", "s", {"against {{against}}": latest("ampeco_clock_offset_seconds", "against")}),
            Graph("Days ahead with a partition of the log", "short", {"days": "max(ampeco_log_days_prepared)"}),
        ),
    ),
)


def dashboard() -> str:
    """Return the dashboard as JSON, as Grafana imports it."""
    built = (
        Dashboard("AMPECO receiver")
        .uid("ampeco-receiver")
        .tags(["ampeco"])
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(
            QueryVariable("tenant")
            .label("Tenant")
            .datasource(SOURCE)
            .query("label_values(ampeco_notifications_accepted_total, tenant)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
        )
    )
    ids = itertools.count(1)
    for section in SECTIONS:
        built.with_row(Row(section.title).id(next(ids)))
        for graph in section.graphs:
            built.with_panel(_panel(graph).id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _panel(graph: Graph) -> Panel:
    panel = (
        Panel()
        .title(graph.title)
        .unit(graph.unit)
        .datasource(SOURCE)
        .span(PANEL_WIDTH)
        .height(PANEL_HEIGHT)
        .axis_soft_min(0)
        .legend(VizLegendOptions().show_legend(True))
    )
    for name, (legend, query) in zip(string.ascii_uppercase, graph.queries.items(), strict=False):
        panel.with_target(Dataquery().ref_id(name).expr(query).legend_format(legend))
    return panel


if __name__ == "__main__":
    PATH.write_text(dashboard(), encoding="utf-8")
