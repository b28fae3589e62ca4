"""doctor and help: each cause told apart, each flag and exit code named."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading

import pytest

from measure import run_quietly
from rebyte_commands.main import main
from rebyte_commands.verb_table import VERBS
from scripted_server import Proxy, Server, answer

from .conftest import DOOR


def checks(ran):
    return {check["name"]: check for check in ran["checks"]}


def test_all_is_well_against_a_service_that_is(rebyte, server):
    ran = rebyte("doctor")
    found = checks(ran)
    assert ran.code == 0 and ran["ok"] is True and "next" not in ran.document
    assert (
        found["service"]["ok"]
        and found["clock"]["ok"]
        and found["state"]["ok"]
        and found["credits"]["ok"]
    )
    assert (
        "REBYTE_API_KEY" in found["key"]["detail"]
        and server.key not in ran.out + ran.err
    )
    assert {seen["path"] for seen in server.requests} <= {
        "/v1/tasks?limit=1",
        "/v1/tasks",
        "/v1/billing/credits",
    }
    assert "all is well" in rebyte("doctor", "--text").out


def test_a_missing_key_has_a_sentence_for_the_human(rebyte, monkeypatch):
    monkeypatch.delenv("REBYTE_API_KEY")
    ran = rebyte("doctor")
    assert (
        ran.code == 4
        and ran["cause"]["check"] == "key"
        and "Rebyte API key" in ran["next"][0]["ask"]
    )
    assert checks(ran)["service"]["ok"] is None


def test_a_refused_key_is_told_from_a_dropped_header(rebyte, monkeypatch, server):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_wrong")
    ran = rebyte("doctor")
    assert (ran.code, ran["cause"]["code"], ran["cause"]["check"]) == (
        4,
        "invalid_api_key",
        "service",
    )
    assert checks(ran)["header"]["ok"] is True


def test_a_sandbox_without_names_is_told(rebyte, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.delenv("REBYTE_BASE_URL")
    ran = rebyte("doctor", "--max-wait", "10")
    assert (ran.code, ran["cause"]["code"], ran["cause"]["check"]) == (
        10,
        "dns_failed",
        "api.name",
    )
    assert checks(ran)["storage.name"][
        "ok"
    ] is False and "allow network access" in json.dumps(ran["next"])


def test_a_proxy_that_refuses_the_tunnel_is_told(rebyte, monkeypatch):
    with Proxy(refusal=answer(403)) as proxy:
        monkeypatch.delenv("REBYTE_BASE_URL")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ran = rebyte("doctor", "--max-wait", "10")
    assert (ran.code, ran["cause"]["code"], ran["cause"]["check"]) == (
        10,
        "proxy_refused",
        "api.proxy",
    )
    assert "list of hosts" in json.dumps(ran["next"])


def test_nothing_listening_and_a_service_in_trouble_are_told_apart(
    rebyte, server, monkeypatch
):
    server.faults.enable("server-error")
    ran = rebyte("doctor", "--max-wait", "3")
    assert (ran.code, ran["cause"]["check"]) == (12, "service")
    server.close()
    ran = rebyte("doctor", "--max-wait", "3")
    assert (ran.code, ran["cause"]["code"]) == (10, "connection_refused")


def test_the_local_server_is_checked_without_the_cloud(rebyte, monkeypatch):
    monkeypatch.delenv("REBYTE_BASE_URL")
    monkeypatch.delenv("REBYTE_API_KEY")
    try:
        ran = rebyte("doctor", "--local")
        assert (
            ran.code == 0
            and ran["service"] == "local"
            and checks(ran)["storage"]["ok"] is None
        )
    finally:
        rebyte("local", "stop")


@pytest.mark.parametrize("skew", [-4000, 4000])
def test_a_wrong_clock_is_told(rebyte, monkeypatch, skew):
    from rebyte_client import RebyteClient

    monkeypatch.setattr(RebyteClient, "clock_skew", property(lambda self: skew))
    ran = rebyte("doctor")
    assert (
        ran.code == 1
        and ran["cause"]["code"] == "clock_wrong"
        and ("behind" if skew > 0 else "ahead") in ran.err
    )


@pytest.mark.parametrize(
    "status, body, code, check, exit_code",
    [
        (
            401,
            b'{"error":{"code":"missing_api_key","message":"API key is required"}}',
            "header_dropped",
            "header",
            4,
        ),
        (
            404,
            b'{"error":{"code":"not_found","message":"Not Found"}}',
            None,
            "service",
            5,
        ),
        (404, b"<html>nothing here</html>", "no_such_route", "service", 5),
        (200, b"<html>please log in</html>", "bad_answer", "service", 12),
        (429, b"", "rate_limited", "service", 11),
    ],
    ids=["dropped header", "nothing found", "endpoint gone", "login page", "rate"],
)
def test_what_a_service_says_is_told_apart(
    rebyte, monkeypatch, status, body, code, check, exit_code
):
    with Server(answer(status, body)) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "3")
    cause = ran["cause"]
    assert (ran.code, cause["check"]) == (exit_code, check) and cause["code"] == (
        code or cause["code"]
    )
    assert checks(ran)[check]["remedy"]


def names_lead_home(monkeypatch):
    """Let every name but this machine's be unknown, so that no test leaves it."""
    known = socket.getaddrinfo

    def look_up(host, *more, **named):
        if host not in (b"127.0.0.1", "127.0.0.1"):
            raise socket.gaierror(-2, "Name or service not known")
        return known(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_certificate_that_is_not_trusted_is_told_and_one_that_is_names_its_signer(
    rebyte, monkeypatch, certificates, tls
):
    names_lead_home(monkeypatch)
    with Server(answer(200, {}), context=tls()) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "5")
        assert (ran.code, ran["cause"]["code"], ran["cause"]["check"]) == (
            10,
            "tls_failed",
            "api.tls",
        )
        assert (
            "REBYTE_CA_BUNDLE" in checks(ran)["api.tls"]["remedy"]
            and "CA" in ran["next"][0]["ask"]
        )
        monkeypatch.setenv("REBYTE_CA_BUNDLE", str(certificates / "ca.pem"))
        found = checks(rebyte("doctor", "--max-wait", "5"))
    assert (
        found["api.tls"]["ok"]
        and "signed by ca, trusted by REBYTE_CA_BUNDLE" in found["api.tls"]["detail"]
    )
    assert found["storage.name"]["ok"] is False


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="older Pythons do not check strictly"
)
def test_the_strict_check_of_new_pythons_is_named(
    rebyte, monkeypatch, certificates, tls
):
    names_lead_home(monkeypatch)
    monkeypatch.setenv("REBYTE_CA_BUNDLE", str(certificates / "old.pem"))
    with Server(answer(200, {}), context=tls("proxied")) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "5")
        assert (
            ran["cause"]["check"] == "api.tls"
            and "REBYTE_TLS_STRICT=0" in ran["next"][0]["ask"]
        )
        monkeypatch.setenv("REBYTE_TLS_STRICT", "0")
        assert checks(rebyte("doctor", "--max-wait", "5"))["api.tls"]["ok"]


