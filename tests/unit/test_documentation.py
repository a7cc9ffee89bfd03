"""The documentation names what the code has, and nothing that it has not."""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import Connection
from typer.core import TyperGroup

import simulator.cli
from ampeco.groups import GROUPS
from ampeco.notifications.catalogue import CATALOGUE
from ampeco.resources.kind import DAY
from ampeco.resources.kinds import KINDS
from ampeco.tenants import Tenant
from analytics import contract
from migrations import roles
from receiver.processes.service import service_children, worker_children
from runtime.alerts import AlertTable
from runtime.settings import Settings, environment_name
from storage.monitoring.alerts import KINDS as KINDS_OF_INCIDENTS
from storage.schema import entities as mirrors
from storage.schema.tables import metadata
from storage.schema_names import ANALYTICS
from tests.support.metrics import metrics, series
from tests.support.pages import anchors, fenced, prose
from tests.support.programs import receiver_program
from workers.broker import QUEUES
from workers.sync.schedule import FLEET, WITH_STATUSES

ROOT = Path(__file__).parents[2]

#: Every page, by its path from the repository's root.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", ".github/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}

#: Texts that people read beside the pages: configuration with comments, and descriptions of the endpoints.
OTHER_TEXTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in ("tenants.example.toml", "docs/*.yaml", "deploy/Dockerfile", "deploy/**/*.yaml", "deploy/systemd/*")
    for path in sorted(ROOT.glob(pattern))
}

README = PAGES["README.md"]
CONFIGURATION = PAGES["docs/configuration.md"]
COMMANDS = PAGES["docs/operations/commands.md"]
MONITORING = PAGES["docs/operations/monitoring.md"]
DATA_MODEL = PAGES["docs/data-model.md"]

PROGRAMS = {
    "ampeco-receiver": receiver_program(),
    "ampeco-simulator": typer.main.get_command(simulator.cli.app),
}

