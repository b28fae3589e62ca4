"""How connections are kept, replaced, bounded and secured, by a server that says listed bytes."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from rebyte_wire import sockets
from rebyte_wire.connections import is_hang_up
from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    NetworkError,
    OutcomeUnknown,
    ServerError,
)
from rebyte_wire.requests import Deadline, Request
from rebyte_wire.sockets import apply_timeout, begin_connect
from rebyte_wire.tls import (
    CA_HINT,
    CLOCK_HINT,
    HOST_HINT,
    NO_TLS_HINT,
    STRICT_HINT,
    build_context,
    hint_for,
)
from scripted_server import (
    Proxy,
    Server,
    answer,
    chunked,
    failure,
    reset,
    say_and_close,
)

TASK, MADE = answer(200, {"id": "t"}), answer(201, {"id": "t"})
ERROR = say_and_close(answer(200, b'{"id":', length=100))


def openssl_output(folder, *arguments):
    """Return what openssl says in a folder."""
    return (
        subprocess.check_output(["openssl", *arguments], cwd=str(folder))
        .decode()
        .strip()
    )


def read(client, times=1):
    """Read a task so many times; each answer has to be the task."""
    for _ in range(times):
        assert client.get_task("t") == {"id": "t"}


def test_thirty_reads_take_one_connection(served):
    client, server = served(TASK)
    read(client, 30)
    assert server.connections == 1 and len(server.requests) == 30


def test_the_key_travels_as_api_key_in_exactly_this_spelling(served):
    client, server = served(TASK)
    read(client)
    line, headers, _ = server.requests[0]
    assert (
        line == "GET /v1/tasks/t HTTP/1.1"
        and b"\r\nAPI_KEY: rbk_CANARY_77aa\r\n" in server.heads[0]
    )
    assert headers["Accept-Encoding"] == "identity" and headers[
        "User-Agent"
    ].startswith("skill-as-a-service/")


def test_threads_share_the_pool_and_never_a_connection(served):
    client, server = served(TASK)
    threads = [threading.Thread(target=read, args=(client, 20)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert len(server.requests) == 160 and server.connections <= 8


def test_an_error_answer_keeps_its_connection_too(served):
    client, server = served(
        answer(404, {"error": {"code": "not_found", "message": "no"}}), TASK
    )
    with pytest.raises(Exception, match="HTTP 404: no"):
        read(client)
    read(client)
    assert server.connections == 1


@pytest.mark.parametrize(
    "farewell",
    [say_and_close(TASK), say_and_close(b""), reset],
    ids=["answer", "nothing", "reset"],
)
def test_a_kept_connection_that_died_is_replaced_without_a_word(served, farewell):
    client, _ = served(TASK, farewell, TASK)
    read(client, 3)
    assert client.waits == []


def test_a_paid_start_takes_a_fresh_connection_and_a_read_may_use_it_afterwards(served):
    client, server = served(TASK, MADE, TASK)
    read(client)
    client.create_task("x")
    assert server.connections == 2
    read(client)
    assert server.connections == 2


def test_head_and_body_of_a_paid_start_leave_in_one_send(served, monkeypatch):
    client, _ = served(MADE)
    sends, real = [], socket.socket.sendall
    with monkeypatch.context() as patch:
        patch.setattr(
            socket.socket,
            "sendall",
            lambda self, data: (sends.append(data), real(self, data))[1],
        )
        client.create_task("one send")
    mine = [data for data in sends if b"one send" in data or data.startswith(b"POST")]
    assert (
        len(mine) == 1
        and mine[0].startswith(b"POST /v1/tasks")
        and mine[0].endswith(b'{"prompt": "one send"}')
    )


def test_small_writes_are_not_held_back(served, monkeypatch):
    client, _ = served(TASK)
    options, real = [], socket.socket.setsockopt
    monkeypatch.setattr(
        socket.socket,
        "setsockopt",
        lambda self, *args: (options.append(args), real(self, *args))[1],
    )
    read(client)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


# A body that ends too early, or lies about its length...


@pytest.mark.parametrize(
    "cut",
    [
        ERROR,
        say_and_close(chunked(b'{"id"', end=b"", kind="application/json")),
        say_and_close(
            chunked(b'{"id"', end=b"ffffffffffffffffffff\r\nx", kind="application/json")
        ),
    ],
    ids=["length", "chunked", "huge chunk"],
)
def test_a_cut_answer_to_a_read_is_asked_for_again(served, cut):
    client, _ = served(cut, TASK)
    read(client)
    assert client.waits == [0.5]


def test_a_read_that_is_always_cut_ends_with_the_cut(served):
    client, server = served(ERROR)
    assert failure(lambda: read(client)).code == "short_body"
    assert client.waits == [0.5, 1.0, 2.0] and len(server.requests) == 4


def test_what_follows_an_answer_unasked_is_never_taken_for_the_next_one(served):
    read(served(TASK + answer(200, {"id": "smuggled"}), TASK)[0], 2)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_not_http_is_told_so(served, rubbish):
    client, _ = served(say_and_close(rubbish))
    failure(lambda: read(client), AnswerUnreadable)


def test_what_a_server_says_on_an_idle_connection_is_not_the_next_answer(served):
    idle, said = threading.Event(), threading.Event()

    def step(sock):
        sock.sendall(TASK)
        idle.wait(10)
        sock.sendall(answer(408, b"", "Connection: close"))
        said.set()

    client, _ = served(step, TASK)
    read(client)
    idle.set()
    assert said.wait(10)
    read(client)
    assert client.waits == []


# Time...


def drip(data, ending):
    """Return a step that says one byte at a time."""
    return lambda sock: any(
        sock.sendall(data[index : index + 1]) or ending.wait(0.05)
        for index in range(len(data))
    )


@pytest.mark.parametrize(
    "data",
    [
        answer(200, {"id": "t"}, length=211) + b" " * 200,
        b"HTTP/1.1 200 OK\r\n" + b"X-Drip: y\r\n" * 90,
    ],
    ids=["body", "headers"],
)
def test_a_drip_of_bytes_ends_at_the_deadline(served, data):
    client, server = served(deadline=Deadline(0.4))
    server.script = [drip(data, server.ending)]
    started = time.monotonic()
    assert failure(lambda: read(client), DeadlineReached).exit_code == 75
    assert 0.3 < time.monotonic() - started < 2


def test_a_silent_server_is_left_after_the_read_timeout(served):
    client, server = served()
    server.script = [lambda sock: server.ending.wait(20)]
    transport = client._transport
    request = transport._api_request("GET", "/tasks/t", read_seconds=0.1)
    error = failure(lambda: transport._perform(request, lambda response: response))
    assert error.code == "read_timeout" and len(server.requests) == 4


def test_a_stream_whose_head_does_not_come_is_waited_for_once(served):
    client, server = served()
    server.script = [lambda sock: server.ending.wait(20)]
    error = failure(lambda: client.stream_events("t", read_seconds=0.1))
    assert (
        error.code == "read_timeout"
        and len(server.requests) == 1
        and client.waits == []
    )


def test_a_name_service_that_is_silent_ends_at_the_deadline(client_for, monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *args, **more: answered.wait(10) and []
    )
    client = client_for("https://api.example.test", deadline=Deadline(1))
    started = time.monotonic()
    error = failure(lambda: client.create_task("x"), NetworkError)
    answered.set()
    assert time.monotonic() - started < 5
    assert (error.code, error.outcome) == ("dns_failed", "not_sent")


@pytest.fixture
def silent_port():
    """A port of this machine whose queue is full, so that it answers nobody."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
            stack.enter_context(begin_connect(place))
        yield full.getsockname()[1]


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems answer though a queue is full"
)
def test_an_address_that_swallows_packets_costs_no_ten_seconds(
    served, lead, silent_port
):
    client, server = served(TASK)
    lead(silent_port, server.port)
    started = time.monotonic()
    read(client)
    assert time.monotonic() - started < 2


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems answer though a queue is full"
)
def test_addresses_that_swallow_packets_end_at_the_deadline(
    client_for, lead, silent_port
):
    lead(silent_port, silent_port)
    client = client_for("http://127.0.0.1:1", deadline=Deadline(0.8))
    started = time.monotonic()
    error = failure(lambda: client.create_task("x"), NetworkError)
    assert (error.code, error.outcome) == ("connect_timeout", "not_sent")
    assert time.monotonic() - started < 3


