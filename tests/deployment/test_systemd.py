"""The steps for systemd, followed to the letter on a Debian that systemd starts, in a container."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import Podman, copy_project, make_systemd, podman, printed
from tests.support.documented import blocks, section
from tests.support.service import eventually

NAME = "ampeco-receiver-systemd"
TOKEN = "token-of-the-tenant-5521"
SERVICES = ("ampeco-receiver-serve", "ampeco-receiver-work")

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800), pytest.mark.xdist_group("containers")]


class Machine:
    """A machine with systemd.

    Attributes:
        steps: the blocks of commands of the documentation.
    """

    def __init__(self, commands: Podman) -> None:
        self.commands = commands
        self.steps = blocks(section("deploy/README.md", "## systemd"))

    def run(
        self, command: str, *, folder: str = "/project", seconds: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run commands as root in a folder, under the umask of a careful administrator."""
        options = [f"--env={name}={value}" for name, value in variables.items()]
        shell = ["sh", "-euc", f"umask 077\n{command}"]
        return self.commands.run("podman", "exec", "--workdir", folder, *options, NAME, *shell, seconds=seconds)

    def check(self, command: str, *, folder: str = "/project", seconds: float = 300, **variables: str) -> str:
        """Run commands, and return their output; fail if one fails."""
        done = self.run(command, folder=folder, seconds=seconds, **variables)
        if done.returncode:
            journal = printed(self.run("journalctl --no-pager --lines 60"))
            pytest.fail(f"{command}\n{printed(done)}{journal}")
        return done.stdout.strip()

    def main_process(self, service: str) -> int:
        """Return the pid of the first process of a service, 0 if it does not run."""
        return int(self.check(f"systemctl show --property MainPID --value {service}"))

    def query(self, statement: str) -> str:
        """Return the first value of a query."""
        return self.check(f'runuser --user postgres -- psql -d ampeco -tAc "{statement}"', folder="/")

    def is_ready(self) -> bool:
        """Return whether the receiver can accept."""
        probe = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz')"
        return self.run(f'python3 -c "{probe}"').returncode == 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the steps of the installation have been followed."""
    commands = podman()
    image = make_systemd(commands)
    projects = tmp_path_factory.mktemp("systemd")
    for folder in ("project", "upgrade"):
        copy_project(projects / folder)
    _set_version(projects / "upgrade" / "pyproject.toml", "9.9.9")
    commands.run("podman", "rm", "--force", NAME)
    commands.check(
        *("podman", "run", "--detach", "--systemd=always", "--privileged", "--name", NAME),
        *(f"--volume={projects / folder}:/{folder}" for folder in ("project", "upgrade")),
        image,
        "/sbin/init",
    )
    made = Machine(commands)
    try:
        eventually(lambda: made.run("systemctl is-system-running").stdout.strip() in ("running", "degraded"))
        packages, release, database, settings, start = made.steps[:5]
        for here, there in (
            ("https://receiver.example.com", "http://127.0.0.1:8080"),
            ("https://example.eu.charge.ampeco.tech", "http://127.0.0.1:8090"),
        ):
            assert here in settings
            settings = settings.replace(here, there)
        made.check(packages, seconds=600)
        made.check(release, seconds=900)
        made.check(database)
        made.check(settings, AMPECO_TOKEN=TOKEN)
        simulator = "/opt/ampeco-receiver/current/bin/ampeco-simulator run --speed 120"
        made.check(f"systemd-run --setenv=AMPECO_SIMULATOR_TOKEN={TOKEN} {simulator}")
        made.check(start)
        yield made
    finally:
        sys.stdout.write(printed(made.run("journalctl --no-pager --lines 60")))
        commands.run("podman", "rm", "--force", "--volumes", NAME)


def _set_version(path: Path, version: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    changed = [f'version = "{version}"\n' if line.startswith('version = "') else line for line in lines]
    path.write_text("".join(changed))


def test_the_documented_steps_lead_to_a_subscribed_tenant(machine: Machine) -> None:
    applied = "SELECT count(*) FROM ingest.notification_state WHERE state = 'applied'"
    eventually(lambda: int(machine.query(applied)), seconds=120)
    eventually(lambda: int(machine.query("SELECT count(*) FROM charging.evse WHERE status IS NOT NULL")), seconds=120)
    status = json.loads(machine.check("ampeco-receiver status --json"))
    assert {process["name"] for process in status["processes"] if process["is_alive"]} >= {"serve", "work apply"}
    assert machine.check("systemctl list-units --failed --plain --no-legend 'ampeco-receiver-*'") == ""


def test_debian_s_systemd_finds_nothing_wrong_with_the_units(machine: Machine) -> None:
    found = machine.run("systemd-analyze verify /etc/systemd/system/ampeco-receiver-*.service")
    assert found.returncode == 0, printed(found)
    assert "ampeco-receiver" not in printed(found)


def test_only_root_can_read_the_login_of_the_owner(machine: Machine) -> None:
    service = "setpriv --reuid=ampeco-receiver --regid=ampeco-receiver --init-groups"
    assert machine.run(f"{service} cat /etc/ampeco-receiver/environment").returncode == 0
    assert machine.run(f"{service} cat /etc/ampeco-receiver/environment-of-the-owner").returncode
    assert machine.run("setpriv --reuid=nobody cat /etc/ampeco-receiver/tenants.toml --clear-groups").returncode
    assert "only root" in printed(machine.run("setpriv --reuid=nobody --clear-groups ampeco-receiver status"))
    owners = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'ampeco-receiver%'"
    assert machine.query(owners) == "ampeco-receiver"


def test_commands_of_the_owner_run_with_its_login_and_others_without(machine: Machine) -> None:
    assert machine.query("SELECT tableowner FROM pg_tables WHERE tablename = 'batch'") == "ampeco"
    machine.check("ampeco-receiver rebuild --swap")
    user = eventually(lambda: machine.query("SELECT max(user_id) FROM charging.session"), seconds=120)
    machine.check(f"ampeco-receiver erase --tenant example --user {user} --yes")


def test_a_wrong_setting_fails_the_start_with_its_sentence(machine: Machine) -> None:
    environment = "/etc/ampeco-receiver/environment"
    machine.check(f"cp -p {environment} /root/kept; echo RECEIVER_PORT=many >> {environment}")
    try:
        assert machine.run("ampeco-receiver check").returncode == 2
        refused = machine.run("systemctl restart ampeco-receiver-serve")
        assert refused.returncode
        assert "RECEIVER_PORT: " in machine.check("journalctl --no-pager --unit ampeco-receiver-serve --lines 30")
    finally:
        machine.check(f"cp -p /root/kept {environment}; systemctl restart ampeco-receiver-serve")
    eventually(machine.is_ready, seconds=60)


def test_the_receiver_with_four_processes_fits_its_memory_limits(machine: Machine) -> None:
    (drop_in,) = blocks(section("deploy/README.md", "## systemd"), "ini")
    folder = "/etc/systemd/system/ampeco-receiver-serve.service.d"
    machine.check(f"mkdir -p {folder}; cat > {folder}/override.conf <<'EOF'\n{drop_in}EOF\nsystemctl daemon-reload")
    machine.check("systemctl restart ampeco-receiver-serve")
    eventually(machine.is_ready, seconds=120)
    pid = machine.main_process("ampeco-receiver-serve")
    script = (
        f"import glob\npids = [{pid}]\nfor pid in pids:\n    pids += map(int, open(f'/proc/{{pid}}/task/{{pid}}/children').read().split())\n"
        "print(*[int(line.split()[1]) for pid in pids for line in open(f'/proc/{pid}/status') if 'VmRSS' in line])"
    )
    resident = [int(size) / 1024 for size in machine.check(f'python3 - <<"EOF"\n{script}\nEOF').split()]
    limit = machine.check("systemctl show --property MemoryHigh --value ampeco-receiver-serve")
    sys.stdout.write(f"resident MiB of serve --processes 4: {[round(size) for size in resident]}, MemoryHigh {limit}\n")
    assert len(resident) >= 5
    # In the worst case the waiting room of each process holds its 64 MiB, and as much is being read
    assert sum(resident) + 4 * 64 < int(limit) / 2**20
    machine.check(f"rm -r {folder}; systemctl daemon-reload; systemctl restart ampeco-receiver-serve")
    eventually(machine.is_ready, seconds=60)


def test_an_upgrade_installs_the_new_code_and_going_back_the_old(machine: Machine) -> None:
    upgrade, back = machine.steps[5:7]
    revision = machine.query("SELECT version_num FROM ingest.alembic_version")
    old = machine.check("readlink /opt/ampeco-receiver/current")
    machine.check(upgrade, folder="/upgrade", seconds=900)
    eventually(machine.is_ready, seconds=60)
    for service in SERVICES:
        command = machine.check(f"tr '\\0' ' ' < /proc/{machine.main_process(service)}/cmdline")
        assert command.startswith("/opt/ampeco-receiver/releases/9.9.9/bin/python")
    assert "ampeco-receiver 9.9.9" in machine.check("ampeco-receiver --version")
    machine.check(back, revision=revision, release=old.removeprefix("releases/"))
    eventually(machine.is_ready, seconds=60)
    for service in SERVICES:
        command = machine.check(f"tr '\\0' ' ' < /proc/{machine.main_process(service)}/cmdline")
        assert command.startswith(f"/opt/ampeco-receiver/{old}/bin/python")
