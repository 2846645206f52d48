"""What is known about this container so far: each check leaves here what those after it go by."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from xcomctl.backend.reference import OWN_FOLDER, Address
from xcomctl.backend.rules import Rule
from xcomctl.errors import XcomctlError

if TYPE_CHECKING:
    from xcomctl.operations.verify.trials import Trials

_USERINFO = re.compile(r"(?<=://)[^/@\s]*:[^/\s]*(?=@)")
SHORTEST_SECRET = 4


@dataclass
class Container:
    """The subject of the checks. `version` is Airflow's release, `backend` the class that it resolved.

    `in_haste` leaves out what takes long. `rule` tells where a hand-written class has its objects, and `rule_root` the
    bucket that the rule does not know.
    """

    read_only: bool = False
    in_haste: bool = False
    rule: Rule | None = None
    rule_root: Address | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    version: tuple[int, ...] = ()
    release: str = ""
    backend: Any = None
    base: Address | None = None
    threshold: int = -1
    filesystem: Any = None
    has_probe: bool = False
    can_delete: bool = False
    trials: Trials | None = None
    hidden: set[str] = field(default_factory=set)

    @cached_property
    def uses_object_storage(self) -> bool:
        """Whether the class reads [common.io]: Airflow's own for object storage, or one made of it."""
        return any(k.__name__ == "XComObjectStorageBackend" for k in self.backend.__mro__) or self.is_ours

    @property
    def is_ours(self) -> bool:
        """Whether it is xcomctl's own class, or one made of it."""
        return any(k.__module__.startswith("xcomctl.backend") for k in self.backend.__mro__)

    @property
    def is_stock(self) -> bool:
        """Whether it is Airflow's own class for object storage, or made of it, and not xcomctl's."""
        return self.uses_object_storage and not self.is_ours

    @cached_property
    def has_purge(self) -> bool:
        """Whether the class, or one between it and Airflow's base, deletes objects itself."""
        purging = next(k for k in self.backend.__mro__ if "purge" in vars(k) or k is object)
        return purging is not object and purging.__name__ != "BaseXCom"

    @property
    def name(self) -> str:
        """The class as airflow.cfg would name it."""
        return name_of(self.backend)

    @property
    def required_base(self) -> Address:
        """The base path, for checks that come after the one that found it."""
        if self.base is None:
            raise XcomctlError("there is no base path")
        return self.base

    @property
    def folder(self) -> str:
        """Below the base path, the folder that everything of this run is in."""
        return f"{OWN_FOLDER}/verify-{self.token}"

    def hide(self, *texts: object) -> None:
        """Never say these again: what is secret, and long enough not to be part of plain words."""
        self.hidden.update(text for text in map(str, texts) if len(text) >= SHORTEST_SECRET)

    def masked(self, text: str) -> str:
        """A text without anything secret."""
        for secret in self.hidden:
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return _USERINFO.sub("***", text)


def name_of(kind: Any) -> str:
    """The dotted name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"