def test_a_race_of_addresses_leaves_no_socket_behind(served, lead, monkeypatch):
    client, server = served(TASK)
    made, real = [], sockets.begin_connect
    monkeypatch.setattr(
        sockets, "begin_connect", lambda address: made.append(real(address)) or made[-1]
    )
    monkeypatch.setattr(sockets, "ATTEMPT_DELAY_SECONDS", 0)
    lead(server.port, server.port, server.port)
    read(client)
    client.close()
    assert [sock.fileno() for sock in made] == [-1] * len(made)


def test_an_expired_deadline_sends_nothing(served):
    client, server = served(TASK, deadline=Deadline(0))
    failure(lambda: read(client), DeadlineReached)
    assert (
        failure(lambda: client.create_task("x"), DeadlineReached).outcome == "not_sent"
        and server.received == 0
    )


def test_no_wait_goes_past_the_deadline(served):
    client, server = served(answer(503, b""), deadline=Deadline(0.9))
    assert failure(lambda: read(client), ServerError).http_status == 503
    assert client.waits == [0.5] and len(server.requests) == 2


def test_a_paid_start_in_flight_outlasts_the_deadline_but_not_its_own_time(
    served, monkeypatch
):
    client, server = served(deadline=Deadline(0.3))
    server.script = [lambda sock: (server.ending.wait(0.5), sock.sendall(MADE))]
    assert client.create_task("slow machine") == {"id": "t"}
    monkeypatch.setattr("rebyte_wire.requests.PAID_START_SECONDS", 0.2)
    client.deadline, server.script = Deadline(), [drip(MADE, server.ending)]
    failure(lambda: client.create_task("x"), OutcomeUnknown)


