"""Which proxy the environment names, in every spelling that people use."""

from __future__ import annotations

import pytest

from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import NetworkError
from rebyte_wire.proxies import proxy_for

API = "https://api.example.test/v1"


def proxy(environ, url=API):
    """Return what is asked for the proxy of an address: host and port as text, or None."""
    found = proxy_for(origin_of(url), environ)
    return found and repr(found)


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "p:1"),
        ({"HTTPS_PROXY": "http://P.example:3128/"}, "p.example:3128"),
        ({"HTTPS_PROXY": "p:1"}, "p:1"),
        ({"HTTPS_PROXY": " http://p:1 "}, "p:1"),
        ({"HTTPS_PROXY": "http://p"}, "p:80"),
        ({"HTTPS_PROXY": "http://[::1]:8080"}, "[::1]:8080"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "low:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://up:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}, None),
        ({"ALL_PROXY": "http://p:1"}, "p:1"),
        ({"all_proxy": "p:1"}, "p:1"),
        ({"ALL_PROXY": "socks5://s:1", "HTTPS_PROXY": "http://p:1"}, "p:1"),
        ({"all_proxy": "http://low:1", "ALL_PROXY": "http://up:1"}, "low:1"),
    ],
)
def test_the_environment_names_the_proxy(environ, expected):
    assert proxy(environ) == expected


@pytest.mark.parametrize(
    "no_proxy, direct",
    [
        ("api.example.test", True),
        ("API.Example.Test", True),
        ("example.test", True),
        (".example.test", True),
        ("test", True),
        ("*", True),
        ("x.test, example.test", True),
        ("x.test example.test", True),
        ("ample.test", False),
        ("other.test", False),
        ("", False),
        (",", False),
        (".", False),
        ("*.example.test", True),
        ("*.test", True),
        ("*.other.test", False),
        ("api.example.test:443", True),
        ("example.test:443", True),
        ("*:443", True),
        ("api.example.test:8443", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_lists_what_is_spoken_to_directly(no_proxy, direct):
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    assert (proxy(environ) is None) is direct


@pytest.mark.parametrize(
    "no_proxy, url, direct",
    [
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8:443", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3/8", "https://10.9.9.9/", True),
        ("10.0.0.0/99", "https://10.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/", True),
        ("10.1.2.3:8443", "https://10.1.2.3/", False),
        ("fd00::/8", "https://[fd12::1]/", True),
        ("fd00::/8", "https://10.1.2.3/", False),
        ("fd12:0::1", "https://[fd12::1]/", True),
        ("[fd12::1]", "https://[fd12::1]/", True),
        ("[fd12::1]:443", "https://[fd12::1]/", True),
        ("[fd12::1]:444", "https://[fd12::1]/", False),
        ("2.3", "https://10.1.2.3/", False),
    ],
)
def test_no_proxy_knows_addresses_and_networks(no_proxy, url, direct):
    assert (
        proxy({"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy}, url) is None
    ) is direct


def test_the_lower_case_no_proxy_counts_first():
    environ = {"HTTPS_PROXY": "http://p:1", "no_proxy": "x.test", "NO_PROXY": "*"}
    assert proxy(environ) == "p:1"


@pytest.mark.parametrize(
    "url", ["https://localhost/", "https://127.0.0.2/", "http://[::1]:9/"]
)
def test_this_machine_is_always_spoken_to_directly(url):
    assert proxy({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, url) is None


@pytest.mark.parametrize(
    "address",
    [
        "socks5://p:1",
        "socks5h://p:1",
        "https://user:CANARY@p:1",
        "ftp://p",
        "http://",
        "//user:CANARY@",
        "CANARY:x:y",
        "http://p:99999",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_spoken_to_is_refused_without_showing_it(name, address):
    with pytest.raises(NetworkError) as caught:
        proxy({name: address})
    assert (caught.value.code, caught.value.outcome) == ("proxy_refused", "not_sent")
    assert "CANARY" not in str(caught.value.as_dict()) and not caught.value.retryable


def test_a_password_becomes_a_header_and_is_in_no_text():
    found = proxy_for(origin_of(API), {"HTTPS_PROXY": "http://us%40er:p%3Aw@p:1"})
    assert dict(found.headers) == {"Proxy-Authorization": "Basic dXNAZXI6cDp3"}
    assert repr(found) == str(found) == "p:1"
