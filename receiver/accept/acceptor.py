"""Accept: verify a notification and commit it to the log.

This module does not depend on HTTP: any transport with the same bytes and headers may call it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from ampeco.signature import Coverage, Encoding, Match, SigningToken, verify
from ampeco.tenants import Tenant
from receiver.accept.committer import GroupCommitter
from runtime.logging import get_logger
from storage.inbox.commit import Entry

logger = get_logger(__name__)

#: Delivery headers that are stored, by their lower-case name. The signature is not one of them.
KEPT_HEADERS = {
    "x-timestamp": "X-Timestamp",
    "x-tenant": "X-Tenant",
    "x-webhook-id": "X-Webhook-Id",
    "x-webhook-type": "X-Webhook-Type",
}

SIGNATURE_HEADER = "x-signature"
TIMESTAMP_HEADER = "x-timestamp"

#: Replaces the tokens of a tenant that does not exist, so that its 401 takes as long as that of a wrong signature.
_DUMMY_TOKEN = SigningToken.from_secret("no tenant has this token")


#: In place of the id of a token and the form of a signature, if neither is required and none verifies.
UNSIGNED = "unsigned"


class UnverifiedError(Exception):
    """The tenant is unknown, or the signature is missing or wrong; the sender does not learn which."""


@dataclass(frozen=True, slots=True)
class _Keys:
    tokens: tuple[SigningToken, ...]
    encodings: tuple[Encoding, ...]


class Acceptor:
    """Verifies notifications and commits them.

    Parameters:
        tenants: the tenants by name.
        committer: commits the notifications.
        unsigned: the tenants of which notifications are committed without a signature, because the transport has
            authenticated the sender. HTTP has no such tenants.
        kept_headers: the headers that are stored: their names there by their lower-case names.

    Attributes:
        traceparent: returns the W3C trace context of the current request; None if it is not traced.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        committer: GroupCommitter,
        *,
        unsigned: Collection[str] = (),
        kept_headers: Mapping[str, str] = KEPT_HEADERS,
    ) -> None:
        self._keys = {name: _Keys(tenant.signing_keys(), tenant.encodings) for name, tenant in tenants.items()}
        self._dummy_keys = _Keys((_DUMMY_TOKEN,), ("hex",))
        self._committer = committer
        self._unsigned = frozenset(unsigned)
        self._kept_headers = kept_headers
        self.traceparent: Callable[[], str | None] = lambda: None
        self._coverages: set[tuple[str, Coverage]] = set()

    @property
    def is_full(self) -> bool:
        """Whether the waiting room is full, so that the next notification would be refused."""
        return self._committer.is_full

    async def accept(self, tenant: str, headers: Mapping[str, str], body: bytes) -> UUID:
        """Verify a notification and commit it.

        Parameters:
            tenant: the tenant in the callback URL.
            headers: the headers by lower-case name.
            body: the unchanged body; a verified body is accepted whatever it contains.

        Returns:
            The id of its committed row in the log.

        Raises:
            UnverifiedError: it does not verify, and nothing was stored.
            NotCommittedError: it was not committed in time; the sender should send it again.
        """
        tenant_keys = self._keys.get(tenant)
        keys = tenant_keys or self._dummy_keys
        signature, timestamp = headers.get(SIGNATURE_HEADER), headers.get(TIMESTAMP_HEADER)
        match = verify(body, signature, keys.tokens, keys.encodings, timestamp=timestamp)
        if tenant_keys is None or (match is None and tenant not in self._unsigned):
            raise UnverifiedError
        kept = {name: headers[key] for key, name in self._kept_headers.items() if key in headers}
        if match is None:
            token_id = form = UNSIGNED
        else:
            token_id, form = match.token_id, match.form
            self._report_coverage(tenant, match)
        entry = Entry(tenant, body, kept, token_id, form, traceparent=self.traceparent())
        await self._committer.commit(entry)
        return entry.notification_id

    def _report_coverage(self, tenant: str, match: Match) -> None:
        """Log once what the signatures of a tenant cover, if it is more than the body."""
        if match.coverage != "body" and (tenant, match.coverage) not in self._coverages:
            self._coverages.add((tenant, match.coverage))
            logger.info("signatures cover the timestamp", tenant=tenant, coverage=match.coverage)
