"""What looks like a secret stays home: by name and by content, and what only speaks of one does
not.
"""

from __future__ import annotations

import pytest

from rebyte_flows.code.paths import matches
from rebyte_flows.code.sending.secrets import SecretScanner, secret_content, secret_name
from rebyte_wire.errors import GuardRefused

from .conftest import git, make_repository, write
from .far_side import Trip

NAMES = [
    ".env",
    ".env.local",
    ".env.production",
    "dir/.envrc",
    "prod.env",
    "server.pem",
    "tls/private.key",
    "id_rsa",
    "id_ed25519",
    "home/.ssh/id_ecdsa",
    ".npmrc",
    ".netrc",
    "_netrc",
    ".pypirc",
    "terraform.tfstate",
    "terraform.tfstate.backup",
    "prod.tfvars",
    "credentials",
    "credentials.json",
    ".aws/credentials",
    "app/credentials.yml",
    ".git-credentials",
    "cert.p12",
    "cert.pfx",
    "release.keystore",
    "key.jks",
    "passwords.kdbx",
    ".htpasswd",
    "kubeconfig",
    ".kube/config",
    ".docker/config.json",
    "client_secret_123.json",
    "service-account-prod.json",
    "secrets.yaml",
    ".pgpass",
    "ID_RSA",
    ".ENV",
    "putty.ppk",
    "AuthKey_1.p8",
    ".vault-token",
]
HARMLESS = [
    ".env.example",
    ".env.sample",
    ".env.template",
    "env.py",
    "environment.yml",
    "src/credentials.py",
    "credentials.md",
    "id_rsa.pub",
    "id_map.py",
    "monkey.keyboard",
    "key.py",
    "keys.txt",
    "pem.go",
    "docs/secrets.md",
    "config.json",
    ".kube/readme",
    ".npmignore",
    "secrets.py",
    "client_secret.go",
    "README",
    "tokens.css",
    "public.asc",
]


def token(head, letters, count):
    """Return a token of a known shape that is none."""
    return head + (letters * count)[:count]


LETTERS = "aB3dE5gH7jK9mN2pQ4"
CONTENTS = [
    "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIE\n",
    "-----BEGIN " + "PRIVATE KEY-----\nMIIE\n",
    "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3Bl\n",
    "-----BEGIN " + "PGP PRIVATE KEY BLOCK-----\n",
    "-----BEGIN " + "ENCRYPTED PRIVATE KEY-----\n",
    'key = "%s"' % token("AKIA", "Q7XK2WPLM3ZVT5RB", 16),
    token("ghp_", LETTERS, 36),
    token("github_pat_", LETTERS, 60),
    token("glpat-", LETTERS, 20),
    token("xoxb-", "12345678901-", 30),
    token("sk-ant-", LETTERS, 40),
    token("sk-", LETTERS, 48),
    token("sk-proj-", LETTERS, 48),
    token("sk_live_", LETTERS, 24),
    token("AIza", LETTERS, 35),
    token("npm_", LETTERS, 36),
    token("pypi-AgEI", LETTERS, 60),
    token("hf_", LETTERS, 34),
    token("SG.", LETTERS, 22) + "." + token("", LETTERS, 43),
    token("dop_v1_", "0a1b2c3d", 64),
    token("rbk_", LETTERS, 32),
    token("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0", 58),
    "AKIAIOSFODNN7EXAMPLE",
    "x = my-own-key-0001",
]
PLAIN = [
    "task-based disk-usage risk-assessment-framework",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "def sk_live(x): pass",
    "the word AIza alone",
    r'rb"-----BEGIN [A-Z ]*PRIVATE KEY"',
    "npm_config_registry=x",
    "rbk_short",
]


@pytest.mark.parametrize("path", NAMES)
def test_a_name_of_secrets_is_known(path):
    assert secret_name(path)


@pytest.mark.parametrize("path", HARMLESS)
def test_a_name_that_only_sounds_so_is_not(path):
    assert secret_name(path) is None