def test_a_silence_after_the_first_bytes_ends_at_the_deadline(served):
    client, server = served(deadline=Deadline(0.6))
    half = answer(200, {"id": "t"}, length=100)
    server.script = [lambda sock: (sock.sendall(half), server.ending.wait(20))]
    started = time.monotonic()
    failure(lambda: read(client), DeadlineReached)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "left, current, set_to",
    [
        (60, None, 60),
        (60, 0, 60),
        (10, 60, 10),
        (59, 60, None),
        (53, 60, 53),
        (61, 60, 61),
    ],
)
def test_a_timeout_is_set_unless_the_one_that_stands_is_nearly_it(
    left, current, set_to
):
    class Socket:
        given = None

        def gettimeout(self):
            return current

        def settimeout(self, seconds):
            self.given = seconds

    sock, clock = Socket(), lambda: 0.0
    request = Request(
        "GET",
        "https://x/",
        {},
        deadline=Deadline(left, clock),
        read_seconds=100,
        idempotent=True,
    )
    apply_timeout(sock, request)
    assert sock.given == set_to


def test_a_server_that_hangs_up_on_a_paid_start_is_not_waited_for(served, monkeypatch):
    def stop_reading(sock):
        sock.shutdown(socket.SHUT_RD)
        server.ending.wait(20)

    monkeypatch.setattr("rebyte_wire.connections.EARLY_RESPONSE_SECONDS", 0.2)
    monkeypatch.setattr(
        socket.socket,
        "sendall",
        lambda *_: (_ for _ in ()).throw(BrokenPipeError("gone")),
    )
    client, server = served(stop_reading, early=True)
    started = time.monotonic()
    error = failure(lambda: client.create_task("x"), OutcomeUnknown)
    assert time.monotonic() - started < 3 and error.__cause__.code == "connection_cut"


@pytest.fixture
def broken_writes(monkeypatch):
    """broken_writes(send): from here on the client's own next write ends in a broken pipe."""
    real, left = socket.socket.sendall, []

    def sendall(sock, data):
        if data.startswith(b"GET") and left:
            if left.pop():
                real(sock, data)
            raise BrokenPipeError("gone")
        real(sock, data)

    monkeypatch.setattr(socket.socket, "sendall", sendall)
    monkeypatch.setattr("rebyte_wire.connections.EARLY_RESPONSE_SECONDS", 0.2)
    return left.append


def test_a_connection_that_broke_while_we_wrote_is_not_kept_though_it_answered(
    served, broken_writes
):
    client, server = served(TASK)
    read(client)
    broken_writes(True)
    read(client, 2)
    assert server.connections == 2