_SPAN = re.compile(r"`([^`\n]+)`")
_ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)`|([^|]*?)) \|", re.MULTILINE)


def commands(page: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program that a page shows, in a block or in a line."""
    lines = [line for block in fenced(page, "sh", "console") for line in block.splitlines()]
    lines += _SPAN.findall(prose(page))
    for line in lines:
        match = re.search(rf"(?:^|[\s/]){program}(?=\s|$)(.*)", line.strip().removeprefix("$ "))
        if match and "=" not in line.split(program)[0]:
            yield shlex.split(match[1], comments=True)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def made(page: str) -> set[str]:
    """The targets that a page asks people to make."""
    code = [*fenced(page, "sh", "console"), *_SPAN.findall(prose(page))]
    return {target for shown in code for target in re.findall(r"(?:^|\s)make ([a-z]+)", shown)}


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    assert made(PAGES[page]) <= targets()


def test_every_make_target_is_in_the_readme() -> None:
    assert made(README) >= targets()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_a_page_names_exists(page: str, program: str) -> None:
    group = PROGRAMS[program]
    assert isinstance(group, TyperGroup)
    for arguments in commands(PAGES[page], program):
        shown = " ".join([program, *arguments])
        command: Any = group
        if arguments and re.fullmatch(r"[a-z][a-z-]*", arguments[0]):
            assert arguments[0] in group.commands, f"{page}: there is no `{shown}`"
            command = group.commands[arguments[0]]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert given <= known, f"{page}: `{shown}`"


def test_every_command_and_option_of_the_receiver_is_in_the_list_of_commands() -> None:
    group = PROGRAMS["ampeco-receiver"]
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        assert f"`ampeco-receiver {name}`" in COMMANDS
        options = {
            option for parameter in command.params if parameter.param_type_name == "option" for option in parameter.opts
        }
        assert options <= set(_SPAN.findall(COMMANDS)), f"ampeco-receiver {name}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # it names what was renamed
def test_every_option_beside_the_bare_name_of_a_command_exists(page: str) -> None:
    group = PROGRAMS["ampeco-receiver"]
    assert isinstance(group, TyperGroup)
    for span in _SPAN.findall(prose(PAGES[page])):
        name, *arguments = span.split()
        if name in group.commands:
            known = {option for parameter in group.commands[name].params for option in parameter.opts}
            assert {word for word in arguments if word.startswith("--")} <= known, f"{page}: `{span}`"


def documented_settings() -> dict[str, str]:
    """The default that the page gives for each variable; empty where it says that it is unset."""
    section = CONFIGURATION.partition("## Settings")[2].partition("\n## ")[0]
    return {name: default if other != "unset" else "" for name, default, other in _ROW.findall(section)}


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(documented_settings()) == {environment_name(field) for field in Settings.model_fields}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_the_documented_default_of_a_setting_is_its_default(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in documented_settings():
        monkeypatch.delenv(name, raising=False)
    default = getattr(Settings(), field)
    documented = documented_settings()[environment_name(field)]
    if not documented:
        assert default is None
        return
    monkeypatch.setenv(environment_name(field), documented)
    assert getattr(Settings(), field) == default


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = {environment_name(field) for field in Settings.model_fields}
    known.add("RECEIVER_PUBLISH")  # the compose file's own
    for page, content in (PAGES | OTHER_TEXTS).items():
        assert set(re.findall(r"\bRECEIVER_[A-Z_]+", content)) <= known, page


def test_every_key_of_a_tenant_is_documented_and_no_other() -> None:
    section = CONFIGURATION.partition("## tenants.toml")[2].partition("\n## ")[0]
    documented = {name for name, _, _ in _ROW.findall(section)}
    assert documented == set(Tenant.model_fields) - {"name"}


def test_every_key_of_a_tenant_is_in_the_example() -> None:
    example = (ROOT / "tenants.example.toml").read_text()
    for key in set(Tenant.model_fields) - {"name"}:
        assert re.search(rf"^(?:# )?{key} = ", example, re.MULTILINE), key


def test_every_key_of_the_alerts_is_documented_and_in_the_example_and_no_other() -> None:
    section = CONFIGURATION.partition("## Alerts")[2].partition("\n## ")[0]
    assert {name for name, _, _ in _ROW.findall(section)} == set(AlertTable.model_fields)
    example = (ROOT / "tenants.example.toml").read_text().partition("[alerts]")[2]
    assert set(re.findall(r"^# (\w+) = ", example, re.MULTILINE)) == set(AlertTable.model_fields)


def test_every_kind_of_incident_is_documented_and_no_other() -> None:
    section = MONITORING.partition("## Alerts to people")[2].partition("\n## ")[0]
    assert tuple(name for name, *_ in _ROW.findall(section)) == KINDS_OF_INCIDENTS
    listed = json.dumps(KINDS_OF_INCIDENTS)
    assert f"kinds = {listed}" in OTHER_TEXTS["tenants.example.toml"]


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_groups_says_what_is_mirrored_and_what_it_costs(group: str) -> None:
    row = next(line for line in PAGES["docs/ampeco.md"].splitlines() if line.startswith(f"| `{group}` | "))
    typed, as_json, calls = row.strip("| ").split(" | ")[1:]
    kinds = {name: kind for name, kind in KINDS.items() if kind.group == group}
    children = set(mirrors.CHILDREN.values())
    tables = {name for name in kinds if mirrors.MIRRORS[name].kind is None}

    assert set(_SPAN.findall(typed)) - children == tables
    assert set(_SPAN.findall(as_json)) == kinds.keys() - tables
    assert int(calls) == math.ceil(sum(map(_calls_a_day, kinds)))


def _calls_a_day(name: str) -> float:
    """Return how many pages of a kind's listing are read a day, with the default interval and one page each time."""
    kind = KINDS[name]
    if not kind.has_listing:
        return 0
    interval: timedelta = max(Settings.model_fields["reconcile_interval"].default, kind.changed_every)
    if name in WITH_STATUSES:
        return DAY / interval
    full_interval = DAY if name in FLEET else kind.full_interval
    return DAY / full_interval + len(kind.changed_filters) * (DAY / interval)


def test_every_notification_is_documented() -> None:
    documented = {name for name, _, _ in _ROW.findall(PAGES["docs/ampeco.md"])}
    assert {known.name for known in CATALOGUE} <= documented


def described(table: str) -> set[str]:
    """What the table's section of the data model names."""
    heading = f"### `{table}`\n"
    assert heading in DATA_MODEL, f"{table} has no section"
    return set(_SPAN.findall(re.split(r"^##", DATA_MODEL.partition(heading)[2], maxsplit=1, flags=re.MULTILINE)[0]))


@pytest.mark.parametrize("table", [name for name, table in metadata.tables.items() if table.schema != ANALYTICS])
def test_every_table_is_described_with_every_column(table: str) -> None:
    columns = {column.name for column in metadata.tables[table].columns}
    mirror = next((known for known in mirrors.MIRRORS.values() if known.table is metadata.tables[table]), None)
    if mirror is not None:  # these are described once for all of them
        columns -= {name for group in mirror.groups for name in (group.at, group.version, group.conflicting)}
        columns -= {"first_seen_at", "updated_at"}
        assert {group.name for group in mirror.groups} <= described(table)
    assert columns <= described(table)


#: The views beside those of the contract for reports.
VIEWS = {"charging.master_revision", "ingest.notification_state"}


def test_no_table_is_described_that_does_not_exist() -> None:
    headings = set(re.findall(r"^### `([a-z_.]+)`$", DATA_MODEL, re.MULTILINE))
    analytics = {f"{ANALYTICS}.{table.name}" for table in contract.tables()}
    internal = {f"{ANALYTICS}.{name}" for name in contract.INTERNAL}
    assert headings == set(metadata.tables) - analytics - internal | VIEWS


def test_the_contract_is_described_as_its_comments_say() -> None:
    assert PAGES["docs/analytics/tables.md"] == contract.page(), "`make contract` writes the page again."


def _queries() -> list[tuple[str, str]]:
    return [(page, query) for page, content in PAGES.items() for query in fenced(content, "sql")]


@pytest.mark.parametrize(
    ("page", "query"), _queries(), ids=[f"{page}-{number}" for number, (page, _) in enumerate(_queries(), 1)]
)
def test_every_query_runs(connection: Connection, page: str, query: str) -> None:
    connection.exec_driver_sql(query.replace("%", "%%"))


def test_every_metric_is_documented_and_no_other() -> None:
    section = MONITORING.partition("## Metrics")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(ampeco_[a-z_]+)` \|", section, re.MULTILINE))
    assert documented == metrics().keys()


