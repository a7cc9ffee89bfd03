"""The proxies of ``deploy/proxies``, as Debian's packages have them, in front of a test's receivers."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.certificates import write_certificate
from tests.support.requirements import needs
from tests.support.service import eventually, free_port

FOLDER = Path(__file__).parents[2] / "deploy" / "proxies"

#: What stands in the configurations for the two receivers.
BACKENDS = ("10.0.0.11:8080", "10.0.0.12:8080")

_NGINX = """
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {site};
}}
"""


def _nginx(folder: Path, site: Path) -> Path:
    main = folder / "main.conf"
    main.write_text(_NGINX.format(folder=folder, site=site))
    return main


@dataclass(frozen=True, slots=True)
class Kind:
    """A program that can stand in front of the receivers.

    Attributes:
        file: its configuration in ``deploy/proxies``.
        check: the arguments that check a configuration, which follows them.
        run: the arguments that run it in the foreground.
        places: what stands in the configuration, and what a test puts there; ``{port}`` and ``{folder}`` are its own.
        repeats: whether it sends a request again that a receiver had taken and did not answer.
        main: makes the configuration that the program is started with, if the file is only a part of it.
    """

    program: str
    file: str
    check: Sequence[str]
    run: Sequence[str]
    places: Sequence[tuple[str, str]]
    repeats: bool = True
    main: Callable[[Path, Path], Path] = lambda _folder, site: site


KINDS = {
    "nginx": Kind(
        "nginx",
        "nginx.conf",
        ("-t", "-c"),
        ("-g", "daemon off;", "-c"),
        (
            ("listen 443 ssl;", "listen 127.0.0.1:{port} ssl;"),
            ("listen [::]:443 ssl;", ""),
            ("/etc/ssl/receiver/fullchain.pem", "{folder}/server.pem"),
            ("/etc/ssl/receiver/privkey.pem", "{folder}/server.pem"),
        ),
        main=_nginx,
    ),
    "caddy": Kind(
        "caddy",
        "Caddyfile",
        ("validate", "--adapter", "caddyfile", "--config"),
        ("run", "--adapter", "caddyfile", "--config"),
        (
            (
                "\nreceiver.example.com {",
                "\n{{\n\tadmin off\n\tauto_https disable_redirects\n}}\nhttps://localhost:{port} {{",
            ),
            ("/etc/ssl/receiver/fullchain.pem", "{folder}/server.pem"),
            ("/etc/ssl/receiver/privkey.pem", "{folder}/server.pem"),
        ),
        repeats=False,
    ),
    "haproxy": Kind(
        "haproxy",
        "haproxy.cfg",
        ("-c", "-f"),
        ("-db", "-f"),
        (
            ("bind :443,:::443 v6only ssl", "bind 127.0.0.1:{port} ssl"),
            ("/etc/ssl/receiver/both.pem", "{folder}/server.pem"),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy.

    Attributes:
        url: where it listens, with TLS.
        context: trusts its certificate.
    """

    url: str
    port: int
    context: ssl.SSLContext

    def client(self) -> httpx.Client:
        """Return a client that trusts the proxy."""
        return httpx.Client(base_url=self.url, verify=self.context, timeout=30, trust_env=False)


@contextlib.contextmanager
def proxy_of(kind: Kind, folder: Path, receivers: Sequence[str]) -> Iterator[Proxy]:
    """Run a proxy in front of two receivers; its configuration is checked by the program first.

    Parameters:
        receivers: the URLs of the receivers.
    """
    program = needs(shutil.which(kind.program, path=f"{os.environ['PATH']}:/usr/sbin"), kind.program)
    port = free_port()
    write_certificate(folder / "server.pem")
    configuration = (FOLDER / kind.file).read_text()
    backends = [url.removeprefix("http://") for url in receivers]
    for here, there in (*kind.places, *zip(BACKENDS, backends, strict=True)):
        assert here in configuration, here
        configuration = configuration.replace(here, there.format(port=port, folder=folder))
    site = folder / kind.file
    site.write_text(configuration)
    main = kind.main(folder, site)
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    checked = subprocess.run(
        [program, *kind.check, str(main)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "[warn" not in (checked.stdout + checked.stderr).lower(), checked.stdout + checked.stderr
    log = folder / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *kind.run, str(main)], env=environment, stdout=output, stderr=output)
    proxy = Proxy(f"https://localhost:{port}", port, ssl.create_default_context(cafile=str(folder / "server.pem")))
    try:
        eventually(lambda: _answers(proxy), seconds=60)
        yield proxy
    finally:
        process.terminate()
        process.wait(60)
        sys.stdout.write(log.read_text(errors="replace")[-5000:])


def _answers(proxy: Proxy) -> bool:
    with proxy.client() as client:
        try:
            return client.get("/").status_code == httpx.codes.NOT_FOUND
        except httpx.TransportError:
            return False
