"""Tensors in safetensors' format a piece at a time: the library's own writer holds two more copies of all of them."""

import json
from collections.abc import Iterator, Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from gipo_cli.data.resident import trim

AT_ONCE = 2**24  # bytes; what is smaller is left to the library
NAMES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32"}  # in the library's order


def serialised(tensors: Mapping[str, Tensor]) -> "bytes | Pieces":
    """Content of a .safetensors file."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(held) if sum(tensor.nbytes for tensor in held.values()) <= AT_ONCE else Pieces(held)


class Pieces:
    """The bytes that the library would write, AT_ONCE of them at a time, as often as they are asked for.

        length of the header, 8 bytes | header, JSON padded with spaces to a multiple of 8 | numbers of each tensor

    Tensors come in the order of their types, then of their names, as the library has them.

    Source: https://github.com/huggingface/safetensors#format
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        order = [*NAMES]
        self.tensors = dict(sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype), item[0])))

    def __iter__(self) -> Iterator[bytes]:
        """Header first."""
        yield self._header()
        for tensor in self.tensors.values():
            for piece in tensor.reshape(-1).split(AT_ONCE // tensor.element_size()):
                yield piece.numpy().tobytes()
                trim()

    def _header(self) -> bytes:
        described, end = {}, 0
        for name, tensor in self.tensors.items():
            begin, end = end, end + tensor.nbytes
            shape = list(tensor.shape)
            described[name] = {"dtype": NAMES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(described, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text