def test_every_metric_that_a_page_names_exists() -> None:
    known = {*metrics(), *series()}
    # The groups of users, a secret of the compose file, the name of a package that was considered, and the publication.
    known |= {roles.SERVICE, roles.READ, "ampeco_token", "ampeco_receiver", "ampeco_analytics"}
    known |= {"ampeco_downtime_s", "ampeco_releases"}  # a column, and a key of `status --json`
    for page, content in PAGES.items():
        assert set(re.findall(r"(?<![\w…/.])ampeco_[a-z_]+\b", content)) <= known, page


PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["packages"]


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_in_the_diagrams(page: str, package: str) -> None:
    assert re.search(rf"\b{package}/", "\n".join(fenced(PAGES[page], "mermaid", "text")))


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
@pytest.mark.parametrize("queue", QUEUES)
def test_every_queue_is_in_the_diagram_of_the_flow(page: str, queue: str) -> None:
    (diagram,) = fenced(PAGES[page], "mermaid")
    assert re.search(rf"\b{queue}\b", diagram)


def test_what_is_called_missing_names_nothing_that_exists() -> None:
    missing = README.partition("## What is missing\n")[2].partition("\n## ")[0]
    assert missing
    words = set(re.findall(r"[\w-]+", " ".join(_SPAN.findall(missing))))
    commands = {name for group in PROGRAMS.values() if isinstance(group, TyperGroup) for name in group.commands}
    assert words.isdisjoint({environment_name(field) for field in Settings.model_fields})
    assert words.isdisjoint(commands | targets() | set(Tenant.model_fields) | metrics().keys())
    assert {heading.strip("*.") for heading in re.findall(r"^- (\*\*.+?\*\*)", missing, re.MULTILINE)}


