"""What comes back instead of what was promised, and what that means for a paid start."""

from __future__ import annotations

import socket

import pytest

from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    GuardRefused,
    NetworkError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    RouteMissing,
    ServerError,
)
from rebyte_wire.requests import Deadline
from rebyte_wire.responses import MAX_JSON_BYTES
from scripted_server import answer, chunked, failure, reset, say_and_close

PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>"
    + b"very long page " * 500
    + b"</body></html>"
)
NO_WORDS = "HTTP 400 without a message from the service."


def get_failure(client, kind):
    """Return the error of a read that must fail."""
    return failure(lambda: client.get_task("t"), kind)


@pytest.mark.parametrize(
    "body, headers",
    [
        (PAGE, []),
        (b"", []),
        (b"  \n", []),
        (b"[]", []),
        (b"null", []),
        (b'"text"', []),
        (b"7", []),
        (b"{", []),
        (b"\xff\xfe{}", []),
        (b"[" * 200000, []),
        (b'{"a":' * 100000, []),
        (b'{"n":' + b"9" * 5000 + b"}", []),
        (b'{"x":"' + b"y" * MAX_JSON_BYTES + b'"}', []),
        (b"\x1f\x8b\x08", ["Content-Encoding: gzip"]),
        (b"{}", ["Content-Encoding: br"]),
        (b"{}" + b" " * MAX_JSON_BYTES, []),
        (b'{"n": NaN}', []),
        (b'{"n": -Infinity}', []),
        (b'{"n": 1e999}', []),
        (b'{"n": [-1e999]}', []),
        (b"{}", ["Content-Encoding: utf-8, GZIP"]),
        (b"{}", ["Content-Encoding: identity", "Content-Encoding: zstd"]),
    ],
)
def test_an_answer_that_cannot_be_used_is_told_with_its_status(served, body, headers):
    error = get_failure(served(answer(200, body, *headers))[0], AnswerUnreadable)
    assert (error.code, error.exit_code, error.http_status) == ("bad_answer", 12, 200)
    assert len(error.message) < 200 and "very long" not in error.message


def test_json_is_handed_on_as_it_was_sent(served):
    sent = {
        "id": "t",
        "status": "a-new-word",
        "executor": None,
        "unknown": [1.5, {"\u2028": "\U0001f600"}],
        "n": 10**30,
    }
    assert (
        served(answer(200, sent, "Content-Encoding: identity"))[0].get_task("t") == sent
    )


def test_the_raw_door_takes_a_list_and_nothing(served):
    client, _ = served(answer(200, [1]), answer(204), answer(200, b""))
    assert client.request("GET", "/webhooks?limit=1") == [1]
    assert [client.request("DELETE", "/webhooks/1") for _ in range(2)] == [None, None]


@pytest.mark.parametrize("words", ["UTF-8", "aws-chunked", "none", "identity", ""])
def test_a_content_encoding_that_compresses_nothing_is_passed_over(served, words):
    client, _ = served(answer(200, {"id": "t"}, "Content-Encoding: " + words))
    assert client.get_task("t") == {"id": "t"} and client.open_artifact("w", "a").read()


def hints(*statuses):
    """Return informational answers as bytes."""
    return b"".join(
        b"HTTP/1.1 %d Hint\r\nLink: </x>\r\n\r\n" % status for status in statuses
    )


@pytest.mark.parametrize("statuses", [(103,), (102,), (100, 103, 100), (199,) * 50])
def test_informational_answers_are_read_past(served, statuses):
    client, server = served(hints(*statuses) + answer(200, {"id": "t"}))
    assert client.create_task("x") == {"id": "t"} and client.get_task("t") == {
        "id": "t"
    }
    assert len(server.requests) == 2


def test_informational_answers_without_end_are_no_answer(served):
    get_failure(served(say_and_close(hints(*(103,) * 200)))[0], AnswerUnreadable)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-ffffffff"])
def test_a_chunk_of_a_negative_size_is_a_cut(served, size):
    step = say_and_close(
        chunked(b"{", end=size + b"\r\n" + b"x" * 100, kind="application/json")
    )
    assert get_failure(served(step)[0], NetworkError).code == "short_body"
    client, server = served(step, MADE)
    assert (
        start_failure(client, OutcomeUnknown).exit_code == 8
        and len(server.requests) == 1
    )


def test_whatever_http_cannot_make_sense_of_leaves_a_start_unknown(served, monkeypatch):
    def fail(*_):
        raise ValueError("read length must be non-negative or -1")

    client, server = served(MADE)
    monkeypatch.setattr("http.client.HTTPResponse.readinto", fail)
    assert (
        start_failure(client, OutcomeUnknown).exit_code == 8
        and len(server.requests) == 1
    )


