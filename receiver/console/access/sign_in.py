"""Sign in with a token, and stay signed in by a signed cookie.

The cookie is signed with the user's token, so it is valid in every process and after a restart, and ends when the token
is replaced or the user is removed.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta

from itsdangerous import BadData, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import Response

from receiver.console.access.users import ANYBODY, User, Users

COOKIE = "ampeco_receiver_console"

#: How long a person stays signed in.
SIGNED_IN_FOR = timedelta(hours=12)

#: Failed attempts to sign in that are allowed in a minute. All clients count together, because behind a proxy they have
#: one address.
MAX_FAILURES_PER_MINUTE = 10

_SALT = "ampeco-receiver console"


class SignIns:
    """Signs people in and out, and knows who is signed in.

    Parameters:
        users: the configured users; if there is none, everybody may look.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._failures: deque[float] = deque()

    @property
    def required(self) -> bool:
        """Whether people have to sign in."""
        return bool(self._users)

    def user_of(self, connection: HTTPConnection) -> User | None:
        """Return who is signed in; None without a cookie, or if it is old, forged or of a replaced token."""
        if not self.required:
            return ANYBODY
        cookie = connection.cookies.get(COOKIE, "")
        known = self._users.named(cookie.partition(".")[0])
        if known is None:
            return None
        user, token = known
        try:
            _signer(token).unsign(cookie, max_age=int(SIGNED_IN_FOR.total_seconds()))
        except BadData:
            return None
        return user

    def is_locked(self) -> bool:
        """Return whether too many attempts failed in the last minute."""
        while self._failures and self._failures[0] < time.monotonic() - 60:
            self._failures.popleft()
        return len(self._failures) >= MAX_FAILURES_PER_MINUTE

    def attempt(self, token: str) -> User | None:
        """Return the user of a token; a failure counts towards the limit."""
        user = self._users.with_token(token)
        if user is None:
            self._failures.append(time.monotonic())
        return user

    def sign_in(self, response: Response, user: User, *, secure: bool) -> None:
        """Add the cookie to a response.

        Parameters:
            secure: whether the page came over TLS.
        """
        known = self._users.named(user.name)
        assert known is not None, "the user was found by its token"
        response.set_cookie(
            COOKIE,
            _signer(known[1]).sign(user.name).decode(),
            max_age=int(SIGNED_IN_FOR.total_seconds()),
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    def sign_out(self, response: Response) -> None:
        """Remove the cookie."""
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def _signer(token: str) -> TimestampSigner:
    return TimestampSigner(token, salt=_SALT)