def events() -> set[str]:
    """The first words of each line that our code logs."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            calls = re.findall(
                r"""logger\.(?:debug|info|warning|error|critical|exception)\(\s*f?"([^"]+)""", path.read_text()
            )
            found |= set(calls)
    return found


def test_every_event_that_the_list_of_failures_names_is_logged() -> None:
    rows = re.findall(r"^\| .* \|$", PAGES["docs/operations/failures.md"], re.MULTILINE)
    shown = [row.split(" | ")[2] for row in rows if row.count(" | ") == 3]
    # An event is words: other spans of that column are commands, paths, metrics and messages of Postgres.
    named = {span for cell in shown for span in _SPAN.findall(cell) if re.fullmatch(r"[a-z][a-z ,-]+ [a-z ,-]+", span)}
    messages = {"the server is a standby", "sorry, too many clients already", "its worker ended while applying it"}
    assert named - messages
    for event in named - messages:
        assert any(logged.startswith(event) for logged in events()), event


def test_every_page_that_code_or_configuration_names_exists() -> None:
    folders = [*PACKAGES, "tests", "bench", "deploy", ".ci", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "tenants.example.toml", *ROOT.glob("docs/*.yaml")]
    named = {
        (name, str(path.relative_to(ROOT)))
        for path in files
        if path.suffix not in (".pyc", ".svg")
        for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|svg|yaml)\b", path.read_text(errors="replace"))
    }
    assert named
    assert [(name, path) for name, path in sorted(named) if not (ROOT / name).exists()] == []


#: What a page asks people to write themselves.
WRITTEN_BY_PEOPLE = {"deploy/tenants.toml"}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_of_the_repository_that_a_page_names_exists(page: str) -> None:
    for span in _SPAN.findall(prose(PAGES[page])):
        if re.match(rf"(?:{'|'.join([*PACKAGES, 'tests', 'bench', 'docs', 'deploy', 'migrations'])})/[\w./]*$", span):
            if span in WRITTEN_BY_PEOPLE:
                continue
            assert (ROOT / span).exists(), f"{page}: {span}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_in_the_readme_table(package: str) -> None:
    assert f"| [`{package}/`]({package}) |" in README


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    index = PAGES["docs/adr/README.md"]
    decisions = sorted(page for page in PAGES if re.match(r"docs/adr/\d{4}-", page))
    assert decisions
    for number, page in enumerate(decisions, 1):
        name = page.removeprefix("docs/adr/")
        title = re.match(r"# (\d{4}): (.+)\n", PAGES[page])
        assert title is not None
        assert int(title[1]) == number == int(name[:4])
        assert f"| [{title[1]}]({name}) | {title[2]} |" in index
        assert re.findall(r"^## (.+)$", PAGES[page], re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
            "Considered",
        ]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(found.read_text()), f"{page}: {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, to_read = set(), ["README.md"]
    while to_read:
        page = to_read.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", PAGES[page]):
            if not re.match(r"[a-z]+:", target):
                found = str(((ROOT / page).parent / target).resolve().relative_to(ROOT))
                if found in PAGES and found not in reached:
                    to_read.append(found)
    # Those of .github are shown by the host itself.
    assert reached == {page for page in PAGES if not page.startswith(".github/")}


def test_the_page_counts_the_processes_of_up_and_work_and_their_connections() -> None:
    page = PAGES["docs/operations/running.md"]
    connections = {
        name: int(number) for name, number in re.findall(r"^\| (`\w+`[^|]*) \| [^|]+ \| (\d+) \|$", page, re.MULTILINE)
    }
    settings = Settings()
    assert settings.kafka_brokers is None
    workers, everything = worker_children(settings), service_children(settings)
    others = {child.name for child in everything} - {child.name for child in workers}
    assert others == {"serve", "console"}
    opened = connections["`serve`, for each process"] + connections["`serve`, once"] + connections["`console`"]
    assert connections["`up`"] == opened + len(workers) * connections["`work`, for each process"]
    number = {4: "four", 5: "five", 6: "six"}[len(workers)]
    text = " ".join(page.split())
    assert f"`work` without `--queue` is {number} processes" in text
    assert f"one `serve`, {number} `work` processes and one `console`" in text
    assert {child.name for child in everything if child.brings_work} == {"serve"}
    assert "`up` first stops the receiver (and `consume`), then all others, so allow twice that" in text
