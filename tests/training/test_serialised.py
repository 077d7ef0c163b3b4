"""Files of tensors that are written a piece at a time are those that the library writes."""

import pytest
import torch
from safetensors.torch import save

from gipo_cli.training import serialised
from gipo_cli.training.serialised import Pieces

GIVEN = {
    "advantage": torch.randn(100_003, generator=torch.Generator().manual_seed(0)),
    "width": torch.zeros(()),
    "b": torch.arange(7),
    "a": torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    "empty": torch.zeros(0, 4),
}


def test_pieces_make_up_the_librarys_bytes(monkeypatch):
    monkeypatch.setattr(serialised, "AT_ONCE", 1024)
    found = serialised.serialised(GIVEN)
    assert isinstance(found, Pieces)
    assert b"".join(found) == save(GIVEN)
    assert b"".join(found) == save(GIVEN)  # a manifest is made of the same pieces
    assert max(map(len, found)) <= 1024


def test_what_is_small_is_written_by_the_library():
    assert serialised.serialised(GIVEN) == save(GIVEN)


def test_a_type_that_no_checkpoint_has_is_not_guessed(monkeypatch):
    monkeypatch.setattr(serialised, "AT_ONCE", 1)
    with pytest.raises(ValueError, match="not in list"):
        serialised.serialised({"x": torch.zeros(4, dtype=torch.complex64)})
