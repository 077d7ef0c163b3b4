"""What can happen to a file: bytes that change, structures that no longer hold, and what is meant to do harm."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

BOUNDARIES = (0, 1, -1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62,
              2**63 - 1, -(2**63), -2, -(2**31))  # fmt: skip
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**19), 0.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", "x", "nan", "1", "../../../etc/passwd", "/etc/passwd", "\0",
    "\ud800",
    "é" * 3, "A" * 5000, "__import__('os').system('id')", "os:system", [], {}, [[]], [None], [{}], [1, [2]], [[1, 2],
    [3]],
    {"": ""}, {"a": {"b": []}}, ["a"], [2**70], [float("nan")], [0] * 50, "gASVAAAA", "float32", "torch.float64",
    "<f8", "|O",
)  # fmt: skip
Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]


def at(content: bytes, rng: Rng) -> int:
    """A place in a file, often near its beginning or its end, where headers are."""
    near = min(len(content), 4096)
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.integers(near))
    return len(content) - 1 - int(rng.integers(near)) if kind == 1 else int(rng.integers(len(content)))


def flip_bits(content: bytes, rng: Rng) -> bytes:
    """A few bits."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        changed[at(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(content: bytes, rng: Rng) -> bytes:
    """A few bytes."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 17))):
        changed[at(content, rng)] = int(rng.choice([0, 255, 128, int(rng.integers(256))]))
    return bytes(changed)


def overwrite_run(content: bytes, rng: Rng) -> bytes:
    """A run of zeros, ones, or noise."""
    start, length = at(content, rng), int(2 ** rng.uniform(0, 9))
    length = min(length, len(content) - start)
    run = [bytes(length), b"\xff" * length, rng.bytes(length)][int(rng.integers(3))]
    return content[:start] + run + content[start + length :]


def delete_run(content: bytes, rng: Rng) -> bytes:
    """Bytes that are missing."""
    start = at(content, rng)
    return content[:start] + content[start + int(2 ** rng.uniform(0, 9)) :]


def duplicate_run(content: bytes, rng: Rng) -> bytes:
    """Bytes that stand there twice."""
    start, end = at(content, rng), int(2 ** rng.uniform(0, 9))
    return content[: start + end] + content[start:]


def move_run(content: bytes, rng: Rng) -> bytes:
    """Bytes copied over others."""
    start, to, length = at(content, rng), at(content, rng), int(2 ** rng.uniform(1, 9))
    run = content[start : start + length]
    return content[:to] + run + content[to + len(run) :]


def truncate(content: bytes, rng: Rng) -> bytes:
    """A copy that broke off."""
    return content[: int(rng.integers(len(content)))]


def boundary_integers(content: bytes, rng: Rng) -> bytes:
    """Numbers at the edges of their types, where sizes and offsets may be."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.choice([1, 2, 4, 8]))
        start = at(content, rng)
        start -= start % size if rng.random() < 0.7 else 0
        value = int(BOUNDARIES[rng.integers(len(BOUNDARIES))]) % (1 << 8 * size)
        changed[start : start + size] = value.to_bytes(size, "big" if rng.random() < 0.1 else "little")
    return bytes(changed)


BINARY: tuple[Mutation, ...] = (
    flip_bits, set_bytes, overwrite_run, delete_run, duplicate_run, move_run, truncate, boundary_integers, flip_bits,
    boundary_integers,
)  # fmt: skip


def splice(content: bytes, other: bytes, rng: Rng) -> bytes:
    """The beginning of one file and the end of another."""
    if rng.random() < 0.5:
        cut = int(rng.integers(len(content)))
        return content[:cut] + other[cut if rng.random() < 0.5 else int(rng.integers(len(other))) :]
    start, to, length = int(rng.integers(len(other))), int(rng.integers(len(content))), int(2 ** rng.uniform(2, 10))
    return content[:to] + other[start : start + length] + content[to + length :]


