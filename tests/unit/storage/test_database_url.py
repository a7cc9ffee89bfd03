"""``DATABASE_URL`` means what libpq says that it means, for every connection, and no part of it is ever shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.settings import SettingsError, load_settings
from storage.database import connection_arguments
from storage.database_url import DatabaseUrlError, conninfo, parse_database_url, shown_url

FORMS = [
    "postgresql://u:p%2Bw@127.0.0.1:5432/d",
    "postgresql://u:p%20w@127.0.0.1:5432/d",
    "postgresql://u:p%25w@127.0.0.1:5432/d",
    "postgresql://u:p%257Bw@127.0.0.1:5432/d",
    "postgresql://u:p%23%3F%2F%40%3Aw@127.0.0.1:5432/d",
    "postgresql://u:p+w@127.0.0.1:5432/d",
    "postgresql://u:p?w#x:y@127.0.0.1:5432/d",
    "postgresql://u:p%C3%A9w@127.0.0.1:5432/d",
    "postgresql://u%40srv:pw@127.0.0.1:5432/d",
    "postgresql://u:pw@127.0.0.1:5432/my%20db",
    "postgresql://u:pw@[::1]:5432/d",
    "postgresql:///d?host=/run/some/socket&port=5432&user=u",
    "postgresql://u@%2Frun%2Fsome%20socket:5432/d",
    "postgresql://u:pw@h1:5432,h2:5433/d?target_session_attrs=read-write",
    "postgresql://u:pw@h1,h2/d",
    "postgresql://u:pw@/d?host=h1,h2&port=5432,5433",
    "postgresql://u:pw@/d?user=u@server",
    "postgresql://u:pw@h/d?sslmode=verify-full&sslrootcert=/etc/my%20certs/ca.pem",
    "postgresql://u:pw@h/d?options=-c%20work_mem%3D8MB&connect_timeout=2",
    "postgres://u:pw@h/d",
    "postgresql://",
    "host=/run/postgresql dbname='my db' user=u password='it\\'s a \\\\'",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_libpq_is_read_as_libpq_reads_it(form: str) -> None:
    assert parse_database_url(form) == conninfo_to_dict(form)
    assert conninfo_to_dict(conninfo(form)) == conninfo_to_dict(form)


def test_a_url_with_its_driver_or_with_what_an_editor_adds_is_the_same() -> None:
    plain = parse_database_url("postgresql://u:pw@h/d")
    assert parse_database_url("postgresql+psycopg://u:pw@h/d") == plain
    assert parse_database_url("\ufeffpostgresql://u:pw@h/d\r\n") == plain


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "user": texts,
        "password": texts,
        "dbname": texts,
        "host": st.lists(st.one_of(texts.map(lambda path: f"/{path}"), texts), min_size=1, max_size=3).map(",".join),
        "port": st.lists(st.integers(1, 65_535).map(str), min_size=1, max_size=3).map(",".join),
        "sslrootcert": texts,
        "options": texts,
        "passfile": texts,
    },
)


@given(parameters)
def test_whatever_the_parameters_they_come_back_out_of_a_url_and_out_of_a_string(found: dict[str, str]) -> None:
    url = "postgresql://?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in found.items())
    assert parse_database_url(url) == found
    assert found.items() <= connection_arguments(url, "tests").items()
    assert found.items() <= conninfo_to_dict(conninfo(url)).items()
    if found:
        string = make_conninfo(**found)
        assert parse_database_url(string) == conninfo_to_dict(string)


@given(texts, texts, texts)
def test_a_user_a_password_and_a_name_come_back_out_of_their_places(user: str, password: str, name: str) -> None:
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h:1/{quote(name, safe='')}"
    assert parse_database_url(url) == {"user": user, "password": password, "host": "h", "port": "1", "dbname": name}
    assert "password" not in conninfo_to_dict(shown_url(url))


SECRETS = ["s3", "cr", "4t"]

WRONG = [
    "mysql://u:s3cr4t@h/d",
    "s3cr4t",
    "",
    "postgresql://u:s3/cr4t@h/d",
    "postgresql://u:12/s3cr4t@h/d",
    "postgresql://u:s3@cr4t@h/d",
    "postgresql://u:s3@cr/4t@h/d",
    "postgresql://u:s3%cr4t@h/d",
    "postgresql://u:s3%zz4t@h/d",
    "postgresql://u:s3%FFcr4t@h/d",
    "postgresql://u:s3/cr?4t@h/d",
    "postgresql://u:[s3/cr4t@h/d",
    "postgresql://u@h:99999/d?password=s3cr4t",
    "postgresql://u@h/d?password=s3&cr4t",
    "postgresql://u@h/d?password=s3cr=4t",
    "postgresql://u@h/d?secret=s3cr4t",
    "host=h password=s3 cr4t",
    "host=h password='s3cr4t",
    "host=h passwort=s3cr4t",
    "host=h port=s3cr4t",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_url_is_refused_in_one_sentence_without_any_part_of_it(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatabaseUrlError) as refused:
        parse_database_url(wrong)
    said = str(refused.value)
    assert said.startswith("DATABASE_URL ")
    assert said.count(". ") == 0
    assert not any(part in said for part in SECRETS)
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    monkeypatch.setenv("DATABASE_URL", wrong)
    with pytest.raises(SettingsError, match=r"^DATABASE_URL"):
        load_settings()


@pytest.mark.parametrize("wrong", ["redis://u:s3/cr4t@h/0", "redis://u:p@h:s3cr4t/0", "rediss://h?db=s3cr4t", "s3cr4t"])
def test_a_wrong_url_of_redis_is_refused_likewise(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", wrong)
    with pytest.raises(SettingsError, match=r"^REDIS_URL") as refused:
        load_settings()
    assert not any(part in str(refused.value) for part in SECRETS)


def test_what_is_shown_holds_no_secret() -> None:
    shown = shown_url("postgresql://u:s3cr4t@h:5432/my%20db?sslpassword=s3cr4t")
    assert conninfo_to_dict(shown) == {"user": "u", "host": "h", "port": "5432", "dbname": "my db"}


def test_limits_of_the_operator_stand_and_what_we_rely_on_does_not_give_way() -> None:
    given = connection_arguments(
        "postgresql://h/d?connect_timeout=2&keepalives_idle=60&options=-c%20work_mem%3D8MB"
        "&client_encoding=latin1&target_session_attrs=standby&application_name=theirs",
        "ours",
    )
    assert (given["connect_timeout"], given["keepalives_idle"], given["options"]) == ("2", "60", "-c work_mem=8MB")
    assert (given["client_encoding"], given["target_session_attrs"]) == ("UTF8", "any")
    assert given["application_name"] == "ours"
