"""Podman with a storage of the tests' own, and images made of Debian's packages.

The registries of images cannot be reached from everywhere, so the images from which the files of ``deploy/`` start are
made here: the same programs in the release that Debian has, under the names that the files use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.requirements import needs

ROOT = Path(__file__).parents[2]

#: What was built stays here, because the first build takes minutes; `make clean` removes it.
FOLDER = ROOT / ".local" / "containers"

PYTHON = "docker.io/library/python:3.13-slim"
POSTGRES = "docker.io/library/postgres:18"
REDIS = "docker.io/library/redis:8"
BASE = "localhost/ampeco-receiver-tests"

PACKAGES = ("ca-certificates", "postgresql", "python3", "python3-venv", "redis-server")

#: The certificates that this machine trusts, among them those of a company's proxy.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

#: runc, because crun of Debian 12 refuses to run where both versions of control groups are mounted. The limits are low
#: enough for a machine whose root may not raise any.
ENGINE = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "{folder}/networks"
"""

STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""

#: What the entry point of the library's image does at the first start and afterwards.
POSTGRES_ENTRY_POINT = r"""#!/bin/sh
set -eu
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
export PGDATA=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
mkdir -p "$PGDATA" /var/run/postgresql
chown -R postgres: /var/lib/postgresql /var/run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    cp "$POSTGRES_PASSWORD_FILE" /tmp/password
    chown postgres /tmp/password
    as_postgres initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --encoding=UTF8 --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    as_postgres pg_ctl --wait start --options="-c listen_addresses=''"
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sh; do . "$script"; done
    as_postgres pg_ctl --wait stop
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -c listen_addresses='*'
"""

#: The library's image lets other containers in, which Redis itself refuses without a password.
REDIS_ENTRY_POINT = """#!/bin/sh
exec "$@" --protected-mode no
"""


@dataclass
class Podman:
    """The commands ``podman`` and ``podman-compose`` with a storage of the tests' own.

    Attributes:
        environment: further variables of each command.
        directory: where the commands run.
    """

    environment: dict[str, str] = field(default_factory=dict)
    directory: Path = ROOT

    def __post_init__(self) -> None:
        """Write the configuration."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "containers.conf").write_text(ENGINE.format(folder=FOLDER))
        (FOLDER / "storage.conf").write_text(STORAGE.format(folder=FOLDER))
        self.environment |= {
            "CONTAINERS_CONF": str(FOLDER / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf"),
        }

    def run(self, *command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit code is."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def check(self, *command: str, seconds: float = 300) -> str:
        """Run a command to its end, and return its standard output; fail if it fails."""
        done = self.run(*command, seconds=seconds)
        assert done.returncode == 0, f"{' '.join(command)}\n{printed(done)}"
        return done.stdout.strip()


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """Return all that a command has printed."""
    return done.stdout + done.stderr


def podman() -> Podman:
    """Return the commands; skip the test if they are not installed or cannot run a container."""
    for program, package in (("podman", "podman"), ("podman-compose", "podman-compose"), ("mmdebstrap", "mmdebstrap")):
        needs(shutil.which(program), package)
    if os.geteuid() != 0:
        pytest.skip("the images are made by root")
    commands = Podman()
    _make_base(commands)
    tried = commands.run("podman", "run", "--rm", BASE, "true")
    if tried.returncode:
        pytest.skip(f"podman can run no container here: {printed(tried).strip()}")
    return commands


def _make_base(commands: Podman) -> None:
    """Make the image with the packages, unless an earlier run has made it, and name it as the Dockerfile does."""
    if commands.run("podman", "image", "exists", BASE).returncode:
        archive = FOLDER / "base.tar"
        release = commands.check("sh", "-c", '. /etc/os-release; echo "$VERSION_CODENAME"')
        commands.check(
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "--aptopt=APT::Sandbox::User root"),
            f"--customize-hook=upload {CERTIFICATES} {CERTIFICATES}",
            '--customize-hook=chroot "$1" python3 -m venv /usr/local',
            *(release, str(archive)),
            seconds=900,
        )
        variables = {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_CERT": CERTIFICATES,
            "SSL_CERT_FILE": CERTIFICATES,
            "UV_SYSTEM_CERTS": "1",
        }
        changes = [f"--change=ENV {name}={value}" for name, value in variables.items()]
        commands.check("podman", "import", *changes, str(archive), BASE)
        archive.unlink()
    commands.check("podman", "tag", BASE, PYTHON)
    entry = ["COPY --chmod=755 entry-point /", 'ENTRYPOINT ["/entry-point"]']
    _make(commands, POSTGRES, [*entry, "STOPSIGNAL SIGINT"], POSTGRES_ENTRY_POINT)
    _make(commands, REDIS, [*entry, "WORKDIR /data"], REDIS_ENTRY_POINT)


def _make(commands: Podman, name: str, instructions: Sequence[str], entry_point: str = "") -> None:
    """Build an image from the base."""
    folder = FOLDER / name.rpartition("/")[2].replace(":", "-")
    folder.mkdir(exist_ok=True)
    (folder / "entry-point").write_text(entry_point)
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *instructions]) + "\n")
    commands.check("podman", "build", "--tag", name, str(folder))


def make_systemd(commands: Podman) -> str:
    """Return the name of an image that systemd starts; make it unless an earlier run has."""
    name = f"{BASE}-systemd"
    if commands.run("podman", "image", "exists", name).returncode:
        _make(commands, name, ["RUN apt-get update && apt-get install --yes --no-install-recommends systemd-sysv dbus"])
    return name


def copy_project(directory: Path) -> None:
    """Copy the files of the project, without those that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
