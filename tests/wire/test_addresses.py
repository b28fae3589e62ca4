"""Where addresses lead, in every spelling."""
from __future__ import annotations

import pytest

from rebyte_wire.addresses import check_signed, is_loopback, is_private, origin_of
from rebyte_wire.errors import InputError, NetworkError

PRIVATE = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "10.0.0.1",
           "10.1", "172.16.0.1", "192.168.1.1", "192.168.257", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.64.0.1",
           "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1", "127.0.0.1.", "10.0.0.1..",
           "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:a00:1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
           "ff02::1", "2002:7f00:1::", "64:ff9b::a00:1", "::127.0.0.1", "2001:db8::1",
           "localhost", "localhost.", "x.localhost", "metadata.google.internal", "printer.local"]
PUBLIC = ["8.8.8.8", "134744072", "1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
          "storage.googleapis.com", "10.example.com", "x1", "1.2.3.4.5", "300.1.1.1"]


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_host_is_known_in_any_spelling(host):
    assert is_private(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_or_a_name_passes(host):
    assert not is_private(host)


@pytest.mark.parametrize("host", [host for host in PRIVATE if "%" not in host])
def test_a_public_service_cannot_send_our_bytes_into_a_private_network(host):
    with pytest.raises(NetworkError) as caught:
        check_signed("https://{}/f?X-Goog-Signature=CANARY".format("[%s]" % host if ":" in host else host), False)
    assert caught.value.code == "address_refused" and caught.value.outcome == "not_sent"
    assert "CANARY" not in str(caught.value.as_dict())


@pytest.mark.parametrize("address", [
    "http://storage.googleapis.com/", "ftp://x/", "file:///etc/passwd", "https://user@x.com/", "https://u:p@x.com/", "https://",
    "https://\uff11\uff12\uff17.0.0.1/", "https://1\u20e3.com/", "https://x.com/\u00e9", "https://x.com/a b", "https://x.com:0/",
    "https://x.com:70000/", "https://x.com\\@y.com/", "https://x\r\nHost: y/", "https://[::1", "https://%31%32%37.0.0.1/",
    "http://127.0.0.1/", None, 7, ["https://x.com/"], ""])
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


@pytest.mark.parametrize("host, loopback", [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
                                            ("127.0.0.1.evil.com", False), ("localhost.evil.com", False), ("0.0.0.0", False)])
def test_loopback_is_plain_to_see(host, loopback):
    assert is_loopback(host) is loopback
