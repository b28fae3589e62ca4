"""Requests: addresses, redirects, where key and base address come from, what a form carries."""

from __future__ import annotations

import email
import io
import os
import time

import pytest

from rebyte_wire.addresses import check_signed, is_loopback, is_private, origin_of
from rebyte_wire.credentials import (
    DEFAULT_BASE_URL,
    check_key,
    find_base,
    find_key,
    key_for,
)
from rebyte_wire.errors import AuthError, InputError, NetworkError
from rebyte_wire.multipart import CHUNK_BYTES, FileBody, MultipartBody, opener
from rebyte_wire.redirects import FOLLOWED, headers_for, next_address
from rebyte_wire.requests import Deadline

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "192.168.1.1",
    "192.168.257",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "240.0.0.1",
    "127.0.0.1.",
    "10.0.0.1..",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:a00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2002:7f00:1::",
    "64:ff9b::a00:1",
    "::127.0.0.1",
    "2001:db8::1",
    "localhost",
    "localhost.",
    "x.localhost",
    "metadata.google.internal",
    "printer.local",
]
PUBLIC = [
    "8.8.8.8",
    "134744072",
    "1.1",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "storage.googleapis.com",
    "10.example.com",
    "x1",
    "1.2.3.4.5",
    "300.1.1.1",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_host_is_known_in_any_spelling(host):
    assert is_private(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_or_a_name_passes(host):
    assert not is_private(host)


@pytest.mark.parametrize("host", [host for host in PRIVATE if "%" not in host])
def test_a_public_service_cannot_send_our_bytes_into_a_private_network(host):
    with pytest.raises(NetworkError) as caught:
        check_signed(
            "https://{}/f?X-Goog-Signature=CANARY".format(
                "[%s]" % host if ":" in host else host
            ),
            False,
        )
    assert caught.value.code == "address_refused" and caught.value.outcome == "not_sent"
    assert "CANARY" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    "address",
    [
        "http://storage.googleapis.com/",
        "ftp://x/",
        "file:///etc/passwd",
        "https://user@x.com/",
        "https://u:p@x.com/",
        "https://",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://1\u20e3.com/",
        "https://x.com/\u00e9",
        "https://x.com/a b",
        "https://x.com:0/",
        "https://x.com:70000/",
        "https://x.com\\@y.com/",
        "https://x\r\nHost: y/",
        "https://[::1",
        "https://%31%32%37.0.0.1/",
        "http://127.0.0.1/",
        None,
        7,
        ["https://x.com/"],
        "",
    ],
)
def test_an_odd_signed_address_is_refused(address):
    with pytest.raises(NetworkError) as caught:
        check_signed(address, False)
    assert caught.value.code == "address_refused"


def test_a_local_service_may_name_local_addresses():
    assert check_signed("http://127.0.0.1:80/f", True).port == 80
    with pytest.raises(NetworkError):
        check_signed("http://192.168.0.1/f", True)


def test_an_origin_is_told_with_its_port():
    assert origin_of("https://API.rebyte.ai/v1?x=1") == ("https", "api.rebyte.ai", 443)
    assert origin_of("http://[::1]:8080/") == ("http", "::1", 8080)
    with pytest.raises(InputError):
        origin_of("http://api.rebyte.ai/")


@pytest.mark.parametrize(
    "host, loopback",
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("127.0.0.1.evil.com", False),
        ("localhost.evil.com", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback_is_plain_to_see(host, loopback):
    assert is_loopback(host) is loopback


# Which redirects are followed, and what travels along.

API = "https://api.example.com/v1/tasks"
HEADERS = {"API_KEY": "rbk_CANARY", "Accept": "*/*"}


def step(location, status=302, url=API, **more):
    """Ask for the next address with the defaults of a download."""
    more = dict(
        {"method": "GET", "hops": 0, "cross_origin": True, "api_is_loopback": False},
        **more,
    )
    return next_address(status, location, url, **more)


def refused(*args, **more):
    """Return the error of a step that must be refused."""
    with pytest.raises(NetworkError) as caught:
        step(*args, **more)
    assert caught.value.retryable is False
    return caught.value.code


@pytest.mark.parametrize("status", sorted(FOLLOWED))
def test_a_get_is_followed_within_its_origin(status):
    assert (
        step("/v1/other#part", status, cross_origin=False)
        == "https://api.example.com/v1/other"
    )
    assert step("https://API.example.com:443/x", status, cross_origin=False).endswith(
        "/x"
    )


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example.com/",
        "https://api.example.com:8443/",
        "//evil.example.com/x",
        "https://api.example.com.evil.com/",
        "https://api.example.com@evil.com/",
        "http://api.example.com/v1/tasks",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "ftp://api.example.com/",
        "data:text/plain,x",
        "gopher://x",
        "javascript:alert(1)",
        "http://[::1",
        "",
        None,
    ],
)
def test_an_api_call_never_leaves_its_origin(location):
    assert refused(location, cross_origin=False) == "redirect_refused"


def test_a_download_may_leave_for_a_public_https_address_only():
    assert (
        step("https://storage.googleapis.com/b/f?sig=1")
        == "https://storage.googleapis.com/b/f?sig=1"
    )
    for location in (
        "http://storage.googleapis.com/",
        "http://127.0.0.1/",
        "ftp://x/",
        "https://user:pw@x.com/",
    ):
        assert refused(location) == "redirect_refused"
    for location in (
        "https://169.254.169.254/",
        "https://0x7f.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
    ):
        assert refused(location) == "address_refused"


def test_https_is_never_left_even_on_loopback():
    assert (
        refused("http://127.0.0.1:1/", url="https://127.0.0.1/", api_is_loopback=True)
        == "redirect_refused"
    )


def test_five_are_followed_and_the_sixth_is_not():
    assert step("/x", hops=4)
    assert refused("/x", hops=5) == "redirect_refused"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_but_a_get_is_sent_on(method):
    assert refused("/x", method=method) == "redirect_refused"


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_the_other_3xx_are_not_followed(status):
    assert refused("/x", status) == "redirect_refused"


def test_the_key_stays_behind_when_the_origin_changes():
    assert headers_for(HEADERS, API, "https://api.example.com/x") == HEADERS
    for target in (
        "https://api.example.com:8443/",
        "https://other.example.com/",
        "http://127.0.0.1/",
    ):
        assert headers_for(HEADERS, API, target) == {"Accept": "*/*"}


def test_no_refusal_shows_a_signature():
    with pytest.raises(NetworkError) as caught:
        step("https://evil.example.com/f?X-Goog-Signature=CANARY", cross_origin=False)
    assert "CANARY" not in str(caught.value.as_dict())


# Where the key and the base address come from.

CANARY = "rbk_CANARY_5f1d"


def write(path, text):
    """Write a key file and return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_the_sources_are_asked_in_the_promised_order(tmp_path):
    flag, named = (
        write(tmp_path / "flag", "k-flag\n"),
        write(tmp_path / "named", "k-named\r\n"),
    )
    own = write(tmp_path / "rebyte" / "api_key", "k-own")
    environ = {
        "REBYTE_API_KEY": "k-env",
        "REBYTE_API_KEY_FILE": named,
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    assert find_key(environ, flag) == ("k-flag", flag)
    assert find_key(environ) == ("k-env", "REBYTE_API_KEY")
    environ["REBYTE_API_KEY"] = " \n"
    assert find_key(environ) == ("k-named", "REBYTE_API_KEY_FILE")
    del environ["REBYTE_API_KEY_FILE"]
    assert find_key(environ) == ("k-own", own)
    assert find_key({"HOME": str(tmp_path / "nowhere")}) == (None, None)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-8"], ids=["BOM", "PowerShell", "plain"]
)
def test_a_key_file_of_any_editor_is_read(tmp_path, encoding):
    (tmp_path / "key").write_bytes("k-1\r\n".encode(encoding))
    assert find_key({}, tmp_path / "key")[0] == "k-1"


@pytest.mark.parametrize("data", [b"\xff\xfek", b"\xef\xbb\xbf", b"\xffk", b"\xfe\xff"])
def test_a_key_file_of_rubbish_is_refused(tmp_path, data):
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(AuthError):
        find_key({}, tmp_path / "key")


def test_a_tilde_in_the_path_of_a_key_file_is_the_home_folder(empty_world):
    write(empty_world / "key", "k-home")
    assert find_key({"REBYTE_API_KEY_FILE": "~/key"}) == (
        "k-home",
        "REBYTE_API_KEY_FILE",
    )
    assert find_key({}, "~/key") == ("k-home", str(empty_world / "key"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes by name here")
@pytest.mark.parametrize("seconds, clock", [(0.2, time.monotonic), (-1, lambda: 0.0)])
def test_a_key_from_a_silent_pipe_is_waited_for_until_the_deadline(
    tmp_path, seconds, clock
):
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDWR), "wb"):
        started = time.monotonic()
        with pytest.raises(AuthError):
            find_key({}, tmp_path / "pipe", Deadline(seconds, clock))
        assert time.monotonic() - started < 3


@pytest.mark.skipif(os.name != "posix", reason="files have no owner here")
@pytest.mark.parametrize("owner, told", [(0, []), (12345, ["key"]), (None, [])])
def test_a_key_file_of_another_user_is_told(tmp_path, monkeypatch, owner, told):
    path = write(tmp_path / "key", "k")
    real = os.stat(path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    uid = 1000 if owner is None else owner
    faked = os.stat_result([*real[:4], uid, *real[5:]])
    monkeypatch.setattr(os, "stat", lambda *_args, **_more: faked)
    said = []
    environ = {"REBYTE_API_KEY_FILE": path}
    assert key_for(environ, DEFAULT_BASE_URL, warn=said.append) == "k"
    assert [
        "key" for text in said if "belongs to another user" in text and path in text
    ] == told
    said.clear()
    assert (
        key_for(dict(environ, REBYTE_API_KEY="k2"), DEFAULT_BASE_URL, warn=said.append)
        == "k2"
    )
    assert said == []


def test_the_own_file_is_found_below_home(tmp_path):
    own = write(tmp_path / ".config" / "rebyte" / "api_key", "k")
    assert find_key({"HOME": str(tmp_path)}) == ("k", own)


def test_a_named_file_that_is_missing_is_an_error_and_not_a_fall_through(tmp_path):
    with pytest.raises(AuthError) as caught:
        find_key({"REBYTE_API_KEY_FILE": str(tmp_path / "gone"), "HOME": str(tmp_path)})
    assert caught.value.code == "missing_api_key" and "gone" in str(caught.value)


@pytest.mark.parametrize("key", [CANARY + "\n", "\t " + CANARY + "\r\n"])
def test_blanks_around_a_key_are_taken_off(key):
    assert check_key(key) == CANARY


@pytest.mark.parametrize(
    "key",
    [
        CANARY + "\nX: y",
        CANARY + "\0",
        CANARY + " " + CANARY,
        CANARY + "\u00e9",
        CANARY + "\x7f",
    ],
)
def test_a_key_that_cannot_travel_is_refused_without_being_shown(key):
    with pytest.raises(AuthError) as caught:
        check_key(key)
    assert CANARY not in str(caught.value) + repr(caught.value) + str(
        caught.value.as_dict()
    )


@pytest.mark.parametrize(
    "given, base",
    [
        (None, DEFAULT_BASE_URL),
        ("https://api.example.com", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1"),
        ("https://proxy.example.com/rebyte", "https://proxy.example.com/rebyte/v1"),
    ],
)
def test_a_base_address_is_completed(given, base):
    assert find_base({}, given) == base
    assert find_base({"REBYTE_BASE_URL": given or ""}) == base


@pytest.mark.parametrize(
    "given",
    [
        "http://api.rebyte.ai/v1",
        "ftp://x",
        "file:///etc/passwd",
        "api.rebyte.ai",
        "https://user:pw@api.rebyte.ai",
        "https://",
        "https://a b/",
        "https://x:99999",
        "https://x/v1?y=1",
        "https://\u0430pi.rebyte.ai",
        "http://127.0.0.1.evil.com",
    ],
)
def test_a_base_address_that_is_not_safe_is_refused(given):
    with pytest.raises(InputError):
        find_base({}, given)


# What requests carry: lengths told before, bytes streamed, names that cannot forge a part.


def source(data):
    """Return a source of bytes that can be opened again."""
    return FileBody(lambda: io.BytesIO(data), len(data))


def parse(form):
    """Read a form back with the standard library's own parser."""
    body = b"".join(form.chunks())
    message = email.message_from_bytes(
        b"Content-Type: " + form.content_type.encode() + b"\r\n\r\n" + body
    )
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


def test_a_form_says_its_length_and_can_be_read_twice():
    form = MultipartBody(
        [
            ("files", "a.csv", "text/csv", source(b"1,2")),
            ("files", "b.bin", "x/y", source(b"\r\n--")),
        ]
    )
    first = b"".join(form.chunks())
    assert len(first) == form.length and b"".join(form.chunks()) == first
    assert parse(form) == [
        ("files", "a.csv", "text/csv", b"1,2"),
        ("files", "b.bin", "x/y", b"\r\n--"),
    ]


def test_an_empty_form_is_only_its_end():
    form = MultipartBody([])
    end = b"--%s--\r\n" % form.content_type.rpartition("=")[2].encode()
    assert b"".join(form.chunks()) == end and form.length == len(end)


def test_a_hostile_file_name_stays_inside_its_quotes():
    name = 'a"; name="other"\r\nX-Forged: 1\r\n\r\n.csv'
    head = next(
        MultipartBody([("files", name, "text/csv", source(b""))]).chunks()
    ).decode()
    assert (
        'filename="a%22; name=%22other%22%0D%0AX-Forged: 1%0D%0A%0D%0A.csv"\r\n' in head
    )
    assert head.count("\r\n") == 4


def test_names_are_utf_8_and_what_is_not_text_is_replaced():
    head = next(
        MultipartBody([("files", "\u00fc\udcff.csv", "text/csv", source(b""))]).chunks()
    )
    assert 'filename="\u00fc?.csv"'.encode() in head


def test_two_boundaries_differ():
    assert MultipartBody([]).content_type != MultipartBody([]).content_type


def test_a_big_source_is_streamed_in_pieces():
    data = b"x" * (3 * CHUNK_BYTES + 1)
    assert [len(chunk) for chunk in source(data).chunks()] == [CHUNK_BYTES] * 3 + [1]


def test_a_seekable_file_is_sent_from_where_it_stood_each_time():
    file = io.BytesIO(b"headbody")
    file.seek(4)
    body = FileBody(file, 4)
    assert [b"".join(body.chunks()) for _ in range(2)] == [b"body", b"body"]


@pytest.mark.parametrize("length", [3, 5])
def test_a_file_that_changed_its_length_is_an_error_and_not_a_silent_cut(length):
    with pytest.raises(InputError):
        list(FileBody(lambda: io.BytesIO(b"1234"), length).chunks())


def test_a_file_that_was_closed_meanwhile_is_an_input_error():
    file = io.BytesIO(b"1234")
    body = FileBody(file, 4)
    file.close()
    with pytest.raises(InputError):
        list(body.chunks())


def test_a_file_that_went_away_is_an_input_error_and_not_a_network_one(tmp_path):
    with pytest.raises(InputError):
        list(FileBody(opener(tmp_path / "gone"), 4).chunks())
