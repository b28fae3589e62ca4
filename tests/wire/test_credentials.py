"""Where the key and the base address come from."""
from __future__ import annotations

import pytest

from rebyte_wire.credentials import DEFAULT_BASE_URL, check_key, find_base, find_key
from rebyte_wire.errors import AuthError, InputError

CANARY = "rbk_CANARY_5f1d"


def write(path, text):
    """Write a key file and return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_the_sources_are_asked_in_the_promised_order(tmp_path):
    flag, named = write(tmp_path / "flag", "k-flag\n"), write(tmp_path / "named", "k-named\r\n")
    own = write(tmp_path / "rebyte" / "api_key", "k-own")
    environ = {"REBYTE_API_KEY": "k-env", "REBYTE_API_KEY_FILE": named, "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_key(environ, flag) == ("k-flag", flag)
    assert find_key(environ) == ("k-env", "REBYTE_API_KEY")
    environ["REBYTE_API_KEY"] = " \n"
    assert find_key(environ) == ("k-named", "REBYTE_API_KEY_FILE")
    del environ["REBYTE_API_KEY_FILE"]
    assert find_key(environ) == ("k-own", own)
    assert find_key({"HOME": str(tmp_path / "nowhere")}) == (None, None)


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


@pytest.mark.parametrize("key", [CANARY + "\nX: y", CANARY + "\0", CANARY + " " + CANARY, CANARY + "\u00e9", CANARY + "\x7f"])
def test_a_key_that_cannot_travel_is_refused_without_being_shown(key):
    with pytest.raises(AuthError) as caught:
        check_key(key)
    assert CANARY not in str(caught.value) + repr(caught.value) + str(caught.value.as_dict())


@pytest.mark.parametrize("given, base", [
    (None, DEFAULT_BASE_URL), ("https://api.example.com", "https://api.example.com/v1"),
    ("https://api.example.com/v1/", "https://api.example.com/v1"), ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
    ("http://[::1]:9/v1", "http://[::1]:9/v1"), ("https://proxy.example.com/rebyte", "https://proxy.example.com/rebyte/v1")])
def test_a_base_address_is_completed(given, base):
    assert find_base({}, given) == base
    assert find_base({"REBYTE_BASE_URL": given or ""}) == base


@pytest.mark.parametrize("given", [
    "http://api.rebyte.ai/v1", "ftp://x", "file:///etc/passwd", "api.rebyte.ai", "https://user:pw@api.rebyte.ai",
    "https://", "https://a b/", "https://x:99999", "https://x/v1?y=1", "https://\u0430pi.rebyte.ai", "http://127.0.0.1.evil.com"])
def test_a_base_address_that_is_not_safe_is_refused(given):
    with pytest.raises(InputError):
        find_base({}, given)
