"""Build the virtual environment from uv.lock: ``python3 .ci/environment.py .venv [options of uv sync]``.

It needs only Python and its venv module, which is a separate package in Debian and Ubuntu. It reports an obstacle in
one sentence. An old Python runs this file too, and reports that it is too old, so the syntax is that of Python 3.6.
"""

import getpass
import glob
import importlib.util
import locale
import os
import re
import ssl
import subprocess
import sys

OLDEST_PYTHON = (3, 11)

#: The files in which systems keep the certificates that they trust.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS
)


def fail(message):
    """Print one sentence that names the obstacle, and exit."""
    sys.exit(f"make: {message}")


def check(folder):
    """Fail if no environment can be made."""
    if sys.version_info < OLDEST_PYTHON:
        fail(
            f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, and 3.11 or later is needed:"
            " install one and name it, as in `make demo PYTHON=python3.13`."
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        fail(f"{sys.executable} cannot make virtual environments: install its venv module (apt install python3-venv).")
    if os.pathsep in os.getcwd():
        fail(
            f"no virtual environment can be in {os.getcwd()}, because of the {os.pathsep} in its path: move the folder."
        )
    for path in (os.getcwd(), folder):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            fail(f"{os.path.abspath(path)} cannot be written by {user()}: clone the project into a folder of your own.")


def user():
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.geteuid()}"


def run(command, environment, system_store, program):
    """Run a command that downloads; if it does not trust the index, retry with the certificates of the system.

    pip before 24.2 and uv have lists of their own, which lack those of a company's proxy.
    """
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE)
    if done.returncode and b"certificate" in done.stderr.lower():
        environment = dict(environment, **system_store)
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE)
    sys.stderr.buffer.write(done.stderr)
    if not done.returncode:
        return
    if b"certificate" in done.stderr.lower():
        fail(
            f"{program} does not trust the certificate of the package index: add it to those that this machine trusts,"
            " or name a file that contains it in SSL_CERT_FILE and PIP_CERT."
        )
    fail(f"{program} could not install the packages, for the reason above; behind a proxy, set HTTPS_PROXY.")


def bundle():
    """Return the file of certificates that this system trusts, or None."""
    default = ssl.get_default_verify_paths().cafile
    return next((path for path in (default, *BUNDLES) if path and os.path.exists(path)), None)


def main(folder, options):
    """Make the environment if it is missing, and install the locked versions."""
    check(folder)
    python, uv = os.path.join(folder, "bin", "python"), os.path.join(folder, "bin", "uv")
    environment = dict(os.environ, UV_PROJECT_ENVIRONMENT=folder)
    if "utf" not in locale.setlocale(locale.LC_CTYPE).lower():
        environment["LC_ALL"] = "C.UTF-8"  # needed until `make_path_relative` ran
    if not os.access(os.path.expanduser("~"), os.W_OK):
        environment.setdefault("UV_NO_CACHE", "1")
        environment.setdefault("PIP_NO_CACHE_DIR", "1")
    if os.path.realpath(sys.prefix) != os.path.realpath(folder):
        if subprocess.run([sys.executable, "-m", "venv", folder]).returncode:
            fail(f"no virtual environment could be made in {os.path.abspath(folder)}, for the reason above.")
        certificates = bundle()
        run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
            environment,
            {"PIP_CERT": certificates} if certificates else {},
            "pip",
        )
    version = subprocess.run([uv, "--version"], stdout=subprocess.PIPE).stdout.decode()
    # uv renamed the variable in 0.11.
    is_old = tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < (0, 11)
    extras = [] if "--only-group" in options else ["--all-extras"]  # uv refuses both
    run(
        [uv, "sync", "--quiet", "--frozen", "--compile-bytecode", *extras, *options],
        environment,
        {"UV_NATIVE_TLS" if is_old else "UV_SYSTEM_CERTS": "1"},
        "uv",
    )
    make_path_relative(folder)


def make_path_relative(folder):
    """Replace the path by which Python finds the project with one relative to the environment.

    Python before 3.13 decodes the path in the encoding of the locale, and with LC_ALL=C it does not even start if the
    path is not ASCII.
    """
    for file in glob.glob(os.path.join(glob.escape(folder), "lib", "python*", "site-packages", "*.pth")):
        with open(file, "rb") as opened:
            lines = opened.read().splitlines()
        project = os.fsencode(os.getcwd())
        if project in lines:
            relative = os.fsencode(os.path.relpath(os.getcwd(), os.path.dirname(os.path.abspath(file))))
            with open(f"{file}.new", "wb") as opened:
                opened.write(b"\n".join(relative if line == project else line for line in lines))
            os.replace(f"{file}.new", file)  # not written in place, because the file may be a hard link into uv's cache


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
