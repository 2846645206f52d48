"""Texts without secrets: what was once hidden is never said again, in whatever spelling a library repeats it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

SHORTEST_SECRET = 4
"""What is shorter than that would take ordinary words with it."""

SHORTEST_ANYWHERE = 8
"""What is shorter than that is hidden where it stands by itself: `test` in `/test/`, and not in `latest`."""

_USERINFO = re.compile(r"(?<=://)[^/@\s]*:[^/\s]*(?=@)")
_PASSWORD = re.compile(r"^[^:@/]*:?/*[^:/@]*:(?!/)(.+)@")
_SIGNED = re.compile(r"(?:key|signature|sig|secret|password|token)=([^;&\s]+)", re.IGNORECASE)
_SENSITIVE = re.compile(
    r"passw|passphrase|secret|token|private|credential|authorization|keyfile|(?:_|fernet|access|account|api)key"
    r"|(?:^|_)sas|connection_string",
    re.IGNORECASE,
)


class Mask:
    """The secrets that were met, and a text without them."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    def hide(self, *secrets: object) -> None:
        """Never say these again, as they are, or as a URL, Python or JSON writes them; of a long one no line either."""
        self._hidden.update(
            form for secret in secrets for form in _forms(str(secret)) if len(form.strip()) >= SHORTEST_SECRET
        )

    def forget(self) -> None:
        """Begin anew."""
        self._hidden.clear()

    def __call__(self, text: str) -> str:
        """The text with `***` for each secret."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            if secret not in text:
                continue
            if len(secret) >= SHORTEST_ANYWHERE:
                text = text.replace(secret, "***")
            else:
                text = re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", "***", text)
        return text


def without_userinfo(text: str) -> str:
    """The text with `***` for user and password in its URLs."""
    return _USERINFO.sub("***", text)


def without_passwords(text: str) -> str:
    """The same, but for URLs that say no password: of `user:***@` the user is worth knowing."""
    return _USERINFO.sub(lambda found: found[0] if found[0].endswith(":***") else "***", text)


def userinfo_in(text: str) -> str | None:
    """The user and password of the first URL that has both."""
    found = _USERINFO.search(text)
    return found[0] if found is not None else None


def passwords_in(text: str) -> Iterator[str]:
    """What may be a password in URLs that commas separate, however badly they are written."""
    for url in {text, *text.split(",")}:
        found = _PASSWORD.match(url.strip())
        if found is not None:
            yield found[1]
            yield unquote(found[1])
    yield from _SIGNED.findall(text)


def secrets_in(value: object, name: str = "") -> Iterator[str]:
    """What may be secret in a structure such as a connection's extras: strings that their names, or URLs, give away."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from secrets_in(inner, f"{name}_{key}" if is_sensitive(name) else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from secrets_in(inner, name)
    elif isinstance(value, str):
        if is_sensitive(name):
            yield value
        if value[:1] in "{[":
            yield from secrets_in(_parsed(value), name)
        yield from passwords_in(value)


def is_sensitive(name: str) -> bool:
    """Whether a field of this name is likely to hold a secret."""
    return bool(_SENSITIVE.search(name))


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    yield secret.upper()  # within the name of a variable
    lines = secret.replace("\\n", "\n").splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_ANYWHERE)