@pytest.mark.parametrize("text", CONTENTS)
@pytest.mark.parametrize("cut", [0, 7, 20])
def test_a_content_is_known_also_where_pieces_meet(text, cut):
    scanner = SecretScanner([b"my-own-key-0001"])
    data = b"before\n" + text.encode() + b"\nafter"
    scanner.feed(data[: 7 + cut])
    scanner.feed(data[7 + cut :])
    assert scanner.found


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("text", [CONTENTS[0], CONTENTS[-1]])
def test_a_content_is_known_in_the_coding_of_other_shells(text, coding):
    scanner = SecretScanner([b"my-own-key-0001"])
    scanner.feed(text.encode(coding))
    assert scanner.found


@pytest.mark.parametrize("text", PLAIN)
def test_a_content_that_only_looks_so_is_not(text):
    assert secret_content(text.encode()) is None


@pytest.mark.parametrize(
    ("path", "word", "fits"),
    [
        ("a/b.pem", "a/b.pem", True),
        ("a/b.pem", "./a/b.pem", True),
        ("a/b.pem", "a", True),
        ("a/b.pem", "a/", True),
        ("a/b.pem", "*.pem", True),
        ("a/b.pem", "b.pem", False),
        ("ab/c", "a", False),
        ("a[1].txt", "a[1].txt", True),
    ],
)
def test_a_decision_names_a_path_a_folder_or_a_pattern(path, word, fits):
    assert matches(path, [word]) is fits


@pytest.fixture
def folder(tmp_path):
    files = {"a.txt": "a\n", "tracked.key": "k\n", "conf.py": CONTENTS[6] + "\n"}
    return make_repository(tmp_path / "demo", files)


def test_tracked_secrets_stop_the_start_with_the_list(folder, tmp_path):
    write(folder, {".env": "S=1", "note.txt": CONTENTS[0]})
    with pytest.raises(GuardRefused) as caught:
        Trip(folder, tmp_path)
    assert caught.value.exit_code == 7
    listed = [item["path"] for item in caught.value.details["secrets"]]
    assert listed == ["conf.py", "tracked.key"]
    # Nothing of it is in git, or anywhere else.
    assert git(folder, "for-each-ref", "refs/rebyte") == b""
    assert git(folder, "count-objects").startswith(b"5 ")


def test_one_by_one_it_is_decided_what_goes(folder, tmp_path):
    write(folder, {".env": "S=1", "note.txt": CONTENTS[0], "tracked.key": "dirty\n"})
    trip = Trip(folder, tmp_path, send_secret=["conf.py"], leave=["tracked.key"])
    assert set(trip.files) == {"a.txt", "conf.py"}
    assert set(trip.record.left_out) == {".env", "note.txt", "tracked.key"}
    # The one that stays home is not deleted by what comes back, and its change is not stored.
    trip.files["a.txt"] = b"changed\n"
    found = trip.home()
    assert found["changes"]["files"] == 1
    assert any("not sent" in text for text in found["warnings"])
    assert trip.content("tracked.key") == b"k\n"
    sent = Trip(folder, tmp_path, send_secret=["*"])
    assert {".env", "note.txt", "tracked.key"} < set(sent.files)


def test_the_command_ends_with_seven_and_sends_nothing(
    folder, rebyte, server, monkeypatch
):
    monkeypatch.chdir(folder)
    refused = rebyte("run", "--code", ".", "Work.")
    assert refused.code == 7 and refused.error["code"] == "secrets_found"
    assert [item["path"] for item in refused["details"]["secrets"]] == [
        "conf.py",
        "tracked.key",
    ]
    assert "--leave" in refused.error["hint"]
    assert [seen for seen in server.requests if seen["method"] == "POST"] == []
    write(folder, {"own.txt": "the key is %s\n" % server.key})
    flags = ["--leave", "tracked.key", "--send-secret", "conf.py"]
    shown = rebyte("run", "--code", ".", "Work.", "--dry-run", *flags)
    left = {item["path"]: item["why"] for item in shown["code"]["leftOut"]}
    assert set(left) == {"own.txt", "tracked.key"} and server.key not in shown.out
