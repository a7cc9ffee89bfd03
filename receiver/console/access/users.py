"""The people who may sign in to the console: tables ``[console.users.NAME]`` in the tenants file."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator

from ampeco.faults import first_fault
from ampeco.tenants import TenantsError, errors_of, read_tenants_file, require_one_place, secret_of

#: ``look`` sees every page; ``act`` may also change things, such as to replay notifications.
Role = Literal["look", "act"]

#: A token is the only thing that a stranger has to guess.
MIN_TOKEN_LENGTH = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_-]{0,62}")


@dataclass(frozen=True, slots=True)
class User:
    """A person who is signed in.

    Attributes:
        name: the name in the settings.
        role: what the person may do.
    """

    name: str
    role: Role

    @property
    def may_act(self) -> bool:
        """Whether the person may change things."""
        return self.role == "act"


#: Everybody who reaches a console without configured users; it then listens on this machine alone.
ANYBODY = User("anybody on this machine", "look")


class _Entry(BaseModel):
    """A table ``[console.users.NAME]``: the role, and one of three ways to give the token."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    role: Role
    token: SecretStr | None = None
    token_env: str | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> _Entry:
        require_one_place(self, "token")
        return self

    def secret(self, setting: str) -> str:
        token, _ = secret_of(self, "token", setting)
        if len(token) < MIN_TOKEN_LENGTH:
            raise TenantsError(f"{setting}: the token needs at least {MIN_TOKEN_LENGTH} characters.")
        return token


class Users:
    """The configured users, by name, with the token of each.

    Parameters:
        tokens: each user with the token.
    """

    def __init__(self, tokens: Mapping[User, str]) -> None:
        self._tokens = {user.name: (user, token) for user, token in tokens.items()}

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def with_token(self, token: str) -> User | None:
        """Return the user whose token this is; each is compared, in constant time."""
        given, matching = token.strip().encode("utf-8", "surrogatepass"), None
        for user, known in self._tokens.values():
            if hmac.compare_digest(known.encode(), given):
                matching = user
        return matching

    def named(self, name: str) -> tuple[User, str] | None:
        """Return a user and the token."""
        return self._tokens.get(name)


def load_users(path: Path) -> Users:
    """Read the users of the console from the tenants file; none if it has no table ``[console.users]``.

    Raises:
        TenantsError: an entry is wrong, or the file, or that of a token, cannot be read.
    """
    document = read_tenants_file(path)
    console = document.get("console", {})
    tables = console.get("users", {}) if isinstance(console, dict) else None
    with errors_of(path):
        if not isinstance(tables, dict):
            raise TenantsError("console.users must have a table [console.users.NAME] for each user.")
        return Users(dict(_user(name, table) for name, table in tables.items()))


def _user(name: str, table: object) -> tuple[User, str]:
    setting = f"console.users.{name}"
    if not _NAME.fullmatch(name):
        raise TenantsError(f"{setting}: a name is letters, digits, @, - and _, at most 63 of them.")
    if not isinstance(table, dict):
        raise TenantsError(f"{setting} must be a table.")
    try:
        entry = _Entry(**table)
    except ValidationError as error:
        raise TenantsError(first_fault(error, setting, _Entry.model_fields.keys())) from None
    return User(name, entry.role), entry.secret(setting)
