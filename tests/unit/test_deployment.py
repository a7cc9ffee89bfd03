"""The files of ``deploy/`` and ``.github/`` are sound, and fit the command line and the settings.

Nothing here runs a container, a unit or a workflow: linters and the code itself are what they are held against.
``tests/deployment`` runs them.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrations import roles
from runtime.settings import Settings, environment_name
from tests.support.deploying import SETTINGS, check_command, lint, needed_to_stop
from tests.support.processes import PROBE
from workers.broker import QUEUES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

#: Findings that do not hold, with the reason.
UNIT_FINDINGS_RECORD_OUTCOMES = {
    "Security.Delegate": "nothing of ours manages control groups",
    "Security.UMaskOW": "the linter takes the mask for the permissions: 0077 leaves others none",
}


# The image


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with their lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest.strip()) for name, rest in re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE)]


@pytest.mark.process
def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    found = lint("hadolint", "--no-color", "--failure-threshold", "style", DEPLOY / "Dockerfile")
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_image_is_built_from_what_the_package_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == packages | {"pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    assert all((ROOT / source).exists() for source in copied)


def test_the_build_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert "*" in lines
    assert let_in == copied


def test_the_image_installs_the_locked_versions_without_the_embedded_servers() -> None:
    syncs = [rest for name, rest in instructions() if name == "RUN" and "uv sync" in rest]
    assert syncs
    for sync in syncs:
        assert "--frozen" in sync
        assert "--no-dev" in sync
        assert set(re.findall(r"--extra (\w+)", sync)) == {"export", "kafka", "otel"}


def test_the_image_does_not_run_the_receiver_as_root() -> None:
    last = dict(instructions())
    assert last["USER"] not in ("root", "0")
    assert last["ENTRYPOINT"] == '["ampeco-receiver"]'
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2]) == PROBE
    check_command(yaml.safe_load(last["CMD"]))


def test_every_variable_of_the_image_is_a_setting() -> None:
    variables = {
        variable for name, rest in instructions() if name == "ENV" for variable in re.findall(r"([A-Z_]+)=", rest)
    }
    ours = {variable for variable in variables if variable.startswith(("RECEIVER_", "TENANTS_", "DATABASE_", "REDIS_"))}
    assert ours
    assert ours <= SETTINGS


# The compose file


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


OURS = ("migrate", "receiver", "apply", "refresh", "reconcile", "derive", "console", "tools")

#: The services that log in as the owner of the tables.
OWNERS = ("migrate", "tools")


def seconds(duration: str) -> timedelta:
    assert re.fullmatch(r"\d+s", duration)
    return timedelta(seconds=int(duration.removesuffix("s")))


@pytest.mark.process
def test_the_compose_file_is_one() -> None:
    found = lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.process
@pytest.mark.parametrize("path", ["compose.yaml", "prometheus"])
def test_yamllint_has_nothing_to_say_about_the_files_that_people_start_from(path: str) -> None:
    rules = "{extends: default, rules: {line-length: {max: 120}}}"
    found = lint("yamllint", "--strict", "--config-data", rules, DEPLOY / path)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("service", OURS)
def test_every_service_of_the_compose_file_runs_a_command_that_exists(compose: dict[str, Any], service: str) -> None:
    check_command(compose["services"][service]["command"])


@pytest.mark.parametrize("service", OURS)
def test_every_variable_of_the_compose_file_is_a_setting(compose: dict[str, Any], service: str) -> None:
    assert set(compose["services"][service]["environment"]) <= SETTINGS


@pytest.mark.parametrize("service", ["receiver", "apply", "refresh"])
def test_a_container_has_time_to_finish_what_it_has_claimed(compose: dict[str, Any], service: str) -> None:
    described = compose["services"][service]
    assert seconds(described["stop_grace_period"]) > needed_to_stop(described["command"])


def test_the_compose_file_serves_every_queue(compose: dict[str, Any]) -> None:
    commands = [service.get("command", []) for service in compose["services"].values()]
    assert {command[-1] for command in commands if command[:2] == ["work", "--queue"]} == set(QUEUES)


def test_only_the_receiver_and_the_console_publish_a_port(compose: dict[str, Any]) -> None:
    published = [name for name, service in compose["services"].items() if "ports" in service]
    assert published == ["receiver", "console"]
    assert compose["services"]["console"]["ports"] == ["${CONSOLE_PUBLISH:-127.0.0.1:8082}:8082"]


def test_the_admin_endpoints_ask_for_a_token_where_containers_share_a_network(compose: dict[str, Any]) -> None:
    for service in ("receiver", "apply", "refresh"):
        described = compose["services"][service]
        assert described["environment"]["RECEIVER_ADMIN_TOKEN_FILE"] == "/run/secrets/admin_token"
        assert "admin_token" in described["secrets"]


@pytest.mark.parametrize("service", OURS)
def test_only_migrate_and_the_tools_log_in_as_the_owner_of_the_tables(compose: dict[str, Any], service: str) -> None:
    described = compose["services"][service]
    assert described["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
    mounted = [one for one in described["secrets"] if isinstance(one, dict)]
    owner = "owner" if service in OWNERS else "service"
    assert mounted == [{"source": f"{owner}_database_url", "target": "database_url"}]


def test_the_tools_have_the_tokens_and_do_not_run_by_themselves(compose: dict[str, Any]) -> None:
    tools = compose["services"]["tools"]
    assert set(tools["networks"]) == {"inside", "outside"}
    assert "ampeco_token" in tools["secrets"]
    assert tools["profiles"] == ["tools"]
    assert tools["restart"] == "no"


def test_one_service_builds_the_image_that_all_use(compose: dict[str, Any]) -> None:
    built = [name for name, service in compose["services"].items() if "build" in service]
    assert built == ["receiver"]
    assert {compose["services"][service]["image"] for service in OURS} == {f"ampeco-receiver:{VERSION}"}
    assert all(compose["services"][service]["init"] for service in OURS)


def test_files_are_mounted_in_the_way_that_every_implementation_of_compose_knows(compose: dict[str, Any]) -> None:
    assert "configs" not in compose
    for service in OURS:
        assert "./tenants.toml:/etc/ampeco-receiver/tenants.toml:ro" in compose["services"][service]["volumes"]
    assert "./postgres/roles.sh:/docker-entrypoint-initdb.d/roles.sh:ro" in compose["services"]["postgres"]["volumes"]


def test_the_labels_of_the_image_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (labels,) = [rest for name, rest in instructions() if name == "LABEL"]
    given = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels))
    assert given["title"] == project["name"]
    assert given["version"] == project["version"]
    assert given["licenses"] == project["license"]


@pytest.mark.process
def test_the_script_of_the_roles_makes_those_that_the_migration_grants_rights_to() -> None:
    script = (DEPLOY / "postgres" / "roles.sh").read_text()
    for role in (roles.SERVICE, roles.READ):
        assert f"CREATE ROLE {role} NOLOGIN;" in script
    assert f"CREATE ROLE ampeco_service LOGIN PASSWORD :'password' IN ROLE {roles.SERVICE};" in script
    checked = subprocess.run(
        ["sh", "-n", DEPLOY / "postgres" / "roles.sh"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_no_secret_stands_in_the_compose_file(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search(r"(?i)password|token|secret", name) or value.startswith("/run/secrets/")
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert "/secrets/" in ignored
    assert "/tenants.toml" in ignored


def test_redis_keeps_its_data_over_a_restart(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    assert "--appendonly yes" in " ".join(redis["command"])
    assert any(volume.endswith(":/data") for volume in redis["volumes"])


@pytest.mark.parametrize("service", ["receiver", "apply", "refresh"])
def test_nothing_starts_before_the_database_is_migrated(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("service", ["postgres", "redis", "receiver", "apply", "refresh", "console"])
def test_every_service_is_asked_for_its_health(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["healthcheck"]["test"]


@pytest.mark.parametrize("service", ["apply", "refresh", "reconcile"])
def test_a_worker_is_asked_on_the_port_of_its_figures(compose: dict[str, Any], service: str) -> None:
    described = compose["services"][service]
    assert described["healthcheck"]["test"] == ["CMD", *PROBE, "work"]
    assert described["environment"]["RECEIVER_WORK_METRICS_PORT"]


def test_every_service_has_its_limits(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        assert "restart" in service


# The units


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit, whatever their section; a setting may stand several times."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def arguments_of(path: Path) -> list[str]:
    (command,) = unit(path)["ExecStart"]
    program, *arguments = command.split()
    assert program.endswith("/bin/ampeco-receiver")
    return arguments


@pytest.mark.process
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_linter_of_units_has_nothing_to_say(path: Path) -> None:
    found = lint("systemdlint", "--norootfs", path)
    changes = [line for line in (found.stdout + found.stderr).splitlines() if line.strip()]
    assert [line for line in changes if not any(f"[{known}]" in line for known in UNIT_FINDINGS_RECORD_OUTCOMES)] == []


def test_there_is_a_unit_for_each_kind_of_process() -> None:
    assert {path.name for path in UNITS} == {
        "ampeco-receiver-console.service",
        "ampeco-receiver-consume.service",
        "ampeco-receiver-migrate.service",
        "ampeco-receiver-serve.service",
        "ampeco-receiver-work.service",
    }


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_unit_runs_a_command_that_exists(path: Path) -> None:
    check_command(arguments_of(path))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_unit_waits_for_the_right_time(path: Path) -> None:
    settings = unit(path)
    for name in ("Wants", "After"):
        assert "time-sync.target" in " ".join(settings[name]).split()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_unit_is_confined_to_a_user_of_its_own(path: Path) -> None:
    settings = unit(path)
    assert settings["User"] == ["ampeco-receiver"]
    assert settings["CapabilityBoundingSet"] == [""]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"):
        assert settings[name] == ["yes"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_time_to_finish_what_it_has_claimed(path: Path) -> None:
    settings, arguments = unit(path), arguments_of(path)
    if settings["Type"] == ["oneshot"]:
        assert settings["TimeoutStartSec"] == ["infinity"]
        return
    assert settings["KillMode"] == ["mixed"]
    assert timedelta(seconds=int(settings["TimeoutStopSec"][0])) > needed_to_stop(arguments)


def test_every_variable_of_the_example_environment_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "systemd" / "environment.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) <= SETTINGS
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.model_fields_set == {field for field in Settings.model_fields if environment_name(field) in given}


# The repository's host


@pytest.mark.process
@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_the_files_of_the_host_are_as_it_wants_them(schema: str, pattern: str) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files
    found = lint("check-jsonschema", "--builtin-schema", schema, *files)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.process
def test_yamllint_has_nothing_to_say_about_the_workflow() -> None:
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable, comments: {min-spaces-from-content: 1}}}"
    found = lint("yamllint", "--strict", "--config-data", rules, ROOT / ".github" / "workflows" / "ci.yml")
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_workflow_runs_the_checks_on_every_python_that_the_package_is_for() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["checks"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_every_action_of_the_workflow_is_pinned_by_its_commit() -> None:
    used = re.findall(r"uses: (\S+)(.*)", (ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v[\d.]+", comment), action


@pytest.mark.process
def test_the_hooks_before_a_commit_are_the_tools_of_make_lint() -> None:
    found = lint("pre-commit", "validate-config", ROOT / ".pre-commit-config.yaml")
    assert found.returncode == 0, found.stdout + found.stderr
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    checks = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert checks is not None
    linters = re.findall(r"\$\(BIN\)/(\S+)", checks[1])
    hooks = [hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert set(hooks) == set(linters) - {"bandit"}  # ruff's S rules are bandit's, and sooner done