def test_a_fresh_connection_in_place_of_a_broken_one_has_its_whole_time(
    served, broken_writes
):
    client, server = served(TASK)
    read(client)
    broken_writes(False)
    request = client._transport._api_request("GET", "/tasks/t")
    client._transport._pool.handle_request(request).close()
    assert server.connections == 2 and request.read_seconds == 60


def test_a_server_that_announces_to_close_is_not_asked_again_on_that_connection(served):
    client, server = served(answer(200, {"id": "t"}, "Connection: close"))
    read(client, 2)
    assert server.connections == 2


@pytest.mark.parametrize(
    "cause, replaced",
    [
        (ConnectionResetError(), True),
        (BrokenPipeError(), True),
        (http.client.RemoteDisconnected(), True),
        (socket.timeout(), False),
        (http.client.IncompleteRead(b""), False),
        (None, False),
    ],
)
def test_only_a_hang_up_replaces_a_kept_connection(cause, replaced):
    error = NetworkError("x")
    error.__cause__ = cause
    assert is_hang_up(error) is replaced


def test_a_silence_on_a_kept_connection_is_waited_for_once(served):
    client, server = served()
    server.script = [TASK, lambda sock: server.ending.wait(20)]
    read(client)
    client.deadline = Deadline(5)
    request = client._transport._api_request("GET", "/tasks/t", read_seconds=0.2)
    error = failure(
        lambda: client._transport._pool.handle_request(request), NetworkError
    )
    assert (
        error.code == "read_timeout"
        and server.connections == 1
        and len(server.requests) == 2
    )


def test_a_connection_in_use_while_the_client_closes_ends_with_its_answer(served):
    client, server = served(TASK)
    download = client.open_artifact("w", "a")
    client.close()
    assert download.read() + download.read() == b'{"id": "t"}'
    assert repr(client._transport._pool) == "<ConnectionPool {}>"
    assert download._connection.sock.fileno() == -1


def test_no_more_connections_are_kept_than_the_pool_holds(served, monkeypatch):
    monkeypatch.setattr("rebyte_wire.connections.MAX_IDLE_CONNECTIONS", 1)
    client, server = served(TASK)
    downloads = [client.open_artifact("w", "a") for _ in range(2)]
    for download in downloads:
        download.read()
        download.read()
    assert "127.0.0.1': 1" in repr(client._transport._pool)


def test_a_view_with_another_deadline_shares_connections_and_clock(served):
    client, server = served(
        answer(200, {"id": "t"}, "Date: Fri, 29 Sep 2023 16:26:37 GMT")
    )
    read(client)
    view = client.within(60)
    read(view)
    assert server.connections == 1 and view.clock_skew == client.clock_skew is not None
    assert client.deadline.left() is None and 59 < view.deadline.left() <= 60
    assert view.within(900).deadline.left() <= 60
    assert view.with_deadline(Deadline(900)).deadline.left() > 60
    failure(lambda: read(client.within(0)), DeadlineReached)
    view.deadline = Deadline(0)
    read(client)


def test_closing_the_client_hangs_up_the_kept_connections(served):
    client, _ = served(TASK)
    read(client)
    pool = client._transport._pool
    assert "127.0.0.1': 1" in repr(pool)
    client.close()
    assert repr(pool) == "<ConnectionPool {}>"


# Certificates, made by openssl or else skipped, that are trusted or not; and proxies.

API = "https://api.example.test"


@pytest.fixture
def trusting(certificates):
    """The environment that trusts the test authority and nobody else."""
    return {"REBYTE_CA_BUNDLE": str(certificates / "ca.pem")}


def test_a_trusted_server_is_spoken_to_over_one_connection(served, tls, trusting):
    client, server = served(TASK, context=tls(), environ=trusting)
    read(client, 5)
    assert client.create_task("x") == {"id": "t"} and server.connections == 2