def hostile(rng: Rng) -> Any:
    """A value that is of another kind than expected."""
    if rng.random() < 0.03:
        deep: Any = 1
        for _ in range(int(rng.choice([100, 900, 3000]))):
            deep = [deep]
        return deep
    return HOSTILE[int(rng.integers(len(HOSTILE)))]


def _spoil(value: Any, rng: Rng, depth: int = 0) -> Any:
    """A JSON value with one of its parts replaced, taken away or put elsewhere."""
    if isinstance(value, str) and value[:1] in "{[" and rng.random() < 0.8:  # Minari keeps JSON in JSON
        try:
            return json.dumps(_spoil(json.loads(value), rng, depth))
        except (ValueError, RecursionError):
            return hostile(rng)
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15 * (depth > 0):
        if isinstance(value, int | float) and rng.random() < 0.3:
            return [value + 1, -value, value * 2**33, [value], str(value)][int(rng.integers(5))]
        return hostile(rng)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[int(rng.integers(len(keys)))]
    changed = dict(value) if isinstance(value, dict) else list(value)
    kind = rng.integers(8)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, list):
        changed.insert(key, hostile(rng))
    elif kind == 1:
        changed[["extra", "obs", key + "x", ""][int(rng.integers(4))]] = hostile(rng)
    elif kind == 2:
        changed[key] = value[keys[int(rng.integers(len(keys)))]]
    else:
        changed[key] = _spoil(value[key], rng, depth + 1)
    return changed


def spoil_json(content: bytes, rng: Rng) -> bytes:
    """One or more values of a JSON text, of one line of several."""
    lines = content.splitlines()
    which = int(rng.integers(len(lines))) if lines else 0
    alone = len(lines) < 2 or not lines[0].startswith(b"{") or not lines[0].endswith(b"}")
    try:
        value = json.loads(content if alone else lines[which])
        for _ in range(int(rng.integers(1, 4))):
            value = _spoil(value, rng)
        text = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return spoil_text(content, rng)
    if rng.random() < 0.1 and text.startswith(b"{") and b":" in text:  # a key twice
        text = text[:-1] + b", " + text[1:]
    if rng.random() < 0.2:
        text = spoil_text(text, rng)
    return text if alone else b"\n".join([*lines[:which], text, *lines[which + 1 :]]) + b"\n"


TOKENS = (
    b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1.5", b"9223372036854775808", b"1" * 5000, b'"', b"'", b'"""',
    b",",
    b"\n", b"\r", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 2000, b"{" * 2000, b"a.b.c = 1\n",
    b"[columns]\n", b"=",
    b"*", b"?", b"[!", b"true", b"null", b"{}", b"[]", b"[[x]]", b"x", b"", b"\\u0000", b"1979-05-27", b"0x10",
    b"1_000",
    b"d" + b".d" * 2000,
)  # fmt: skip


def spoil_text(content: bytes, rng: Rng) -> bytes:
    """A token of a text replaced, put in, or taken away; or a line, or a cell, of it."""
    lines = content.split(b"\n")
    which, token = int(rng.integers(len(lines))), TOKENS[int(rng.integers(len(TOKENS)))]
    kind = rng.integers(7)
    if kind == 0:
        del lines[which]
    elif kind == 1:
        lines.insert(which, lines[int(rng.integers(len(lines)))])
    elif kind == 2:
        lines.insert(which, token)
    elif kind < 5:
        mark = [b",", b"=", b":", b'"', b" "][int(rng.integers(5))]
        cells = lines[which].split(mark)
        cells[int(rng.integers(len(cells)))] = token
        lines[which] = mark.join(cells)
    else:
        start = int(rng.integers(len(content) + 1))
        return content[:start] + token + content[start + int(rng.integers(8)) :]
    return b"\n".join(lines)


