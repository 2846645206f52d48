"""Which texts are taken for secrets, and what is left of a text that holds one."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from xcomctl.masking import Mask, passwords_in, secrets_in, without_userinfo

SECRET = 'a/b+c"d'


def masked(secret: str, text: str) -> str:
    mask = Mask()
    mask.hide(secret)
    return mask(text)


@pytest.mark.parametrize(
    "written",
    [SECRET, quote(SECRET, safe=""), quote(SECRET), json.dumps(SECRET), repr(SECRET), f"x={SECRET};", SECRET.upper()],
)
def test_a_secret_is_hidden_however_it_is_written(written: str):
    assert "c" not in masked(SECRET, written).lower() and "***" in masked(SECRET, written)


def test_of_a_long_secret_no_line_is_said():
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    assert masked(key, "bad line MIIEvQIBADANBgkq in key") == "bad line *** in key"
    assert masked(key, f"bad key {key!r}") == "bad key '***'"


def test_a_short_one_is_hidden_only_by_itself_and_a_very_short_one_never():
    assert masked("test", "/test/ is the latest") == "/***/ is the latest"
    assert masked("key", "a key") == "a key"


def test_a_secret_within_another_leaves_nothing_of_the_longer():
    mask = Mask()
    mask.hide("password", "password-and-more")
    assert mask("password-and-more password") == "*** ***"
    mask.forget()
    assert mask("password") == "password"


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("postgresql://u:p%40ss/w@host/db", {"p%40ss/w", "p@ss/w"}),
        ("postgresql+psycopg2//u:pass@host/db", {"pass"}),
        ("postgresql:/u:pass@host/db", {"pass"}),
        ("redis://:pass@host:6379/0", {"pass"}),
        ("s3://conn@bucket/x,s3://key:pa/ss@other/x", {"pa/ss"}),
        ("AccountName=a;AccountKey=Zm9v==;EndpointSuffix=x", {"Zm9v=="}),
        ("https://a.blob.core.windows.net/c?sv=1&sig=abc%2F", {"abc%2F"}),
        ("s3://conn@bucket/manual__2024-01-01T00:00:00+00:00", set()),
        ("file:///tmp/a:b@c", set()),
        ("%(asctime)s me@example.org", set()),
    ],
)
def test_passwords_in_urls(url: str, passwords: set[str]):
    assert set(passwords_in(url)) >= passwords and bool(set(passwords_in(url))) == bool(passwords)


def test_secrets_in_extras_are_told_by_their_names_and_words_of_options_are_none():
    extras = {
        "region_name": "eu-central-1",
        "config_kwargs": {"s3": {"addressing_style": "path"}},
        "aws_session_token": "token-value",
        "extra__google_cloud_platform__keyfile_dict": json.dumps({"private_key": "pem", "client_email": "mail"}),
        "service_config": {"s3": {"endpoint_url": "http://u:pass@minio:9000"}},
        "connection_string": "AccountName=a;AccountKey=Zm9v==",
    }
    found = set(secrets_in(extras))
    assert {"token-value", "pem", "mail", "pass", "Zm9v=="} <= found
    assert not {"path", "eu-central-1"} & found


def test_userinfo():
    assert without_userinfo("at s3://k:v@bucket and s3://conn@bucket") == "at s3://***@bucket and s3://conn@bucket"
