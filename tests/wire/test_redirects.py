"""Which redirects are followed, and what travels along."""
from __future__ import annotations

import pytest

from rebyte_wire.errors import NetworkError
from rebyte_wire.redirects import FOLLOWED, headers_for, next_address

API = "https://api.example.com/v1/tasks"
HEADERS = {"API_KEY": "rbk_CANARY", "Accept": "*/*"}


def step(location, status=302, url=API, **more):
    """Ask for the next address with the defaults of a download."""
    more = dict({"method": "GET", "hops": 0, "may_leave": True, "api_is_loopback": False}, **more)
    return next_address(status, location, url, **more)


def refused(*args, **more):
    """Return the error of a step that must be refused."""
    with pytest.raises(NetworkError) as caught:
        step(*args, **more)
    assert caught.value.retryable is False
    return caught.value.code


@pytest.mark.parametrize("status", sorted(FOLLOWED))
def test_a_get_is_followed_within_its_origin(status):
    assert step("/v1/other#part", status, may_leave=False) == "https://api.example.com/v1/other"
    assert step("https://API.example.com:443/x", status, may_leave=False).endswith("/x")


@pytest.mark.parametrize("location", [
    "https://evil.example.com/", "https://api.example.com:8443/", "//evil.example.com/x", "https://api.example.com.evil.com/",
    "https://api.example.com@evil.com/", "http://api.example.com/v1/tasks", "http://127.0.0.1/", "file:///etc/passwd",
    "ftp://api.example.com/", "data:text/plain,x", "gopher://x", "javascript:alert(1)", "http://[::1", "", None])
def test_an_api_call_never_leaves_its_origin(location):
    assert refused(location, may_leave=False) == "redirect_refused"


def test_a_download_may_leave_for_a_public_https_address_only():
    assert step("https://storage.googleapis.com/b/f?sig=1") == "https://storage.googleapis.com/b/f?sig=1"
    for location in ("http://storage.googleapis.com/", "http://127.0.0.1/", "ftp://x/", "https://user:pw@x.com/"):
        assert refused(location) == "redirect_refused"
    for location in ("https://169.254.169.254/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/", "https://localhost/"):
        assert refused(location) == "address_refused"


def test_https_is_never_left_even_on_loopback():
    assert refused("http://127.0.0.1:1/", url="https://127.0.0.1/", api_is_loopback=True) == "redirect_refused"


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
    for target in ("https://api.example.com:8443/", "https://other.example.com/", "http://127.0.0.1/"):
        assert headers_for(HEADERS, API, target) == {"Accept": "*/*"}


def test_no_refusal_shows_a_signature():
    with pytest.raises(NetworkError) as caught:
        step("https://evil.example.com/f?X-Goog-Signature=CANARY", may_leave=False)
    assert "CANARY" not in str(caught.value.as_dict())
