"""What is known about this container so far: each check leaves here what those after it go by."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xcomctl.backend.reference import OWN_FOLDER, Address
from xcomctl.backend.rules import Rule
from xcomctl.errors import XcomctlError
from xcomctl.masking import Mask, without_userinfo
from xcomctl.operations.verify import sources

if TYPE_CHECKING:
    from xcomctl.operations.verify.trials import Trials


@dataclass
class Container:
    """The subject of the checks. `version` is Airflow's release, `backend` the class that it resolved, `unresolved` why
    Airflow itself does not start without it.

    `in_haste` leaves out what takes long. `rule` tells where a hand-written class has its objects, and `rule_root` the
    bucket that the rule does not know. `awaits_database` says that an answer may be another once the metadata database
    is there, `has_gone_out` that the class was seen to write an object; `left_behind` are references of objects that
    could not be deleted.
    """

    read_only: bool = False
    in_haste: bool = False
    rule: Rule | None = None
    rule_root: Address | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    version: tuple[int, ...] = ()
    release: str = ""
    backend: Any = None
    unresolved: BaseException | None = None
    base: Address | None = None
    threshold: int = -1
    filesystem: Any = None
    has_probe: bool = False
    can_delete: bool = False
    may_list: bool = True
    awaits_database: bool = False
    has_gone_out: bool = False
    left_behind: list[str] = field(default_factory=list)
    trials: Trials | None = None
    mask: Mask = field(default_factory=Mask)

    def __post_init__(self) -> None:
        self.hide(*sources.secrets())

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
        """Never say these again."""
        self.mask.hide(*texts)

    def masked(self, text: str) -> str:
        """A text without anything secret."""
        return without_userinfo(self.mask(text))


def name_of(kind: Any) -> str:
    """The dotted name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"
