"""doctor: each cause told apart, with its remedy, its sentence for the human and its own exit code."""
from __future__ import annotations

import json
import socket
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