def spoil_zip(content: bytes, rng: Rng, suffix: str = "") -> bytes:
    """A member of an archive, whose checksum is right again afterwards."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {info.filename: (info.compress_type, file.read(info)) for info in file.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError, zlib.error):
        return flip_bits(content, rng)
    if not members:
        return flip_bits(content, rng)
    name = list(members)[int(rng.integers(len(members)))]
    kind, member = members[name]
    kind_of = rng.integers(8)
    if kind_of == 0:
        del members[name]
    elif kind_of == 1:
        other = list(members)[int(rng.integers(len(members)))]
        members[name] = (kind, members[other][1])
    elif kind_of == 2:
        members[["../" + name, "/" + name, name * 40, "gipo.npy", "x.npy"][int(rng.integers(5))]] = (kind, member)
    else:
        changed = spoil_npy(member, rng) if member[:6] == b"\x93NUMPY" else mutated(member, name, rng)
        members[name] = ([kind, zipfile.ZIP_DEFLATED][int(rng.random() < 0.1)], changed)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for member_name, (how, data) in members.items():
            file.writestr(zipfile.ZipInfo(member_name), data, how)
    return packed.getvalue()


def spoil_npy(content: bytes, rng: Rng) -> bytes:
    """The header of an array, or its bytes."""
    size = 10 + struct.unpack_from("<H", content, 8)[0] if len(content) > 10 else 0
    if not 10 < size <= len(content) or rng.random() < 0.3:
        return BINARY[int(rng.integers(len(BINARY)))](content, rng) if content else content
    header = content[10:size]
    changes = [
        (b"False", b"True"), (b"<f4", b"<f8"), (b"<f4", b"|O"), (b"<f4", b">f4"), (b"<f4", b"<U9999"), (b"<f4",
        b"<M8[s]"),
        (b"<f8", b"<c16"), (b"<f4", b"<i8"), (b"(12,", b"(13,"), (b"(12,", b"(-1,"),
        (b"(12,", b"(4611686018427387904, 8,"),
        (b"(12,", b"(0,"), (b"(12,", b"(True,"), (b"(12", b"(12, 1"), (b"(", b"[" * 2000), (b"{", b"__import__('os'){"),
        (b"(12,", b"(1e9,"), (b"'", b'"'), (b"<f4'", b"<f4', 'x': 1, 'y': '"), (b"(12", b"(999999999999"),
        (b"'<f4'", b"[('a', '<f4')]"), (b"'<f8'", b"[('a', '|O')]"), (b"|u1", b"|S0"), (b"<f4", b"<f2"), (b"<f4",
        b"|V4"),
    ]  # fmt: skip
    old, new = changes[int(rng.integers(len(changes)))]
    header = header.replace(old, new) if old in header else spoil_text(header, rng)
    return content[:8] + struct.pack("<H", len(header) % 65536) + header + content[size:]


def spoil_safetensors(content: bytes, rng: Rng) -> bytes:
    """The header of a safetensors file, as long as it says it is."""
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= len(content) - 8:
        return flip_bits(content, rng)
    header = spoil_json(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def mutated(content: bytes, name: str, rng: Rng, other: bytes = b"") -> bytes:
    """A file after one to three things have happened to it."""
    suffix = "." + name.rpartition(".")[2]
    special: dict[str, Mutation] = {
        ".json": spoil_json, ".csv": spoil_text, ".toml": spoil_text, ".npz": spoil_zip, ".zip": spoil_zip,
        ".pth": spoil_zip, ".safetensors": spoil_safetensors,
    }  # fmt: skip
    chosen = special.get(suffix, spoil_json if name in ("data", "log_probs") else None)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if not content:
            return b"" if rng.random() < 0.5 else rng.bytes(int(rng.integers(64)))
        if other and rng.random() < 0.04:
            content = splice(content, other, rng)
        elif chosen is not None and rng.random() < 0.75:
            content = chosen(content, rng)
        else:
            content = BINARY[int(rng.integers(len(BINARY)))](content, rng)
    return content