def test_the_message_says_how_long_to_wait(served):
    client, _ = served(
        answer(429, {"error": {"message": "slow down"}}, "Retry-After: 121")
    )
    message = get_failure(client, RateLimited).message
    assert message == "HTTP 429: slow down. The service asks to wait 121 s."


def test_an_empty_answer_to_a_question_is_none_but_for_a_204(served):
    failure(lambda: served(answer(200, b""))[0].request("GET", "/x"), AnswerUnreadable)
    assert served(answer(204))[0].request("GET", "/x") is None
    get_failure(served(answer(204))[0], AnswerUnreadable)


def test_an_order_may_be_answered_with_nothing(served):
    client, _ = served(answer(204))
    assert client.cancel_task("t") == client.set_visibility("t", "private") == {}
    assert (
        client.answer_question("t", {}) == client.update_computer("c1", views={}) == {}
    )


@pytest.mark.parametrize(
    "body, code, message",
    [
        (
            {"error": {"code": "validation_error", "message": "prompt is required"}},
            "validation_error",
            "HTTP 400: prompt is required",
        ),
        ({"error": {"code": "limit_exceeded"}}, "limit_exceeded", NO_WORDS),
        ({"error": "plain words"}, None, "HTTP 400: plain words"),
        ({"message": "other shape"}, None, "HTTP 400: other shape"),
        ({"error": None}, None, NO_WORDS),
        ({"error": {"code": 7, "message": ["x"]}}, None, NO_WORDS),
        ([], None, NO_WORDS),
        ("text", None, NO_WORDS),
        (b"null", None, NO_WORDS),
        (PAGE, None, NO_WORDS),
        (b"", None, NO_WORDS),
        (b"[" * 100000, None, NO_WORDS),
        (b"\xff", None, NO_WORDS),
        (
            {"error": {"code": "x\r\ny", "message": "a\n\tb " + "z" * 5000}},
            None,
            "HTTP 400: a b " + "z" * 296,
        ),
    ],
)
def test_an_error_of_any_shape_is_told_in_one_short_line(served, body, code, message):
    error = get_failure(served(answer(400, body))[0], RequestRefused)
    assert (error.code, error.http_status, error.message) == (
        code or "request_refused",
        400,
        message,
    )


def test_an_error_that_echoes_the_key_or_a_signature_does_not_show_them(served):
    told = "bad rbk_CANARY_77aa at https://x/?X-Goog-Signature=CANARY&a=1&sig=CANARY"
    error = get_failure(
        served(answer(400, {"error": {"code": "c", "message": told}}))[0],
        RequestRefused,
    )
    assert "CANARY" not in str(error.as_dict()) and "bad *** at" in error.message


@pytest.mark.parametrize(
    "body, code",
    [
        ({"error": {"code": "not_found", "message": "Task not found"}}, "not_found"),
        (PAGE, "no_such_route"),
        (b"", "no_such_route"),
        (b"Cannot GET /v1/tasks/t", "no_such_route"),
        ({"error": "Cannot GET /v1/tasks/t"}, "no_such_route"),
        (
            {
                "message": "Route GET:/v1/tasks/t not found",
                "error": "Not Found",
                "statusCode": 404,
            },
            "no_such_route",
        ),
        (
            {
                "error": {
                    "code": "not_found",
                    "message": "Route GET /v1/tasks/t not found",
                }
            },
            "no_such_route",
        ),
    ],
)
def test_no_such_task_and_no_such_route_are_told_apart(served, body, code):
    error = get_failure(served(answer(404, body))[0], NotFound)
    assert (error.code, error.exit_code) == (code, 5)
    assert (
        isinstance(error, RouteMissing)
        is ("this service has no such route" in str(error).lower())
        is (code == "no_such_route")
    )


def test_a_401_names_the_proxies_that_drop_our_header(served):
    error = get_failure(
        served(
            answer(401, {"error": {"code": "missing_api_key", "message": "no key"}})
        )[0],
        AuthError,
    )
    assert (
        error.code == "missing_api_key"
        and "underscore" in error.hint
        and error.exit_code == 4
    )


@pytest.mark.parametrize(
    "step",
    [
        say_and_close(answer(403, b"{", length=99)),
        answer(403, b"\x1f\x8b", "Content-Encoding: gzip"),
    ],
    ids=["cut", "gzip"],
)
def test_a_status_counts_even_if_the_body_is_cut_or_encoded(served, step):
    get_failure(served(step)[0], AuthError)


