"""The parts of a report, whatever it is written in."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A title; 1 is the page's, 2 a run's, 3 that of a part of it."""

    text: str
    level: int


@dataclass(frozen=True)
class Paragraph:
    """A sentence or some; `strong` where it is the one to read."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under heads, the first columns to the left, numbers to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True)
class Findings:
    """How bad, what, and whose threshold says so."""

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Picture:
    """A PNG, and what it shows in words."""

    png: bytes
    shows: str


@dataclass(frozen=True)
class Code:
    """To be copied as it is; folded away under a title where it has one."""

    text: str
    title: str = ""


Block = Heading | Paragraph | Table | Findings | Picture | Code
