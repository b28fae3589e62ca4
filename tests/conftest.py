"""Every test starts from the same empty world: own HOME, no REBYTE_*, no proxy, no harness marker,
no bytecode beside the code.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import ssl
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
UNWANTED = ("REBYTE_", "XDG_", "SSL_CERT", "REQUESTS_CA", "CURL_CA")
LEAF = "subjectAltName=DNS:localhost,DNS:api.example.test,DNS:files.example.test,IP:127.0.0.1"
IMPORT_ALL = "import sys, pkgutil; sys.path.insert(0, sys.argv[1]); [__import__(m.name) for m in pkgutil.walk_packages(sys.argv[1:])]"
PAUSES = {
    "flows.following.stream": {
        "QUESTION_GRACE_SECONDS": 0.3,
        "POLL_SECONDS": 0.2,
        "DRAIN_POLL_SECONDS": 0.6,
        "DRAIN_AT_MOST_SECONDS": 9.0,
    },
    "flows.following.ending": {
        "BACK_OFF_SECONDS": (0.1, 0.1, 0.1, 0.2, 0.2, 0.2),
        "DRAIN_PAUSE_SECONDS": 0.06,
        "DRAIN_AT_LEAST_SECONDS": 1.2,
        "DRAIN_AT_MOST_SECONDS": 9.0,
    },
    "flows.starting.reconciliation": {"LOOKS_AFTER_SECONDS": (0.05, 0.2)},
    "flows.starting.submitter": {"POLL_SECONDS": 0.05},
    "flows.batch": {"SLOW_DOWN_SECONDS": 0.2},
    "flows.following.waiting": {
        "REQUESTS_PER_SECOND": 20,
        "COMPUTER_POLL_SECONDS": 0.05,
    },
    "flows.following.questions": {"GRACE_SECONDS": 0.3, "LOOK_SECONDS": 1.5},
    "local.api.computers": {"PROVISION_SECONDS": 0.1},
    "wire.retry": {"BASE_DELAY_SECONDS": 0.02},
}
MARKERS = ("CLAUDECODE", "CODEX_SANDBOX", "GEMINI_CLI", "NO_COLOR", "REQUEST_METHOD")


def pytest_make_parametrize_id(val, argname):
    """Name a long text by its length, so that no test is called megabytes of it."""
    return (
        "%s of %d" % (argname, len(val))
        if isinstance(val, (str, bytes)) and len(val) > 60
        else None
    )


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """Return (a folder for homes, a count for their names): cheaper than one temporary folder
    beside thousands.
    """
    return tmp_path_factory.mktemp("homes"), itertools.count()


@pytest.fixture(scope="session", autouse=True)
def bytecode(tmp_path_factory):
    """Compile everything once, outside the tree, so that the hundreds of processes of the tests
    need not.
    """
    folder = str(tmp_path_factory.mktemp("bytecode"))
    environ = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, os.path.join(ROOT, "scripts")],
        env=dict(environ, PYTHONPYCACHEPREFIX=folder),
        check=True,
    )
    return folder


@pytest.fixture(autouse=True)
def empty_world(homes, bytecode, monkeypatch):
    """Give each test a home of its own and take away what the outside world may have set."""
    folder, numbers = homes
    home = folder / str(next(numbers))
    home.mkdir()
    for name in list(os.environ):
        if (
            name.startswith(UNWANTED)
            or name in MARKERS
            or name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)
    monkeypatch.setattr("rebyte_flows.places.SHARED_ROOTS", ())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", bytecode)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return home


@pytest.fixture
def server(tmp_path, request):
    """A local server; parametrised indirectly with a shell line, it has an agent program and is no
    rehearsal.
    """
    from rebyte_local.server import LocalServer

    agent = getattr(request, "param", None)
    with LocalServer(
        str(tmp_path / "server"), **{"agent": ["sh", "-c", agent]} if agent else {}
    ) as running:
        yield running


@pytest.fixture
def client_for(monkeypatch):
    """Return a function that makes a client for a server; its waits are noted in `waits` and take
    no time.
    """
    from rebyte_client import RebyteClient
    from rebyte_wire.transport import Transport

    made = []

    def make(server, deadline=None, environ=None, key="rbk_CANARY_77aa"):
        base, waits = (server if isinstance(server, str) else server.url) + "/v1", []
        environ = dict(os.environ, **(environ or {}))
        transport = Transport(
            base, key, environ, deadline=deadline, sleep=waits.append, rng=lambda: 1.0
        )
        made.append(RebyteClient(key, base, environ=environ, transport=transport))
        made[-1].waits = waits
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def served(client_for):
    """served(*script, deadline=, environ=, **of the server) -> (client, server that is ended with
    the test).
    """
    from scripted_server import Server

    with contextlib.ExitStack() as stack:

        def make(*script, deadline=None, environ=None, **more):
            server = stack.enter_context(Server(*script, **more))
            return client_for(server, deadline, environ), server

        yield make


@pytest.fixture
def lead(monkeypatch):
    """lead(*ports): from here on every name leads to these ports of this machine."""

    def to(*ports):
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            for port in ports
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)

    return to


@pytest.fixture
def impatient(monkeypatch):
    """Make the pauses of this process short, so that a fault costs a test tenths of a second."""
    for module, constants in PAUSES.items():
        for name, value in constants.items():
            monkeypatch.setattr("rebyte_%s.%s" % (module, name), value)


def openssl(folder, *arguments):
    """Run openssl quietly in a folder."""
    subprocess.run(
        ["openssl"] + list(arguments),
        cwd=str(folder),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def make_authority(folder, name, strict=True):
    """Make a CA certificate; without `strict` it lacks what Python 3.13 asks for, as many proxies'
    do.
    """
    extensions = ["basicConstraints=critical,CA:TRUE"] + (
        ["keyUsage=critical,keyCertSign,cRLSign"] if strict else []
    )
    (folder / (name + ".cnf")).write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ca]\n" + "\n".join(extensions) + "\n"
    )
    openssl(
        folder,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        name + ".key",
        "-out",
        name + ".pem",
        "-days",
        "2",
        "-subj",
        "/CN=" + name,
        "-config",
        name + ".cnf",
        "-extensions",
        "ca",
    )


def make_leaf(folder, name, authority, names, days="2"):
    """Make a server's certificate, signed by an authority, with its key in the same file."""
    (folder / (name + ".ext")).write_text(
        names + "\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        name + ".key",
        "-out",
        name + ".csr",
        "-subj",
        "/CN=" + name,
        "-config",
        authority + ".cnf",
    )
    openssl(
        folder,
        "x509",
        "-req",
        "-in",
        name + ".csr",
        "-CA",
        authority + ".pem",
        "-CAkey",
        authority + ".key",
        "-CAcreateserial",
        "-days",
        days,
        "-extfile",
        name + ".ext",
        "-out",
        name + ".crt",
    )
    (folder / (name + ".pem")).write_text(
        (folder / (name + ".crt")).read_text() + (folder / (name + ".key")).read_text()
    )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a folder with an authority, a good and a wrong leaf, and a CA that a strict check
    refuses.
    """
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ca")
    make_authority(folder, "old", strict=False)
    make_leaf(folder, "good", "ca", LEAF)
    make_leaf(folder, "other", "ca", "subjectAltName=DNS:other.example.test")
    make_leaf(folder, "proxied", "old", LEAF)
    make_leaf(folder, "expired", "ca", LEAF, days="-1")
    return folder


@pytest.fixture
def tls(certificates):
    """Return a function that gives a server's TLS context for a leaf."""

    def context(leaf="good"):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(str(certificates / (leaf + ".pem")))
        return made

    return context