def test_a_gateway_page_is_a_server_error_without_the_page(served):
    client, server = served(answer(503, PAGE))
    assert (
        get_failure(client, ServerError).message == NO_WORDS.replace("400", "503")
        and len(server.requests) == 4
    )


# Paid starts: each way to fail is not sent, refused or unknown; and is it ever sent twice?

MADE = answer(201, {"id": "t"})
STARTS = {
    "create": lambda client: client.create_task("x"),
    "follow up": lambda client: client.follow_up("t", "x"),
    "computer": lambda client: client.create_computer("box"),
    "raw create": lambda client: client.request(
        "post", "/tasks/", body={"prompt": "x"}
    ),
}


def start_failure(client, kind=NetworkError, prompt="x", **more):
    """Return the error of a create that must fail."""
    return failure(lambda: client.create_task(prompt, **more), kind)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(
    "step",
    [
        say_and_close(b""),
        reset,
        say_and_close(b"HTTP/1.1 20"),
        say_and_close(b"rubbish\r\n\r\n"),
        say_and_close(answer(201, b'{"id":"t"', length=50)),
        chunked(b'{"id":"t"}', end=b"", kind="application/json"),
        answer(201, b""),
        answer(204, b""),
        answer(201, b"<html>"),
        answer(201, []),
        answer(201, {}),
        answer(201, {"id": ""}),
        answer(201, {"id": None, "promptId": 7}),
        answer(201, {"id": ["t"]}),
        answer(201, {"id": "t", "promptId": "p"}, "Content-Encoding: gzip"),
        answer(500),
        answer(502, b"<html>"),
        answer(503),
        answer(504),
        answer(408),
        answer(520),
        answer(303, b"", "Location: /v1/tasks/t"),
        answer(300),
        answer(304),
    ],
    ids=lambda step: str(step)[:40],
)
def test_what_leaves_the_outcome_unknown_is_told_so_and_never_sent_again(
    served, step, start
):
    client, server = served(step if callable(step) else say_and_close(step), MADE)
    error = failure(lambda: start(client), OutcomeUnknown)
    assert (error.outcome, error.exit_code, error.code) == (
        "unknown",
        8,
        "outcome_unknown",
    )
    assert not error.retryable and client.waits == [] and len(server.requests) == 1


@pytest.mark.parametrize(
    "status, kind",
    [(401, AuthError), (403, AuthError), (404, RouteMissing)]
    + [(status, RequestRefused) for status in (400, 402, 409, 413, 422, 451)]
    + [(status, NetworkError) for status in (301, 302, 307, 308)],
)
def test_what_was_surely_not_made_is_told_as_refused_and_not_sent_again(
    served, status, kind
):
    client, server = served(answer(status, b"", "Location: /v1/elsewhere"), MADE)
    error = start_failure(client, kind)
    assert (
        error.outcome == "refused"
        and len(server.requests) == 1
        and error.http_status == status
    )


@pytest.mark.parametrize(
    "step, waits",
    [
        (answer(429, b"", "Retry-After: 7"), [7.0]),
        (answer(429), [0.5]),
        (answer(425), [0.5]),
        (answer(503, b"", "Retry-After: 2"), [2.0]),
        (answer(503, b"", "Retry-After: 0"), [0.5]),
    ],
)
def test_what_says_not_now_is_waited_for_and_sent_again(served, step, waits):
    client, server = served(step, MADE)
    assert (
        client.create_task("x") == {"id": "t"}
        and client.waits == waits
        and len(server.requests) == 2
    )


@pytest.mark.parametrize(
    "header, seconds, retry_after",
    [
        ("Retry-After: 121", None, 121),
        ("x-should-retry: false", None, None),
        ("Retry-After: 30", 20, 30),
    ],
    ids=["too much", "stop", "past the slice"],
)
def test_a_service_that_asks_for_too_much_or_says_stop_is_left_alone(
    served, header, seconds, retry_after
):
    client, server = served(answer(429, b"", header), MADE, deadline=Deadline(seconds))
    error = start_failure(client, RateLimited)
    assert (
        error.retry_after,
        error.outcome,
        error.exit_code,
        len(server.requests),
        client.waits,
    ) == (retry_after, "refused", 11, 1, [])


def test_a_service_that_is_never_ready_is_asked_four_times(served):
    client, server = served(answer(503, b"", "Retry-After: 1"))
    assert (
        start_failure(client, ServerError).outcome == "refused"
        and len(server.requests) == 4
    )


