"""Accept: bytes in, log row out.

This knows no HTTP: any transport that carries the same bytes and headers may call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ampeco.signature import Encoding, SigningToken, verify
from ampeco.tenants import Tenant
from receiver.committer import GroupCommitter
from storage.inbox import Entry

#: Delivery headers that are kept, by their lower-case name. The signature is not one of them.
KEPT_HEADERS = {
    "x-timestamp": "X-Timestamp",
    "x-tenant": "X-Tenant",
    "x-webhook-id": "X-Webhook-Id",
    "x-webhook-type": "X-Webhook-Type",
}

SIGNATURE_HEADER = "x-signature"

#: Stands in for a tenant that does not exist, so that its refusal takes as long as a wrong signature's.
_NOBODY = SigningToken.from_secret("no tenant has this token")


class UnverifiedError(Exception):
    """The tenant is unknown, or the signature is missing or wrong. Nobody is told which."""


@dataclass(frozen=True, slots=True)
class _Keys:
    tokens: tuple[SigningToken, ...]
    encodings: tuple[Encoding, ...]


class Acceptor:
    """Verifies notifications and commits them.

    Parameters:
        tenants: the tenants by name.
        committer: what makes them durable.
    """

    def __init__(self, tenants: Mapping[str, Tenant], committer: GroupCommitter) -> None:
        self._keys = {name: _Keys(tenant.signing_keys(), tenant.encodings) for name, tenant in tenants.items()}
        self._nobody = _Keys((_NOBODY,), ("hex",))
        self._committer = committer

    @property
    def is_full(self) -> bool:
        """Whether so many notifications wait that the next would be refused."""
        return self._committer.is_full

    async def accept(self, tenant: str, headers: Mapping[str, str], body: bytes) -> UUID:
        """Make a notification durable.

        Parameters:
            tenant: as named in the callback URL.
            headers: by lower-case name.
            body: as it came; whatever a verified body holds is accepted.

        Returns:
            The id of its log row, committed.

        Raises:
            UnverifiedError: nothing was stored.
            NotCommittedError: it was not committed in time; the sender should repeat it.
        """
        keys = self._keys.get(tenant)
        known = keys or self._nobody
        match = verify(body, headers.get(SIGNATURE_HEADER), known.tokens, known.encodings)
        if keys is None or match is None:
            raise UnverifiedError
        kept = {name: headers[key] for key, name in KEPT_HEADERS.items() if key in headers}
        entry = Entry(tenant, body, kept, match.token_id, match.encoding)
        await self._committer.commit(entry)
        return entry.notification_id
