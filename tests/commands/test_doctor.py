"""doctor: each cause told apart, with its remedy, its sentence for the human and its own exit code."""
from __future__ import annotations

import json
import socket
import sys
import threading

import pytest


def checks(ran):
    return {check["name"]: check for check in ran.document["checks"]}


def test_all_is_well_against_a_service_that_is(rebyte, server):
    ran = rebyte("doctor")
    found = checks(ran)
    assert ran.code == 0 and ran.document["ok"] is True and "next" not in ran.document
    assert found["service"]["ok"] and found["clock"]["ok"] and found["state"]["ok"] and found["credits"]["ok"]
    assert "REBYTE_API_KEY" in found["key"]["detail"] and server.key not in ran.out + ran.err
    assert {seen["path"] for seen in server.requests} <= {"/v1/tasks?limit=1", "/v1/tasks", "/v1/billing/credits"}
    assert "all is well" in rebyte("doctor", "--text").out


def test_a_missing_key_has_a_sentence_for_the_human(rebyte, monkeypatch):
    monkeypatch.delenv("REBYTE_API_KEY")
    ran = rebyte("doctor")
    assert ran.code == 4 and ran.document["cause"]["check"] == "key" and "Rebyte API key" in ran.document["next"][0]["ask"]
    assert checks(ran)["service"]["ok"] is None


def test_a_refused_key_is_told_from_a_dropped_header(rebyte, monkeypatch, server):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_wrong")
    ran = rebyte("doctor")
    assert (ran.code, ran.document["cause"]["code"], ran.document["cause"]["check"]) == (4, "invalid_api_key", "service")
    assert checks(ran)["header"]["ok"] is True


