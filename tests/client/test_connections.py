"""How connections are kept, replaced, paced and secured, against a server that says listed bytes."""
from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import time

import pytest
from scripted_server import Proxy, Server, answer, chunked, reset, say_and_close

from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AnswerUnreadable, DeadlineReached, NetworkError, OutcomeUnknown
from rebyte_wire.tls import CA_HINT, STRICT_HINT, build_context

TASK = answer(200, {"id": "t"})
MADE = answer(201, {"id": "t"})


def test_thirty_reads_take_one_connection(client_for):
    with Server(TASK) as server:
        client = client_for(server)
        for _ in range(30):
            assert client.get_task("t") == {"id": "t"}
        assert server.connections == 1 and len(server.requests) == 30


def test_the_key_travels_as_api_key_in_exactly_this_spelling(client_for):
    with Server(TASK) as server:
        client_for(server).get_task("t")
        line, headers, _ = server.requests[0]
        assert line == "GET /v1/tasks/t HTTP/1.1" and b"\r\nAPI_KEY: rbk_CANARY_77aa\r\n" in server.heads[0]
        assert headers["Accept-Encoding"] == "identity" and headers["User-Agent"].startswith("skill-as-a-service/")


def test_threads_share_the_pool_and_never_a_connection(client_for):
    with Server(TASK) as server:
        client, seen = client_for(server), []

        def read():
            for _ in range(20):
                seen.append(client.get_task("t"))
        threads = [threading.Thread(target=read) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join(20) for thread in threads]
        assert seen == [{"id": "t"}] * 160 and server.connections <= 8


def test_an_error_answer_keeps_its_connection_too(client_for):
    with Server(answer(404, {"error": {"code": "not_found", "message": "no"}}), TASK) as server:
        client = client_for(server)
        with pytest.raises(Exception, match="HTTP 404: no"):
            client.get_task("t")
        client.get_task("t")
        assert server.connections == 1


@pytest.mark.parametrize("farewell", [say_and_close(TASK), say_and_close(b""), reset], ids=["answer", "nothing", "reset"])
def test_a_kept_connection_that_died_is_replaced_without_a_word(client_for, farewell):
    with Server(TASK, farewell, TASK) as server:
        client = client_for(server)
        for _ in range(3):
            assert client.get_task("t") == {"id": "t"}
        assert client.waits == []


def test_a_paid_start_takes_a_fresh_connection_and_a_read_may_use_it_afterwards(client_for):
    with Server(TASK, MADE, TASK) as server:
        client = client_for(server)
        client.get_task("t")
        client.create_task("x")
        assert server.connections == 2
        client.get_task("t")
        assert server.connections == 2


def test_head_and_body_of_a_paid_start_leave_in_one_send(client_for, monkeypatch):
    sends = []
    with Server(MADE) as server:
        client = client_for(server)
        real = socket.socket.sendall
        monkeypatch.setattr(socket.socket, "sendall", lambda self, data: (sends.append(data), real(self, data))[1])
        client.create_task("one send")
    mine = [data for data in sends if b"one send" in data or data.startswith(b"POST")]
    assert len(mine) == 1 and mine[0].startswith(b"POST /v1/tasks") and mine[0].endswith(b'{"prompt": "one send"}')


def test_small_writes_are_not_held_back(client_for, monkeypatch):
    options = []
    real = socket.socket.setsockopt
    monkeypatch.setattr(socket.socket, "setsockopt", lambda self, *args: (options.append(args), real(self, *args))[1])
    with Server(TASK) as server:
        client_for(server).get_task("t")
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


def test_the_private_seams_of_the_standard_library_are_where_we_expect_them():
    made = http.client.HTTPConnection("proxy.test", 3128)
    made.set_tunnel("api.example.test", 443, {})
    assert made._tunnel_host == "api.example.test" and made._tunnel_port == 443
    assert made._create_connection is socket.create_connection and made.response_class is http.client.HTTPResponse


# A body that ends too early, or lies about its length...

@pytest.mark.parametrize("cut", [
    answer(200, b'{"id":', length=100), chunked(b'{"id"', end=b"", kind="application/json"),
    chunked(b'{"id"', end=b"ffffffffffffffffffff\r\nx", kind="application/json")], ids=["length", "chunked", "huge chunk"])
def test_a_cut_answer_to_a_read_is_asked_for_again(client_for, cut):
    with Server(say_and_close(cut), TASK) as server:
        client = client_for(server)
        assert client.get_task("t") == {"id": "t"}
        assert client.waits == [0.5]


def test_a_read_that_is_always_cut_ends_with_the_cut(client_for):
    with Server(say_and_close(answer(200, b'{"id":', length=100))) as server:
        client = client_for(server)
        with pytest.raises(NetworkError) as caught:
            client.get_task("t")
        assert caught.value.code == "short_body" and client.waits == [0.5, 1.0, 2.0] and len(server.requests) == 4