# Before the first byte...


def closed_port():
    """Return a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_a_refused_connection_is_not_sent_and_tried_four_times(client_for):
    seen, client = [], client_for("http://127.0.0.1:%d" % closed_port())
    error = start_failure(client, before_send=lambda: seen.append(1))
    assert (error.code, error.outcome, error.exit_code) == (
        "connection_refused",
        "not_sent",
        10,
    )
    assert client.waits == [0.5, 1.0, 2.0] and seen == []


def test_an_unknown_host_and_a_connect_that_takes_too_long_are_not_sent(
    client_for, monkeypatch
):
    def fail(problem):
        def call(*args, **more):
            raise problem

        return call

    monkeypatch.setattr(socket.socket, "connect", fail(socket.timeout("timed out")))
    error = start_failure(client_for("http://127.0.0.1:1"))
    assert (error.code, error.outcome) == ("connect_timeout", "not_sent")
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        fail(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    )
    error = start_failure(client_for("https://api.example.test"))
    assert (error.code, error.outcome) == (
        "dns_failed",
        "not_sent",
    ) and "api.example.test" in error.message


def test_the_next_address_of_a_name_is_tried_when_the_first_refuses(served, lead):
    client, server = served(MADE)
    lead(closed_port(), server.port)
    assert client.create_task("x") == {"id": "t"}


@pytest.mark.parametrize(
    "raised",
    [
        GuardRefused("Too many."),
        OSError("disk full"),
        ConnectionError("mine"),
        KeyboardInterrupt(),
    ],
)
def test_what_before_send_raises_goes_to_the_caller_unchanged_and_nothing_is_sent(
    served, raised
):
    def stop():
        raise raised

    client, server = served(MADE)
    assert (
        start_failure(client, type(raised), before_send=stop) is raised
        and client.waits == []
    )
    assert server.received == 0 and server.connections <= 1


def test_before_send_runs_once_connected_and_again_for_each_try(served):
    seen = []
    client, server = served(answer(429), MADE)
    client.create_task("x", before_send=lambda: seen.append(len(server.requests)))
    assert seen == [0, 1]


# While the body is written...


@pytest.mark.parametrize(
    "status, kind", [(413, RequestRefused), (401, AuthError), (429, RateLimited)]
)
def test_an_early_answer_is_read_though_the_write_failed(served, status, kind):
    told = {"error": {"code": "early", "message": "too much"}}
    client, _ = served(
        say_and_close(answer(status, told, "x-should-retry: false")), early=True
    )
    error = start_failure(client, kind, "x" * 30_000_000)
    assert (error.outcome, error.code, error.http_status) == (
        "refused",
        "early",
        status,
    )


def test_a_hang_up_while_we_write_without_an_answer_is_unknown(served):
    client, _ = served(reset, early=True)
    assert (
        start_failure(client, OutcomeUnknown, "x" * 30_000_000).__cause__.code
        == "connection_cut"
    )


# Calls that are not paid...


def test_a_delete_that_is_gone_on_the_second_try_was_done_by_the_first(served):
    assert served(say_and_close(b""), answer(404))[0].delete_task("t") is None
    failure(lambda: served(answer(404))[0].delete_task("t"), RouteMissing)


def test_a_delete_that_never_left_before_is_not_taken_for_done(served, monkeypatch):
    real, fails = socket.getaddrinfo, [socket.gaierror(socket.EAI_AGAIN, "try again")]

    def once(*args, **more):
        if fails:
            raise fails.pop()
        return real(*args, **more)

    client, _ = served(answer(404))
    monkeypatch.setattr(socket, "getaddrinfo", once)
    failure(lambda: client.delete_task("t"), RouteMissing)
    assert client.waits == [0.5]


@pytest.mark.parametrize(
    "step, kind",
    [(say_and_close(b""), NetworkError), (answer(500), ServerError)],
    ids=["cut", "500"],
)
def test_a_call_that_is_neither_paid_nor_repeatable_is_sent_once(served, step, kind):
    client, server = served(step)
    failure(lambda: client.answer_question("t", {"answer": {}}), kind)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.cancel_task("t"),
        lambda client: client.set_visibility("t", "private"),
        lambda client: client.create_upload("a"),
        lambda client: client.list_tasks(),
    ],
)
def test_calls_with_the_same_end_state_are_sent_again(served, call):
    client, server = served(say_and_close(b""), answer(502), answer(200, {"id": "t"}))
    assert call(client) == {"id": "t"} and len(server.requests) == 3