@pytest.mark.parametrize(
    "leaf, bundle, hint",
    [
        ("good", None, CA_HINT),
        ("other", "ca", HOST_HINT),
        ("good", "old", CA_HINT),
        ("expired", "ca", CLOCK_HINT),
    ],
    ids=["unknown authority", "other host", "wrong bundle", "expired"],
)
def test_a_server_that_cannot_be_trusted_gets_no_byte_and_no_second_try(
    served, tls, certificates, leaf, bundle, hint
):
    client, server = served(
        TASK,
        context=tls(leaf),
        environ={"REBYTE_CA_BUNDLE": str(certificates / (bundle + ".pem"))}
        if bundle
        else {},
    )
    error = failure(lambda: client.create_task("x"))
    assert (error.code, error.outcome, error.exit_code) == (
        "tls_failed",
        "not_sent",
        10,
    )
    assert error.hint == hint and client.waits == [] and server.received == 0
    assert ("this machine's clock says 20" in error.message) is (hint is CLOCK_HINT)


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="older Pythons do not check strictly"
)
def test_the_strict_check_is_named_and_one_variable_leaves_out_only_that(
    served, tls, certificates
):
    environ = {"REBYTE_CA_BUNDLE": str(certificates / "old.pem")}
    error = failure(
        lambda: read(served(TASK, context=tls("proxied"), environ=environ)[0])
    )
    assert (
        error.code == "tls_failed"
        and error.hint == STRICT_HINT
        and "REBYTE_TLS_STRICT=0" in error.hint
    )
    environ["REBYTE_TLS_STRICT"] = "0"
    read(served(TASK, context=tls("proxied"), environ=environ)[0])
    assert (
        failure(
            lambda: read(served(TASK, context=tls("other"), environ=environ)[0])
        ).code
        == "tls_failed"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"REBYTE_TLS_STRICT": "0"},
        {"SSL_CERT_FILE": "ca.pem"},
        {"REQUESTS_CA_BUNDLE": "ca.pem"},
        {"REBYTE_CA_BUNDLE": "ca.pem"},
    ],
    ids=lambda environ: "+".join(environ) or "nothing",
)
def test_every_context_verifies_names_and_chains_from_1_2_on(certificates, environ):
    environ = {
        name: str(certificates / value) if value.endswith("pem") else value
        for name, value in environ.items()
    }
    context = build_context(environ)
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    plain = ssl.create_default_context().verify_flags
    assert context.verify_flags == (
        plain & ~ssl.VERIFY_X509_STRICT if "REBYTE_TLS_STRICT" in environ else plain
    )