def test_a_download_shorter_than_told_raises_and_never_just_ends(client_for):
    with Server(say_and_close(answer(200, b"12345", length=10))) as server:
        with client_for(server).open_artifact("w", "a.bin") as download:
            assert download.length == 10
            with pytest.raises(NetworkError) as caught:
                while download.read(2):
                    pass
        assert caught.value.code == "short_body"


def test_what_follows_an_answer_unasked_is_never_taken_for_the_next_one(client_for):
    with Server(TASK + answer(200, {"id": "smuggled"}), TASK) as server:
        client = client_for(server)
        assert [client.get_task("t")["id"] for _ in range(2)] == ["t", "t"]


@pytest.mark.parametrize("rubbish", [b"\x00\x01\x02\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n",
                                     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
                                     b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"])
def test_what_is_not_http_is_told_so(client_for, rubbish):
    with Server(say_and_close(rubbish)) as server:
        with pytest.raises(AnswerUnreadable):
            client_for(server).get_task("t")


# Time...

def drip(data, ending, seconds=0.05):
    """Return a step that says one byte at a time."""
    def step(sock):
        for index in range(len(data)):
            sock.sendall(data[index:index + 1])
            if ending.wait(seconds):
                return
    return step


@pytest.mark.parametrize("data", [TASK + b" " * 200, b"HTTP/1.1 200 OK\r\n" + b"X-Drip: y\r\n" * 90], ids=["body", "headers"])
def test_a_drip_of_bytes_ends_at_the_deadline(client_for, data):
    with Server() as server:
        server.script = [drip(data.replace(b"Content-Length: 11", b"Content-Length: 211"), server.ending)]
        started = time.monotonic()
        with pytest.raises(DeadlineReached) as caught:
            client_for(server, Deadline(0.4)).get_task("t")
        assert 0.3 < time.monotonic() - started < 2 and caught.value.exit_code == 75


def test_a_silent_server_is_left_after_the_read_timeout(client_for):
    with Server() as server:
        server.script = [lambda sock: server.ending.wait(20)]
        client = client_for(server)
        with pytest.raises(NetworkError) as caught:
            client.stream_events("t", read_seconds=0.1)
        assert caught.value.code == "read_timeout" and len(server.requests) == 4


def test_an_expired_deadline_sends_nothing(client_for):
    with Server(TASK) as server:
        client = client_for(server, Deadline(0))
        for call in (lambda: client.get_task("t"), lambda: client.create_task("x")):
            with pytest.raises(DeadlineReached) as caught:
                call()
        assert server.received == 0 and caught.value.outcome == "not_sent"


def test_no_wait_goes_past_the_deadline(client_for):
    with Server(answer(503, b"")) as server:
        client = client_for(server, Deadline(0.9))
        with pytest.raises(Exception, match="503"):
            client.get_task("t")
        assert client.waits == [0.5] and len(server.requests) == 2


def test_a_paid_start_in_flight_outlasts_the_deadline_but_not_its_own_time(client_for, monkeypatch):
    with Server() as server:
        server.script = [lambda sock: (server.ending.wait(0.5), sock.sendall(MADE))]
        assert client_for(server, Deadline(0.3)).create_task("slow machine") == {"id": "t"}
        monkeypatch.setattr("rebyte_wire.calls.PAID_START_SECONDS", 0.2)
        server.script = [drip(MADE, server.ending)]
        with pytest.raises(OutcomeUnknown):
            client_for(server).create_task("x")


def test_closing_the_client_hangs_up_the_kept_connections(client_for):
    with Server(TASK) as server:
        client = client_for(server)
        client.get_task("t")
        pool = client._transport._connections
        assert "127.0.0.1': 1" in repr(pool)
        client.close()
        assert repr(pool) == "<Connections {}>"


def test_a_download_closed_before_its_end_never_looks_complete(client_for):
    with Server(answer(200, b"12345")) as server:
        download = client_for(server).open_artifact("w", "a.bin")
        assert download.read(2) == b"12"
        download.close()
        with pytest.raises(NetworkError) as caught:
            download.read(2)
        assert caught.value.code == "short_body"


def test_a_download_read_to_its_end_stays_at_its_end(client_for):
    with Server(answer(200, b"12345"), TASK) as server:
        client = client_for(server)
        download = client.open_artifact("w", "a.bin")
        assert [download.read(3) for _ in range(4)] == [b"123", b"45", b"", b""]
        client.get_task("t")
        assert server.connections == 1


def test_what_a_server_says_on_an_idle_connection_is_not_the_next_answer(client_for):
    idle, said = threading.Event(), threading.Event()

    def step(sock):
        sock.sendall(TASK)
        idle.wait(10)
        sock.sendall(answer(408, b"", "Connection: close"))
        said.set()
    with Server(step, TASK) as server:
        client = client_for(server)
        client.get_task("t")
        idle.set()
        assert said.wait(10)
        assert client.get_task("t") == {"id": "t"} and client.waits == []


# Certificates that are trusted or not, and proxies that open tunnels or not. Made by openssl, else skipped.

API = "https://api.example.test"


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