def test_a_sandbox_without_names_is_told(rebyte, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.delenv("REBYTE_BASE_URL")
    ran = rebyte("doctor", "--max-wait", "10")
    assert (ran.code, ran.document["cause"]["code"], ran.document["cause"]["check"]) == (10, "dns_failed", "api.name")
    assert checks(ran)["storage.name"]["ok"] is False and "allow network access" in json.dumps(ran.document["next"])


def test_a_proxy_that_refuses_the_tunnel_is_told(rebyte, monkeypatch):
    with refusing_proxy() as port:
        monkeypatch.delenv("REBYTE_BASE_URL")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:%d" % port)
        ran = rebyte("doctor", "--max-wait", "10")
    assert (ran.code, ran.document["cause"]["code"], ran.document["cause"]["check"]) == (10, "proxy_refused", "api.proxy")
    assert "list of hosts" in json.dumps(ran.document["next"])


class refusing_proxy:
    """A proxy on loopback that answers every CONNECT with 403."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self.socket.getsockname()[1]

    def serve(self):
        while True:
            connection = self.socket.accept()[0]
            with connection:
                if not connection.recv(4096).startswith(b"CONNECT"):
                    return
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    def __exit__(self, *_):
        with socket.create_connection(self.socket.getsockname()) as last:
            last.sendall(b"END")
        self.thread.join()
        self.socket.close()


def test_nothing_listening_and_a_service_in_trouble_are_told_apart(rebyte, server, monkeypatch):
    server.faults.enable("server-error")
    ran = rebyte("doctor", "--max-wait", "3")
    assert (ran.code, ran.document["cause"]["check"]) == (12, "service")
    server.close()
    ran = rebyte("doctor", "--max-wait", "3")
    assert (ran.code, ran.document["cause"]["code"]) == (10, "connection_refused")


def test_the_local_server_is_checked_without_the_cloud(rebyte, monkeypatch):
    monkeypatch.delenv("REBYTE_BASE_URL")
    monkeypatch.delenv("REBYTE_API_KEY")
    try:
        ran = rebyte("doctor", "--local")
        assert ran.code == 0 and ran.document["service"] == "local" and checks(ran)["storage"]["ok"] is None
    finally:
        rebyte("local", "stop")


@pytest.mark.parametrize("skew", [-4000, 4000])
def test_a_wrong_clock_is_told(rebyte, monkeypatch, skew):
    from rebyte_client import RebyteClient
    monkeypatch.setattr(RebyteClient, "clock_skew", property(lambda self: skew))
    ran = rebyte("doctor")
    assert ran.code == 1 and ran.document["cause"]["code"] == "clock_wrong" and ("behind" if skew > 0 else "ahead") in ran.err


class scripted:
    """A service on loopback, over TLS if given a context, that gives every request the same answer."""

    def __init__(self, status=200, body=b"{}", context=None):
        self.answer = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body
        self.context, self.socket = context, socket.create_server(("127.0.0.1", 0))
        self.url = "%s://127.0.0.1:%d" % ("https" if context else "http", self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self):
        self.thread.start()
        return self

    def serve(self):
        while True:
            connection = self.socket.accept()[0]
            try:
                connection = self.context.wrap_socket(connection, server_side=True) if self.context else connection
                if connection.recv(65536).startswith(b"END"):
                    return
                connection.sendall(self.answer)
            except OSError:
                # A peer that does not trust us hangs up; one that speaks no TLS ends the server.
                if self.ending:
                    return
            finally:
                connection.close()

    ending = False

    def __exit__(self, *_):
        self.ending = True
        with socket.create_connection(self.socket.getsockname()) as last:
            last.sendall(b"END")
        self.thread.join()
        self.socket.close()


@pytest.mark.parametrize("status, body, code, check, exit_code", [
    (401, b'{"error":{"code":"missing_api_key","message":"API key is required"}}', "header_dropped", "header", 4),
    (404, b'{"error":{"code":"not_found","message":"Not Found"}}', None, "service", 5),
    (404, b"<html>nothing here</html>", "no_such_route", "service", 5),
    (200, b"<html>please log in</html>", "bad_answer", "service", 12),
    (429, b"", "rate_limited", "service", 11)], ids=["dropped header", "nothing found", "endpoint gone", "login page", "rate"])
def test_what_a_service_says_is_told_apart(rebyte, monkeypatch, status, body, code, check, exit_code):
    with scripted(status, body) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "3")
    cause = ran.document["cause"]
    assert (ran.code, cause["check"]) == (exit_code, check) and cause["code"] == (code or cause["code"])
    assert checks(ran)[check]["remedy"]


def names_lead_home(monkeypatch):
    """Let every name but this machine's be unknown, so that no test leaves it."""
    known = socket.getaddrinfo

    def look_up(host, *more, **named):
        if host not in (b"127.0.0.1", "127.0.0.1"):
            raise socket.gaierror(-2, "Name or service not known")
        return known(host, *more, **named)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_certificate_that_is_not_trusted_is_told_and_one_that_is_names_its_signer(rebyte, monkeypatch, certificates, tls):
    names_lead_home(monkeypatch)
    with scripted(context=tls()) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "5")
        assert (ran.code, ran.document["cause"]["code"], ran.document["cause"]["check"]) == (10, "tls_failed", "api.tls")
        assert "REBYTE_CA_BUNDLE" in checks(ran)["api.tls"]["remedy"] and "CA" in ran.document["next"][0]["ask"]
        monkeypatch.setenv("REBYTE_CA_BUNDLE", str(certificates / "ca.pem"))
        found = checks(rebyte("doctor", "--max-wait", "5"))
    assert found["api.tls"]["ok"] and "signed by ca, trusted by REBYTE_CA_BUNDLE" in found["api.tls"]["detail"]
    assert found["storage.name"]["ok"] is False


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older Pythons do not check strictly")
def test_the_strict_check_of_new_pythons_is_named(rebyte, monkeypatch, certificates, tls):
    names_lead_home(monkeypatch)
    monkeypatch.setenv("REBYTE_CA_BUNDLE", str(certificates / "old.pem"))
    with scripted(context=tls("proxied")) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        ran = rebyte("doctor", "--max-wait", "5")
        assert ran.document["cause"]["check"] == "api.tls" and "REBYTE_TLS_STRICT=0" in ran.document["next"][0]["ask"]
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
        assert (ran.code, ran.document["cause"]["code"]) == (10, "dns_failed")
    finally:
        gate.set()
