"""Every test starts from the same empty world: own HOME, no REBYTE_*, no proxy, no harness marker, no bytecode."""
from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNWANTED = ("REBYTE_", "XDG_", "SSL_CERT", "REQUESTS_CA", "CURL_CA")
LEAF = "subjectAltName=DNS:localhost,DNS:api.example.test,DNS:files.example.test,IP:127.0.0.1"
MARKERS = ("CLAUDECODE", "CODEX_SANDBOX", "GEMINI_CLI", "NO_COLOR", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def empty_world(tmp_path_factory, monkeypatch):
    """Give each test a home of its own and take away what the outside world may have set."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(UNWANTED) or name in MARKERS or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return home


def openssl(folder, *arguments):
    """Run openssl quietly in a folder."""
    subprocess.run(["openssl"] + list(arguments), cwd=str(folder), check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60)


def make_authority(folder, name, strict=True):
    """Make a CA certificate; without `strict` it lacks what Python 3.13 asks for, as many proxies' do."""
    extensions = ["basicConstraints=critical,CA:TRUE"] + (["keyUsage=critical,keyCertSign,cRLSign"] if strict else [])
    (folder / (name + ".cnf")).write_text("[req]\ndistinguished_name=dn\n[dn]\n[ca]\n" + "\n".join(extensions) + "\n")
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".pem", "-days",
            "2", "-subj", "/CN=" + name, "-config", name + ".cnf", "-extensions", "ca")


def make_leaf(folder, name, authority, names):
    """Make a server's certificate, signed by an authority, with its key in the same file."""
    (folder / (name + ".ext")).write_text(names + "\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj",
            "/CN=" + name, "-config", authority + ".cnf")
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey", authority + ".key",
            "-CAcreateserial", "-days", "2", "-extfile", name + ".ext", "-out", name + ".crt")
    (folder / (name + ".pem")).write_text((folder / (name + ".crt")).read_text() + (folder / (name + ".key")).read_text())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a folder with an authority, a good and a wrong leaf, and a CA that a strict check refuses."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ca")
    make_authority(folder, "old", strict=False)
    make_leaf(folder, "good", "ca", LEAF)
    make_leaf(folder, "other", "ca", "subjectAltName=DNS:other.example.test")
    make_leaf(folder, "proxied", "old", LEAF)
    return folder


@pytest.fixture
def tls(certificates):
    """Return a function that gives a server's TLS context for a leaf."""
    def context(leaf="good"):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(str(certificates / (leaf + ".pem")))
        return made
    return context
