"""The line of a TOML file on which something stands; tomllib does not say."""

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, counted from 1, on which the statement begins that brings a key of the document about.

    The parser itself is asked, with ever more lines: whatever TOML has of quotes, dots and values of several lines,
    the first beginning of the file in which the key is there ends with its statement.

    Args:
        text: a valid document.
        path: keys of tables and numbers of items, from the root down; one that is not there is taken for the table
            that it would be in.
    """
    lines = text.split("\n")
    while path and not _has(tomllib.loads(text), path):
        path = path[:-1]
    begins = 0
    for end in range(len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:  # the end of it is in the middle of a value
            continue
        if _has(document, path):
            return next((n for n in range(begins, end) if _says_something(lines[n])), begins) + 1
        begins = end
    return 1


def _has(document: Any, path: Sequence[str | int]) -> bool:
    for key in path:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
