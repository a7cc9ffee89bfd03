"""Alert people: look for incidents, and send the messages that are due.

One process at a time looks, and each message is claimed in Postgres before it is sent, so it does not matter how many
processes have this job. A webhook that fails or hangs delays this job alone.
"""

from __future__ import annotations

from datetime import timedelta

from redis.exceptions import RedisError

from runtime.alerts import Alerts
from runtime.errors import cause
from runtime.logging import Throttle, get_logger
from storage.locks import Lock, try_lock
from storage.monitoring import alerts as store
from storage.monitoring.alerts import Condition, Incident, Kind
from workers.api.context import Context
from workers.metrics import ALERT_MESSAGES, ALERT_UNSENT_SECONDS
from workers.monitoring.conditions import conditions, conditions_of_tokens
from workers.monitoring.webhook import Webhook, WebhookError, incident_message

logger = get_logger(__name__)

#: The delay after the first failed attempt. It doubles with each further one, up to the maximum: by then a person has
#: to put the webhook right, and an hour later the message arrives.
FIRST_RETRY = timedelta(seconds=15)
MAX_RETRY = timedelta(hours=1)

#: The most messages of one run, because a channel takes about one a second; the next run sends more.
MAX_MESSAGES = 10


class AlertJob:
    """The job of one process that alerts people."""

    def __init__(self, context: Context, alerts: Alerts) -> None:
        self._context = context
        self._alerts = alerts
        self._webhook = Webhook(alerts)
        self._is_new = Throttle()

    def run(self) -> None:
        """Look for incidents, and send the messages that are due."""
        self._look()
        with self._context.engine.begin() as connection:
            due = store.due(connection, limit=MAX_MESSAGES)
        for incident in due:
            if not self._send(incident):
                # The webhook would fail for the others as well.
                break
        with self._context.engine.connect() as connection:
            ALERT_UNSENT_SECONDS.set(store.unsent_seconds(connection))

    def _look(self) -> None:
        kinds, unknown = self._alerts.kinds, set[Kind]()
        found: list[Condition] = []
        if "token_rejected" in kinds:
            # Before the transaction, which must not wait for Redis.
            try:
                found += conditions_of_tokens(self._context.redis, self._alerts.tenants)
            except RedisError as error:
                unknown.add("token_rejected")
                if self._is_new("redis"):
                    logger.warning("alerts do not see rejected tokens", error=cause(error))
        with self._context.engine.begin() as connection:
            if try_lock(connection, Lock.ALERTS):
                found += conditions(connection, self._alerts.tenants, kinds)
                store.record(connection, found, tenants=self._alerts.tenants, kinds=kinds, unknown=unknown)

    def _send(self, incident: Incident) -> bool:
        """Send a message unless another process does; return whether the webhook may be used for further ones."""
        with self._context.engine.begin() as connection:
            claimed = store.claim(connection, incident, _delay(incident.attempts))
        if claimed is None:
            return True
        message = incident_message(claimed, self._alerts.console_url)
        labels = {"incident_id": message.incident_id, "tenant": message.tenant, "kind": message.kind}
        try:
            self._webhook.send(message)
        except WebhookError as error:
            with self._context.engine.begin() as connection:
                store.note_failed(connection, claimed, str(error))
            ALERT_MESSAGES.labels("failed").inc()
            logger.warning("alert not sent", **labels, state=message.state, attempts=claimed.attempts, error=str(error))
            return False
        with self._context.engine.begin() as connection:
            store.note_sent(connection, claimed)
        ALERT_MESSAGES.labels("sent").inc()
        logger.info("alert sent", **labels, state=message.state)
        return True


def _delay(attempts: int) -> timedelta:
    """Return the time from an attempt to the next.

    Parameters:
        attempts: the attempts before it.
    """
    return min(FIRST_RETRY * (1 << min(attempts, 20)), MAX_RETRY)
