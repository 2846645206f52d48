"""Variables of the environment that the clients of the stores go by, without anything secret in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

ENDPOINTS = {
    "s3": (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "FSSPEC_S3_ENDPOINT_URL",
    ),
    "gs": ("STORAGE_EMULATOR_HOST", "FSSPEC_GS_ENDPOINT_URL", "FSSPEC_GCS_ENDPOINT_URL"),
    "abfs": ("AZURE_STORAGE_ACCOUNT_NAME",),
}
"""Which store is asked, by the scheme of the base path."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Read in small letters first, as Python does."""

PLAIN = (
    "NO_PROXY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
)
"""Regions, accounts, and the files in which credentials are."""

SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "FSSPEC_S3",
    "FSSPEC_GS",
    "FSSPEC_GCS",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_KEY",
)
"""Of these is only told that they are set."""

SET = "set"

_PLAIN = re.compile(r"[^{}\n]{1,500}")
"""What is longer, or an object of JSON, is no name and no path, but perhaps the credentials themselves."""


def environment() -> dict[str, str | None]:
    """Every variable by its name: None where it is not set, and of a URL the host alone."""
    urls = (*(name for names in ENDPOINTS.values() for name in names), *PROXIES)
    return {
        **{name: _told(name, _origin) for name in urls},
        **{name: _told(name, _plain) for name in PLAIN},
        **{name: _told(name, lambda _: SET) for name in SECRETS},
    }


def _told(name: str, shown: Callable[[str], str]) -> str | None:
    small = os.environ.get(name.lower()) if name.endswith("_PROXY") else None
    value = (small or os.environ.get(name) or "").strip()
    return shown(value) if value else None


def _plain(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else SET


def _origin(value: str) -> str:
    """A URL's scheme, host and port. One that is not well-formed may have a secret anywhere, so it is not shown."""
    parsed = urlsplit(value if "://" in value else f"//{value}")
    try:
        port = f":{parsed.port}" if parsed.port else ""
    except ValueError:
        return SET
    if not parsed.hostname or "@" in value.rpartition(parsed.netloc)[2]:
        return SET
    return f"{parsed.scheme}://{parsed.hostname}{port}" if parsed.scheme else f"{parsed.hostname}{port}"
