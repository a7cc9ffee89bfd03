"""Several hosts on one machine, each a network namespace, which a test cuts off.

They are attached to a switch, a namespace with a bridge, and nothing of them is seen outside. Making them needs root,
and iproute2 and util-linux.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import Process, end
from tests.support.servers import DATABASE, PostgresServer, RedisServer
from tests.support.service import eventually

#: The network of the hosts; it exists only in their namespaces.
NETWORK = "10.77.0"

_numbers = itertools.count()


def require_namespaces() -> None:
    """Skip the test if network namespaces cannot be made here."""
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")
    for program in ("ip", "nsenter", "unshare", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass
class Host:
    """One host: a namespace with an address.

    Attributes:
        name: its hostname.
        namespace: the name of its namespace.
        switch: the name of the switch's namespace, in which the other end of its link is called as the host.
    """

    name: str
    namespace: str
    switch: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs another one on this host, with the same process id."""
        name = f'hostname {self.name} && exec "$@"'
        return ("nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--uts", "sh", "-c", name, "sh")

    def cut(self) -> None:
        """Cut the link: packets in both directions vanish without an answer."""
        _ip("-n", self.switch, "link", "set", self.name, "down")

    def join(self) -> None:
        """Connect the link again."""
        _ip("-n", self.switch, "link", "set", self.name, "up")


@dataclass
class Hosts:
    """The hosts of a test, and the programs that run on them.

    Attributes:
        environment: of every process of the service.
    """

    directory: Path
    network: str = field(default_factory=lambda: f"rt{os.getpid()}-{next(_numbers)}")
    environment: dict[str, str] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)
    _namespaces: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """The file to which the processes write."""
        return self.directory / "processes.log"

    @property
    def _switch(self) -> str:
        return f"{self.network}-switch"

    def make_switch(self) -> None:
        """Make the switch, to which hosts can be attached."""
        self._make_namespace(self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")

    def add(self, name: str, number: int) -> Host:
        """Make a host; its number is the last of its address. A name has at most 15 characters."""
        host = Host(name, f"{self.network}-{name}", self._switch, f"{NETWORK}.{number}")
        self._make_namespace(host.namespace)
        ends = ("link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", self._switch)
        _ip("-n", host.namespace, *ends)
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        _ip("-n", self._switch, "link", "set", name, "master", "switch", "up")
        return host

    def _make_namespace(self, name: str) -> None:
        _ip("netns", "add", name)
        self._namespaces.append(name)
        _ip("-n", name, "link", "set", "lo", "up")

    def start(self, host: Host, *command: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a program on a host."""
        own = os.environ | self.environment | dict(environment or {})
        with self.log.open("ab") as log:
            process = subprocess.Popen([*host.prefix, *command], env=own, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def receiver(self, host: Host, *arguments: str, **environment: str) -> Process:
        """Start a command of the receiver on a host; its environment is added to that of all."""
        return self.start(host, sys.executable, "-P", "-m", "receiver", *arguments, environment=environment)

    def remove(self) -> None:
        """Kill every process, and remove the namespaces."""
        for process in self.started:
            process.kill()
            process.wait()
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def hosts(directory: Path) -> Iterator[Hosts]:
    """Yield a switch without hosts; at the end kill what ran on its hosts, and remove them.

    What the processes logged is printed at the end, which pytest shows if the test has failed.
    """
    require_namespaces()
    made = Hosts(directory)
    try:
        made.make_switch()
        yield made
    finally:
        made.remove()
        if made.log.exists():
            sys.stdout.write(made.log.read_text(errors="replace"))


@contextlib.contextmanager
def postgres_on(host: Host, directory: Path, like: Path) -> Iterator[tuple[PostgresServer, str]]:
    """Run Postgres on a host, with a copy of another one's data.

    Yields:
        The server, which the test reaches by its Unix socket even if the host is cut off, and its URL in the network.
    """
    prefix = (*host.prefix, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    server = PostgresServer(directory, prefix=prefix, settings={"listen_addresses": host.address})
    server.initialise(like)
    with (directory / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    server.start()
    try:
        yield server, f"postgresql://postgres@{host.address}/{DATABASE}"
    finally:
        server.kill()


@contextlib.contextmanager
def redis_on(host: Host, directory: Path) -> Iterator[tuple[RedisServer, str]]:
    """Run Redis on a host, as :func:`postgres_on` does with Postgres."""
    server = RedisServer(
        directory, port=6379, prefix=host.prefix, options=("--bind", host.address, "--protected-mode", "no")
    )
    server.start()
    try:
        yield server, f"redis://{host.address}:6379/0"
    finally:
        server.kill()


#: Without TLS, and it repeats no request that a receiver may have read: the ledger counts how often each was sent. Its own
#: 503 names when to send again.
_HAPROXY = """
global
    maxconn 1000
    stats socket {directory}/stats.sock
    log stderr format raw local0 notice

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 15s
    http-error status 503 content-type text/plain string "no receiver" hdr Retry-After 1

frontend receiver
    bind unix@{directory}/notifications.sock
    default_backend receivers

backend receivers
    balance roundrobin
    option httpchk GET /healthz
    http-check expect status 200
    retries 2
    option redispatch 1
    retry-on conn-failure
    default-server check inter 1s fall 2 rise 1
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """HAProxy in front of receivers on other hosts."""

    directory: Path

    @property
    def socket(self) -> str:
        """The Unix socket on which it takes notifications."""
        return f"{self.directory}/notifications.sock"

    def ready(self) -> set[str]:
        """Return the names of the receivers that it uses."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.directory}/stats.sock")
            client.sendall(b"show stat\n")
            lines = client.makefile().read().splitlines()
        rows = [line.split(",") for line in lines if line.startswith("receivers,")]
        return {row[1] for row in rows if row[1] != "BACKEND" and row[17] == "UP"}


def proxy_on(hosts: Hosts, host: Host, receivers: list[Host], directory: Path) -> Proxy:
    """Start HAProxy on a host, before receivers on others, and wait until it takes connections."""
    executable = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if executable is None:
        pytest.skip("haproxy is not installed")
    servers = "".join(f"    server {receiver.name} {receiver.address}:8080\n" for receiver in receivers)
    configuration = directory / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(directory=directory) + servers)
    proxy = Proxy(directory)
    hosts.start(host, executable, "-db", "-f", str(configuration))
    eventually(lambda: Path(proxy.socket).exists())
    return proxy


def stop(process: Process) -> int:
    """Stop a process as its service manager does, with SIGTERM; return its exit code."""
    return end(process, signal.SIGTERM)