def test_a_name_service_that_never_answers_is_left_behind(rebyte, monkeypatch):
    gate = threading.Event()

    def hang(*_, **__):
        gate.wait(30)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.delenv("REBYTE_BASE_URL")
    try:
        ran = rebyte("doctor", "--max-wait", "0.2")
        assert (ran.code, ran["cause"]["code"]) == (10, "dns_failed")
    finally:
        gate.set()


# Help: examples first, every flag, the exit codes of that verb, the environment in a line; small,
# and without a network.

# The most flags has batch, whose lines can take all that run takes.
MOST_BYTES = 5120
# The wire reads addresses with socket.inet_aton, so the name `socket` may be loaded; nothing that
# could speak is.
NETWORK = {"ssl", "http.client", "urllib.request", "http.server"}


def shown(capsys, *words):
    assert main(list(words), 0) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_two_examples_first_then_flags_codes_and_environment(capsys, verb):
    text = shown(capsys, verb, "--help")
    examples, flags, codes, environment = (
        text.index(word)
        for word in ("examples:", "--base-url", "exit codes: ", "environment: ")
    )
    assert examples < flags < codes < environment and len(text.encode()) < MOST_BYTES
    lines = re.findall(r"^  rebyte_cli\.py .*$", text[examples:flags], re.M)
    assert len(lines) >= 2 and any(line.split()[1] == verb for line in lines)
    assert "--help" in text[flags - 900 :] or "-h, --help" in text
    assert shown(capsys, "help", verb) == text


def test_the_help_of_everything_is_small_too(capsys):
    assert len(shown(capsys, "--help").encode()) < MOST_BYTES


@pytest.mark.parametrize("words", [()] + [(verb,) for verb in VERBS], ids=" ".join)
def test_help_loads_no_network(words):
    done = run_quietly(
        [sys.executable, "-I", "-S", "-B", "-X", "importtime", DOOR]
        + list(words)
        + ["--help"]
    )
    loaded = set(re.findall(rb"\| +([\w.]+)$", done.stderr, re.M))
    assert done.returncode == 0 and b"rebyte_commands.verb_table" in loaded
    # Without a verb nothing asks for addresses either.
    assert {
        name.encode() for name in NETWORK | ({"socket"} if words == () else set())
    } & loaded == set()


@pytest.mark.parametrize(
    "line, nearest",
    [
        (["rnu", "x"], "run"),
        (["resutl", "x"], "result"),
        (["run", "x", "--wnat", "a.pdf"], "--want"),
        (["list", "--limt", "3"], "--limit"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(capsys, line, nearest):
    assert main(line, 0) == 2
    assert "did you mean %s?" % nearest in capsys.readouterr().err
