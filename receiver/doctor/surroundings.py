"""The checks of what surrounds the service: the way from AMPECO to the receiver, and the local disk."""

from __future__ import annotations

import shutil

import httpx

from ampeco.api.transport import tls_context
from receiver.doctor.database import megabytes
from receiver.doctor.findings import Finding
from runtime.errors import cause
from runtime.settings import Settings

#: The embedded servers stop when their disk is full, so an operator needs some time before that.
MIN_FREE_SHARE = 0.1

_CALLBACK_ADVICE = (
    "see that the name, the certificate, the proxy and the firewall lead to a receiver; from here the way may differ"
    " from AMPECO's"
)


def look_at_callback(public_url: str | None, *, timeout_seconds: float) -> Finding:
    """Check that the public URL leads to a receiver."""
    name = "callback URL"
    if public_url is None:
        return Finding(name, "not checked", "RECEIVER_PUBLIC_URL is not set")
    url = f"{public_url.rstrip('/')}/healthz"
    try:
        answer = httpx.get(url, timeout=timeout_seconds, verify=tls_context())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(name, "failed", f"{url}: {cause(error)}", _CALLBACK_ADVICE)
    if answer.status_code == httpx.codes.OK:
        return Finding(name, "ok", f"{url} answers")
    return Finding(name, "failed", f"{url} answers {answer.status_code}", _CALLBACK_ADVICE)


def look_at_disk(settings: Settings) -> Finding:
    """Check the disk of the embedded servers.

    Parameters:
        settings: as they were loaded, without the URLs of embedded servers.
    """
    if settings.database_url is not None:
        return Finding("disk", "not checked", "Postgres does not show the free space of its server; monitor it there")
    folder = settings.data_dir.resolve()
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    detail = f"{megabytes(usage.free)} of {megabytes(usage.total)} are free for {folder}"
    if usage.free < MIN_FREE_SHARE * usage.total:
        return Finding("disk", "warning", detail, "make room, or set RECEIVER_DATA_DIR to another disk")
    return Finding("disk", "ok", detail)
