"""The pages of the documentation: their blocks, links and headings, and every command line that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
REFERENCE = "docs/reference.md"
"""The page that cog writes out of the help texts."""

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ENDS_A_COMMAND = re.compile(r"[|&;()<>]+")
_SUBCOMMAND = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True, slots=True)
class Page:
    """A markdown file of the repository."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the repository's root."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """What a reader sees: without HTML comments."""
        return _COMMENT.sub("", self.path.read_text("utf-8"))

    @property
    def prose(self) -> str:
        """The text without its blocks."""
        return _BLOCK.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """The bodies of the fenced blocks in these languages."""
        return [body for language, body in _BLOCK.findall(self.text) if language in languages]

    def links(self) -> list[str]:
        """Where the links of the text lead."""
        return _LINK.findall(_SPAN.sub("", self.prose)) + re.findall(r'<img[^>]* src="([^"]+)"', self.prose)

    def anchors(self) -> set[str]:
        """What `#…` may name on this page, as GitHub makes it from the headings."""
        plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(self.prose))
        return {heading.strip().replace(" ", "-") for heading in plain}

    def commands(self) -> list[tuple[str, ...]]:
        """The words of every xcomctl command line in a block."""
        found = [words for body in self.blocks("sh", "python") for words in _in_shell(body)]
        found += [words for example in examples(self) for words in _in_shell(example.command)]
        for body in self.blocks("yaml"):
            found += [words for document in yaml.safe_load_all(body) for words in _in_yaml(document)]
        return list(dict.fromkeys(found))

    def spans(self) -> list[tuple[str, ...]]:
        """The words of what the text says in backticks, where that is a command of xcomctl."""
        said = (" ".join(span.split()) for span in _SPAN.findall(self.prose))
        return [_words(span) for span in said if re.match(r"xcomctl [a-z-]+( |$)", span)]


@dataclass(frozen=True, slots=True)
class Example:
    """A command of a page's console block, and what the page shows below it."""

    command: str
    shown: str


@cache
def pages() -> tuple[Page, ...]:
    """Every page, those that a program writes among them."""
    return tuple(map(Page, sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])))


def examples(page: Page) -> list[Example]:
    """The commands of a page's console blocks. A line that begins with # is a remark."""
    found = []
    for body in page.blocks("console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append(Example(command, re.sub(r"^#.*\n?", "", shown, flags=re.MULTILINE)))
    return found


def _in_shell(text: str) -> Iterator[tuple[str, ...]]:
    for line in text.replace("\\\n", " ").splitlines():
        if "xcomctl " not in line:
            continue
        for words in _simple_commands(line):
            if "xcomctl" in words[:-1]:
                after = words[words.index("xcomctl") + 1 :]
                if _SUBCOMMAND.fullmatch(after[0]):
                    yield after


def _simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line of shell, each as its words: `a && b > c` is a, b and c."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    command: list[str] = []
    for word in lexer:
        if _ENDS_A_COMMAND.fullmatch(word):
            yield tuple(command)
            command = []
        else:
            command.append(word)
    yield tuple(command)


def _in_yaml(value: object) -> Iterator[tuple[str, ...]]:
    """Every list of words that begins with xcomctl, and every line of shell in a string."""
    if isinstance(value, list) and "xcomctl" in value[:2]:
        yield tuple(value[value.index("xcomctl") + 1 :])
    elif isinstance(value, str):
        yield from _in_shell(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _in_yaml(each)


def _words(span: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(span)[1:])
    except ValueError:
        raise ValueError(f"not a command line: {span!r}") from None


def _rules() -> dict[str, str]:
    """The files of rules that pages show, as `--rules` reads them."""
    blocks = [body for page in pages() for body in page.blocks("toml") if "reference =" in body]
    return {"rules.toml": blocks[0]} if blocks else {}


BLOCKS_OF_RULES = _rules()
