"""JSON from strangers: one value, or one sentence about what is wrong with it."""

import json
from typing import Any

from gipo_cli.errors import DataError


def parse(text: bytes | str, where: str) -> Any:
    """Read one JSON value.

    Python's NaN and Infinity are taken, since writers that use Python leave them in columns nobody reads; whoever
    uses a number must look whether it is finite.

    Raises:
        DataError: no JSON, nested beyond what the parser takes, a number of thousands of digits, or an object that
            has a key twice (which readers take for one or the other).
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply; expected an object of columns.") from error
    except ValueError as error:  # also a UnicodeDecodeError, and a number of too many digits
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error).partition(";")[0]
        raise DataError(f"{where} is not JSON that can be read ({reason}).") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)[:80]}' stands there twice")
    return found
