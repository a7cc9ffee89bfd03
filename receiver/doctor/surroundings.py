"""The checks of what surrounds the service: the way from AMPECO to the receiver, and the local disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import httpx

from ampeco.api.transport import tls_context
from receiver.doctor.database import megabytes
from receiver.doctor.diagnosis import Diagnosis
from runtime.errors import cause
from runtime.settings import Settings
from workers.monitoring.subscriptions import callback_url

#: The embedded servers stop when their disk is full, so an operator needs some time before that.
MIN_FREE_SHARE = 0.1

_CALLBACK_ADVICE = (
    "see that the name, the certificate, the proxy and the firewall lead to a receiver; from here the way may differ"
    " from AMPECO's"
)


def look_at_callback(public_url: str | None, tenants: Iterable[str], *, timeout_seconds: float) -> Diagnosis:
    """Check that the public URL leads to a receiver, on the path that AMPECO calls.

    The request is not signed, so a receiver refuses it and stores nothing. A proxy may pass no other path.

    Parameters:
        tenants: the configured tenants; the way to all of them is the same.
    """
    name = "callback URL"
    if public_url is None:
        return Diagnosis(name, "not checked", "RECEIVER_PUBLIC_URL is not set")
    url = callback_url(public_url, min(tenants, default="any"))
    try:
        answer = httpx.post(url, timeout=timeout_seconds, verify=tls_context())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Diagnosis(name, "failed", f"{url}: {cause(error)}", _CALLBACK_ADVICE)
    if answer.status_code == httpx.codes.UNAUTHORIZED and b'"unauthorized"' in answer.content:
        return Diagnosis(name, "ok", f"a receiver answers at {url}")
    return Diagnosis(name, "failed", f"no receiver: {url} answers {answer.status_code}", _CALLBACK_ADVICE)


def look_at_disk(settings: Settings) -> Diagnosis:
    """Check the disk of the embedded servers.

    Parameters:
        settings: as they were loaded, without the URLs of embedded servers.
    """
    if settings.database_url is not None:
        return Diagnosis("disk", "not checked", "Postgres does not show the free space of its server; monitor it there")
    folder = settings.data_dir.resolve()
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    detail = f"{megabytes(usage.free)} of {megabytes(usage.total)} are free for {folder}"
    if usage.free < MIN_FREE_SHARE * usage.total:
        return Diagnosis("disk", "warning", detail, "make room, or set RECEIVER_DATA_DIR to another disk")
    return Diagnosis("disk", "ok", detail)
