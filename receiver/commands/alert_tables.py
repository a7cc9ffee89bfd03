"""The table and lines about incidents."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from receiver.admin.monitoring import seconds_since
from receiver.terminal import age, styled
from storage.monitoring.alerts import Incident


def incident_table(incidents: Sequence[Incident]) -> Table:
    """Return the table of incidents, with what became of their messages."""
    table = Table(title="Incidents", title_justify="left")
    for heading in ("Tenant", "Incident", "What", "Since", "State", "Message"):
        table.add_column(heading, overflow="fold")
    for incident in incidents:
        table.add_row(
            incident.tenant or "–",
            " ".join(filter(None, (incident.kind, incident.subject))),
            incident.summary,
            f"{incident.opened_at:%Y-%m-%d %H:%M}",
            _state(incident),
            _message(incident),
        )
    return table


def _state(incident: Incident) -> str | Text:
    if incident.resolved_at is not None:
        return f"resolved {incident.resolved_at:%Y-%m-%d %H:%M}"
    return styled("red", "open", f", seen {age(seconds_since(incident.last_seen_at))} ago")


def _message(incident: Incident) -> str | Text:
    if incident.to_send is not None:
        return styled("yellow", "not sent", f": {incident.last_error}") if incident.last_error else "to be sent"
    if incident.notified_open_at is None and incident.notified_resolved_at is None:
        return "none: it was short"
    return "sent"


def unsent_lines(incidents: Sequence[Incident]) -> list[str]:
    """Return a sentence about the messages that the webhook did not accept; empty if there are none."""
    unsent = [incident for incident in incidents if incident.to_send is not None and incident.last_error is not None]
    if not unsent:
        return []
    oldest = min(unsent, key=lambda incident: incident.opened_at)
    waiting = "1 message waits" if len(unsent) == 1 else f"{len(unsent)} messages wait"
    return [
        f"Alerts: {waiting} for the webhook, which did not accept the oldest: {oldest.last_error}; next attempt at"
        f" {oldest.retry_at:%H:%M:%S} UTC. Try the webhook with `ampeco-receiver alerts test`."
    ]
