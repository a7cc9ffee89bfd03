"""The commands that do the same as pages of the console."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime

from storage.log.scope import BEFORE_ANY, Scope
from storage.operator_exclusions import SUBJECTS, NewExclusion, Subject

#: The options that select notifications, with the attribute of a scope that each gives.
_REPLAY_OPTIONS = {
    "--type": "notification_type",
    "--state": "state",
    "--reason": "reason",
    "--session": "session_id",
    "--evse": "evse_id",
    "--charge-point": "charge_point_id",
    "--containing": "containing",
    "--id": "notification_id",
}


def replay_command(scope: Scope) -> str:
    """Return the command that replays a scope, quoted for a shell."""
    words = ["ampeco-receiver", "replay", "--tenant", scope.tenant]
    if scope.notification_id is None:
        if scope.since > BEFORE_ANY or scope.state != "failed":
            words += ["--from", _iso(scope.since)]
        words += ["--to", _iso(scope.until)]
    for option, attribute in _REPLAY_OPTIONS.items():
        value = getattr(scope, attribute)
        if value is not None:
            # Joined by a sign of equality, because a value may begin with a hyphen.
            words.append(f"{option}={value}")
    return shlex.join(words)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def exclude_command(tenant: str, exclusion: NewExclusion) -> str:
    """Return the command that enters an exclusion."""
    words = _exclude(tenant, exclusion.subject, exclusion.subject_id)
    words += ["--from", exclusion.began_at.isoformat()]
    words += ["--to", exclusion.ended_at.isoformat()] if exclusion.ended_at else []
    words += ["--reason", exclusion.reason]
    words += ["--evidence", exclusion.evidence] if exclusion.evidence else []
    return shlex.join(words)


def exclude_draft(tenant: str, subject_ids: Mapping[Subject, int | None], values: Mapping[str, str]) -> str:
    """Return the command that enters what a form holds, with words in capitals for what is still to be filled in.

    Parameters:
        subject_ids: the id of each subject that the form offers.
        values: what the form holds, by field.
    """
    subject: Subject = next((each for each in SUBJECTS if each == values.get("subject")), "evse")
    words = _exclude(tenant, subject, subject_ids[subject] or 0)
    for name, missing in (("from", "TIME"), ("to", "TIME"), ("reason", "WHY"), ("evidence", "PROOF")):
        words += [f"--{name}", values.get(name) or missing]
    return shlex.join(words)


def _exclude(tenant: str, subject: Subject, subject_id: int) -> list[str]:
    return ["ampeco-receiver", "exclude", "--tenant", tenant, f"--{subject.replace('_', '-')}", str(subject_id)]