@pytest.mark.parametrize(
    "name",
    ["REBYTE_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
)
def test_each_variable_adds_its_authority(served, tls, certificates, name):
    read(served(TASK, context=tls(), environ={name: str(certificates / "ca.pem")})[0])


def authorities(environ):
    """Return the names of those that a context trusts."""
    return {
        dict(part[0] for part in entry["subject"]).get("commonName")
        for entry in build_context(environ).get_ca_certs()
    }


def test_file_folder_and_the_bundles_of_other_tools_add_up(certificates, tmp_path):
    file, bundle = str(certificates / "ca.pem"), str(certificates / "old.pem")
    environ = {"SSL_CERT_DIR": "/etc/ssl/certs", "REQUESTS_CA_BUNDLE": file}
    assert "ca" in authorities(environ)
    environ = {
        "SSL_CERT_FILE": file,
        "CURL_CA_BUNDLE": bundle,
        "SSL_CERT_DIR": str(tmp_path),
    }
    assert authorities(environ) == {"ca", "old"}


def test_a_folder_beside_a_file_is_asked_too(served, tls, certificates, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    hashed = openssl_output(certificates, "x509", "-hash", "-noout", "-in", "ca.pem")
    (folder / (hashed + ".0")).write_bytes((certificates / "ca.pem").read_bytes())
    environ = {
        "SSL_CERT_FILE": str(certificates / "old.pem"),
        "SSL_CERT_DIR": str(folder),
    }
    read(served(TASK, context=tls(), environ=environ)[0])


def test_a_folder_that_is_not_there_leaves_the_systems_file(monkeypatch, certificates):
    paths = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(certificates / "ca.pem")
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert authorities({"SSL_CERT_DIR": "/nonexistent"}) == {"ca"}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REBYTE_CA_BUNDLE"])
def test_a_file_of_certificates_that_is_none_is_named_with_its_variable(name, tmp_path):
    for path in (tmp_path / "gone.pem", tmp_path / "junk.pem"):
        if path.name == "junk.pem":
            path.write_text("junk")
        error = failure(
            lambda path=path: build_context({name: str(path)}), NetworkError
        )
        assert (
            name in error.message and name in error.hint and path.name in error.message
        )


def test_a_tilde_in_the_name_of_a_bundle_is_the_home_folder(certificates, empty_world):
    (empty_world / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
    assert authorities({"REBYTE_CA_BUNDLE": "~/ca.pem"}) == {"ca"}
    assert "ca" in authorities({"REQUESTS_CA_BUNDLE": "~/ca.pem"})


@pytest.mark.parametrize(
    "code, strict, hint",
    [
        (9, True, CLOCK_HINT),
        (10, False, CLOCK_HINT),
        (62, True, HOST_HINT),
        (64, True, HOST_HINT),
        (18, True, CA_HINT),
        (19, True, CA_HINT),
        (20, True, CA_HINT),
        (21, True, CA_HINT),
        (27, True, CA_HINT),
        (92, True, STRICT_HINT),
        (92, False, CA_HINT),
        (None, True, NO_TLS_HINT),
    ],
)
def test_each_reason_to_refuse_a_certificate_has_its_words(code, strict, hint):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags = ssl.VERIFY_X509_STRICT if strict else ssl.VERIFY_DEFAULT
    error = ssl.SSLError()
    if code:
        error.verify_code = code
    assert hint_for(error, context) == hint


def test_our_own_bundle_stands_alone(certificates):
    environ = dict.fromkeys(
        ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(certificates / "old.pem")
    )
    assert (
        build_context(
            dict(environ, REBYTE_CA_BUNDLE=str(certificates / "ca.pem"))
        ).cert_store_stats()["x509_ca"]
        == 1
    )


def test_a_bundle_that_is_not_there_is_named(client_for):
    error = failure(
        lambda: client_for(
            API, environ={"REBYTE_CA_BUNDLE": "/nowhere.pem"}
        ).create_task("x")
    )
    assert (error.code, error.outcome) == (
        "tls_failed",
        "not_sent",
    ) and "REBYTE_CA_BUNDLE" in error.hint


@pytest.mark.parametrize(
    "said, code, waits",
    [
        (b"", "connect_failed", 3),
        (b"HTTP/1.1 400 Plain\r\n\r\n" * 9, "tls_failed", None),
    ],
    ids=["a hang-up, which may pass, is tried again", "no TLS"],
)
def test_a_handshake_that_fails_is_not_sent(client_for, said, code, waits):
    with Server() as server:
        server.serve = say_and_close(said)
        client = client_for(server.url.replace("http:", "https:"))
        error = failure(lambda: client.create_task("x"))
    assert (error.code, error.outcome) == (code, "not_sent") and waits in (
        None,
        len(client.waits),
    )


# Proxies...


@pytest.fixture
def proxied(served, client_for, tls, trusting, monkeypatch):
    """proxied(*script) -> (client of a name that only a proxy knows, TLS server, the proxy)."""
    _, server = served(context=tls())
    with Proxy(server.port) as proxy:

        def make(*script):
            server.script = list(script)
            return client_for(API, environ=trusting), server, proxy

        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield make


def test_reads_share_one_tunnel_and_the_proxy_never_sees_the_key(proxied):
    client, server, proxy = proxied(TASK)
    read(client, 30)
    assert len(proxy.heads) == 1 and server.connections == 1
    assert (
        proxy.heads[0].startswith(b"CONNECT api.example.test:443 HTTP/1.")
        and b"CANARY" not in proxy.heads[0]
    )
    assert b"\r\nHost: api.example.test\r\n" in server.heads[0]
    client.create_task("x")
    assert len(proxy.heads) == 2


def test_a_proxys_password_goes_to_the_proxy_and_nowhere_else(
    proxied, client_for, trusting, monkeypatch
):
    _, server, proxy = proxied(TASK)
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//user:pass@"))
    read(client_for(API, environ=trusting))
    assert (
        b"Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.heads[0]
        and b"roxy-" not in server.heads[0]
    )


@pytest.mark.parametrize(
    "refusal, tries, words",
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 1, "storage.googleapis.com"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 4, "cannot reach this host"),
        (b"rubbish\r\n\r\n", 4, "no HTTP proxy"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_not_sent(
    client_for, monkeypatch, refusal, tries, words
):
    with Proxy(refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = failure(lambda: client_for(API).create_task("x"))
        assert (error.code, error.outcome, error.exit_code) == (
            "proxy_refused",
            "not_sent",
            10,
        )
        assert words in error.hint and len(proxy.heads) == tries


@pytest.mark.parametrize(
    "user, words",
    [("", "wants a user name"), ("user:CANARY@", "does not take the user name")],
)
def test_a_proxy_that_wants_credentials_is_told_so(
    client_for, monkeypatch, user, words
):
    with Proxy(refusal=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//" + user))
        error = failure(lambda: client_for(API).create_task("x"))
        assert (error.code, error.outcome) == ("proxy_auth_required", "not_sent")
        assert words in error.hint and "CANARY" not in str(error.as_dict())
        assert len(proxy.heads) == 1


def test_a_tunnel_is_asked_for_in_http_1_1_with_a_host(proxied):
    client, _, proxy = proxied(TASK)
    read(client)
    assert proxy.heads == [
        b"CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\n\r\n"
    ]


@pytest.mark.parametrize("scheme", ["https", "socks5"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_no_password_leaves_for_a_proxy_that_is_not_spoken_to(
    client_for, monkeypatch, name, scheme
):
    with Proxy() as proxy:
        monkeypatch.setenv(
            name, proxy.url.replace("http://", scheme + "://user:CANARY@")
        )
        error = failure(lambda: client_for(API).create_task("x"))
        assert error.code == "proxy_refused" and "socks" in error.hint
        assert proxy.connections == 0 and client_for(API).waits == []


def test_all_proxy_is_honoured(proxied, client_for, trusting, monkeypatch):
    _, _, proxy = proxied(TASK)
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    read(client_for(API, environ=trusting))
    assert len(proxy.heads) == 1


def test_a_cut_inside_the_tunnel_after_the_send_is_unknown(proxied):
    client, server, _ = proxied(say_and_close(b""))
    failure(lambda: client.create_task("x"), OutcomeUnknown)
    assert len(server.requests) == 1


def test_no_proxy_ever_sees_this_machine(served, client_for, monkeypatch):
    with Proxy() as proxy:
        for name in (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
        ):
            monkeypatch.setenv(name, proxy.url)
        client, server = served(TASK)
        read(client)
        read(client_for(server.url.replace("127.0.0.1", "localhost")))
        assert client.create_task("x") and proxy.heads == [] and proxy.connections == 0


@pytest.mark.parametrize(
    "address",
    ["socks5://127.0.0.1:1", "http://", "//user:CANARY@", "http:///x", "CANARY:x:y"],
)
def test_a_proxy_that_cannot_be_spoken_to_is_told_without_its_password(
    client_for, monkeypatch, address
):
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *args, **more: (_ for _ in ()).throw(socket.gaierror(-2, "unknown")),
    )
    error = failure(lambda: client_for(API).create_task("x"), NetworkError)
    assert error.outcome == "not_sent" and "CANARY@" not in str(error.as_dict())


def test_the_same_host_may_be_reached_directly_when_the_environment_says_so(
    proxied, client_for, trusting, lead, monkeypatch
):
    _, server, proxy = proxied(TASK)
    monkeypatch.setenv("NO_PROXY", "api.example.test")
    lead(server.port)
    read(client_for(API, environ=trusting))
    assert proxy.connections == 0


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems answer though a queue is full"
)
def test_many_addresses_that_swallow_packets_share_one_deadline(silent_port):
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", silent_port))
    began = time.monotonic()
    with pytest.raises(OSError):
        sockets.connect_first([place] * 8, 0.1)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_who_may_open_no_more_files_is_not_sent_to_look_at_the_network(
    served, monkeypatch, shortage
):
    client, server = served(TASK)

    def refuse(*words, **more):
        raise OSError(shortage, os.strerror(shortage))

    with monkeypatch.context() as patch, pytest.raises(NetworkError) as caught:
        patch.setattr("rebyte_wire.sockets.connect_first", refuse)
        client.get_task("t")
    assert caught.value.outcome == "not_sent" and server.connections == 0
    assert caught.value.code == "connect_failed" and "ulimit" in caught.value.hint
