"""Certificates that are trusted or not, and proxies that open tunnels or not. Made by openssl, else skipped."""
from __future__ import annotations

import socket
import ssl
import sys

import pytest
from scripted_server import Proxy, Server, answer, say_and_close

from rebyte_wire.errors import NetworkError, OutcomeUnknown
from rebyte_wire.tls import CA_HINT, STRICT_HINT, build_context

API = "https://api.example.test"
TASK = answer(200, {"id": "t"})


def failure(call, kind=NetworkError):
    """Return the error of a call that must fail."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@pytest.fixture
def trusting(certificates):
    """The environment that trusts the test authority and nobody else."""
    return {"REBYTE_CA_BUNDLE": str(certificates / "ca.pem")}


# TLS...

def test_a_trusted_server_is_spoken_to_over_one_connection(client_for, tls, trusting):
    with Server(TASK, context=tls()) as server:
        client = client_for(server, environ=trusting)
        for _ in range(5):
            assert client.get_task("t") == {"id": "t"}
        assert client.create_task("x") == {"id": "t"}
        assert server.connections == 2


@pytest.mark.parametrize("leaf, bundle", [("good", None), ("other", "ca"), ("good", "old")],
                         ids=["unknown authority", "other host", "wrong bundle"])
def test_a_server_that_cannot_be_trusted_gets_no_byte_and_no_second_try(client_for, tls, certificates, leaf, bundle):
    environ = {"REBYTE_CA_BUNDLE": str(certificates / (bundle + ".pem"))} if bundle else {}
    with Server(TASK, context=tls(leaf)) as server:
        client = client_for(server, environ=environ)
        error = failure(lambda: client.create_task("x"))
        assert (error.code, error.outcome, error.exit_code) == ("tls_failed", "not_sent", 10)
        assert error.hint == CA_HINT and client.waits == [] and server.received == 0


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older Pythons do not check strictly")
def test_the_strict_check_is_named_and_one_variable_leaves_out_only_that(client_for, tls, certificates):
    environ = {"REBYTE_CA_BUNDLE": str(certificates / "old.pem")}
    with Server(TASK, context=tls("proxied")) as server:
        error = failure(lambda: client_for(server, environ=environ).get_task("t"))
        assert error.code == "tls_failed" and error.hint == STRICT_HINT and "REBYTE_TLS_STRICT=0" in error.hint
        environ["REBYTE_TLS_STRICT"] = "0"
        assert client_for(server, environ=environ).get_task("t") == {"id": "t"}
    with Server(TASK, context=tls("other")) as server:
        assert failure(lambda: client_for(server, environ=environ).get_task("t")).code == "tls_failed"


@pytest.mark.parametrize("environ", [{}, {"REBYTE_TLS_STRICT": "0"}, {"SSL_CERT_FILE": "ca.pem"}, {"REQUESTS_CA_BUNDLE": "ca.pem"},
                                     {"REBYTE_CA_BUNDLE": "ca.pem"}], ids=lambda environ: "+".join(environ) or "nothing")
def test_every_context_verifies_names_and_chains_from_1_2_on(certificates, environ):
    environ = {name: str(certificates / value) if value.endswith("pem") else value for name, value in environ.items()}
    context = build_context(environ)
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    plain = ssl.create_default_context().verify_flags
    assert context.verify_flags == (plain & ~ssl.VERIFY_X509_STRICT if "REBYTE_TLS_STRICT" in environ else plain)


@pytest.mark.parametrize("name", ["REBYTE_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_each_variable_adds_its_authority(client_for, tls, certificates, name):
    with Server(TASK, context=tls()) as server:
        assert client_for(server, environ={name: str(certificates / "ca.pem")}).get_task("t") == {"id": "t"}


def test_our_own_bundle_stands_alone(certificates):
    environ = {"REBYTE_CA_BUNDLE": str(certificates / "ca.pem"), "REQUESTS_CA_BUNDLE": str(certificates / "old.pem"),
               "SSL_CERT_FILE": str(certificates / "old.pem")}
    assert build_context(environ).cert_store_stats()["x509_ca"] == 1


def test_a_bundle_that_is_not_there_is_named(client_for):
    error = failure(lambda: client_for(API, environ={"REBYTE_CA_BUNDLE": "/nowhere.pem"}).create_task("x"))
    assert (error.code, error.outcome) == ("tls_failed", "not_sent") and "REBYTE_CA_BUNDLE" in error.hint


def test_a_hang_up_during_the_handshake_may_pass_and_is_tried_again(client_for):
    with Server(b"") as server:
        server.serve = lambda sock: None
        client = client_for(server.url.replace("http:", "https:"))
        error = failure(lambda: client.create_task("x"))
        assert (error.code, error.outcome, len(client.waits)) == ("connect_failed", "not_sent", 3)


def test_a_server_that_speaks_no_tls_is_not_sent(client_for):
    with Server(b"") as server:
        server.serve = lambda sock: sock.sendall(b"HTTP/1.1 400 Plain\r\n\r\n" * 9)
        error = failure(lambda: client_for(server.url.replace("http:", "https:")).create_task("x"))
        assert (error.code, error.outcome) == ("tls_failed", "not_sent")


# Proxies...

def test_reads_share_one_tunnel_and_the_proxy_never_sees_the_key(client_for, tls, trusting, monkeypatch):
    with Server(TASK, context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = client_for(API, environ=trusting)
        for _ in range(30):
            assert client.get_task("t") == {"id": "t"}
        assert len(proxy.heads) == 1 and server.connections == 1
        assert proxy.heads[0].startswith(b"CONNECT api.example.test:443 HTTP/1.") and b"CANARY" not in proxy.heads[0]
        assert b"\r\nHost: api.example.test\r\n" in server.heads[0]
        client.create_task("x")
        assert len(proxy.heads) == 2


def test_a_proxys_password_goes_to_the_proxy_and_nowhere_else(client_for, tls, trusting, monkeypatch):
    with Server(TASK, context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//user:pass@"))
        client_for(API, environ=trusting).get_task("t")
        assert b"Proxy-authorization: Basic dXNlcjpwYXNz" in proxy.heads[0] and b"roxy-" not in server.heads[0]


@pytest.mark.parametrize("refusal, tries", [(b"HTTP/1.1 403 Forbidden\r\n\r\n", 1), (b"HTTP/1.1 407 Who\r\n\r\n", 1),
                                            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 4), (b"rubbish\r\n\r\n", 4)])
def test_a_proxy_that_opens_no_tunnel_is_not_sent(client_for, monkeypatch, refusal, tries):
    with Proxy(refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = failure(lambda: client_for(API).create_task("x"))
        assert (error.code, error.outcome, error.exit_code) == ("proxy_refused", "not_sent", 10)
        assert "storage.googleapis.com" in error.hint and len(proxy.heads) == tries


def test_a_cut_inside_the_tunnel_after_the_send_is_unknown(client_for, tls, trusting, monkeypatch):
    with Server(say_and_close(b""), context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        failure(lambda: client_for(API, environ=trusting).create_task("x"), OutcomeUnknown)
        assert len(server.requests) == 1


def test_no_proxy_ever_sees_this_machine(client_for, monkeypatch):
    with Server(TASK) as server, Proxy(server.port) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        client = client_for(server)
        assert client.get_task("t") == client_for(server.url.replace("127.0.0.1", "localhost")).get_task("t")
        assert client.create_task("x") and proxy.heads == [] and proxy.connections == 0


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "http://", "//user:CANARY@", "http:///x", "CANARY:x:y"])
def test_a_proxy_that_cannot_be_spoken_to_is_told_without_its_password(client_for, monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: (_ for _ in ()).throw(socket.gaierror(-2, "unknown")))
    error = failure(lambda: client_for(API).create_task("x"))
    assert error.outcome == "not_sent" and "CANARY@" not in str(error.as_dict())


def test_the_same_host_may_be_reached_directly_when_the_environment_says_so(client_for, tls, trusting, monkeypatch):
    with Server(TASK, context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "api.example.test")
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
        assert client_for(API, environ=trusting).get_task("t") == {"id": "t"}
        assert proxy.connections == 0
