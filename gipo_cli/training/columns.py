"""Columns as tensors, one number or vector a row: made and looked at in chunks, in memory or mapped from a disk.

Which of the two a column is changes no number: what depends on the order of a sum goes by the number of rows.
"""

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import SCATTERED, blocks, is_anything_mapped, trim, trimmed

CHUNK = 65536  # rows
LARGE = 2**20  # rows; of more, sums are taken chunk by chunk


def as_column(values: np.ndarray, dtype: type[np.generic], device: torch.device) -> Tensor:
    """A column of a log on the device; on the CPU the log's own bytes where they are of that type already."""
    if device.type != "cpu":
        return torch.as_tensor(np.asarray(values, dtype), device=device)
    return _tensor(of_type(values, dtype))


def of_type(values: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """A column itself where it is of that type and in one piece, else a copy that is."""
    if values.dtype == dtype and values.flags.c_contiguous:
        return values
    made = scratch(values.shape, np.dtype(dtype))
    for start, block in blocks(values):
        made[start : start + len(block)] = block
    return made


def joined(rows: int, parts: Iterable[Tensor], axis: int = 0) -> Tensor:
    """Parts laid end to end along an axis as one column of so many rows; there is never more than one in memory."""
    whole, end = None, 0
    for part in parts:
        whole = _empty_like(part, rows, axis) if whole is None else whole
        whole.narrow(axis, end, part.shape[axis]).copy_(part)
        end += part.shape[axis]
        trim()
    assert whole is not None
    return whole


def taken(column: Tensor, rows: Tensor, axis: int = 0) -> Tensor:
    """Some rows [B] of a column, that lie anywhere along an axis of it; where it may be mapped, a few at a time.

    Rows of several axes, [S, T], are the steps of stretches of the log: few places, and looked at together.
    """
    few = max(1, SCATTERED // math.prod(column.shape[:axis]))  # a row of [K, N] is in K places
    if rows.ndim > 1:
        return column[rows]
    whole = len(rows) <= few or column.shape[axis] <= LARGE or column.is_cuda or not is_anything_mapped()
    if whole or _lie_together(rows):
        return _looked_up(column, rows, axis)
    return torch.cat([trimmed(_looked_up(column, part, axis)) for part in rows.split(few)], axis)


def _looked_up(column: Tensor, rows: Tensor, axis: int) -> Tensor:
    if column.is_contiguous():
        return column.index_select(axis, rows)  # twice as fast as an index; of any other column it makes a whole copy
    return column[(slice(None),) * axis + (rows,)]


def _lie_together(rows: Tensor) -> bool:
    least, most = rows.aminmax()
    return int(most - least) < 4 * len(rows)  # every second episode, too


def every_row(rows: int, device: torch.device) -> Iterator[Tensor]:
    """The numbers of all rows, a chunk at a time; trimmed after each."""
    for start in range(0, rows, CHUNK):
        yield torch.arange(start, min(start + CHUNK, rows), device=device)
        trim()


def chunks(column: Tensor) -> Iterator[Tensor]:
    """A column, or a list of rows, a chunk at a time; trimmed after each."""
    for chunk in column.split(CHUNK):
        yield chunk
        trim()


def rows_where(mask: Tensor, holds: bool = True) -> Tensor:
    """Numbers of the rows where a mask [N] holds, or where it does not, int64."""
    count = sum(int((chunk == holds).sum()) for chunk in chunks(mask))
    found = ((chunk == holds).nonzero()[:, 0] + place * CHUNK for place, chunk in enumerate(chunks(mask)))
    return joined(count, found)


def rows_that(rows: Tensor, mask: Tensor) -> Tensor:
    """Those of some rows where a mask [N] holds."""
    count = sum(int(mask[chunk].sum()) for chunk in chunks(rows))
    return joined(count, (chunk[mask[chunk]] for chunk in chunks(rows)))


def mean_and_std(column: Tensor, rows: Tensor | None = None, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over n - correction) over some rows or all, [...] of a column [N, ...].

    Of many rows, sums of squares about the mean of the first ones: about 0 they lose the digits of a column that is far
    from it.
    """
    count = len(column if rows is None else rows)
    if count <= LARGE:
        found = column if rows is None else column[rows]
        return found.mean(0), found.std(0, correction=correction)
    middle = (column[:CHUNK] if rows is None else column[rows[:CHUNK]]).double().mean(0)
    total, square = torch.zeros_like(middle), torch.zeros_like(middle)
    for chunk in chunks(column if rows is None else rows):
        gap = (chunk if rows is None else column[chunk]).double() - middle
        total += gap.sum(0)
        square += gap.square().sum(0)
    variance = (square - total.square() / count) / (count - correction)
    return (middle + total / count).to(column.dtype), variance.clamp_min(0).sqrt().to(column.dtype)


def spread(columns: Tensor, rows: Tensor) -> Tensor:
    """Standard deviation over some rows of K columns [K, N], all of their numbers taken together."""
    if len(rows) <= LARGE:
        return columns[:, rows].std()
    mean, std = mean_and_std(columns.T, rows)
    return (std.square().mean() + mean.var(correction=0)).sqrt()


def mean(column: Tensor) -> Tensor:
    """Mean of a column in float64."""
    if len(column) <= LARGE:
        return column.double().mean()
    return torch.stack([chunk.double().sum() for chunk in chunks(column)]).sum() / len(column)


def _empty_like(part: Tensor, rows: int, axis: int) -> Tensor:
    shape = list(part.shape)
    shape[axis] = rows
    if part.device.type != "cpu":
        return part.new_empty(shape)
    return _tensor(scratch(tuple(shape), part.new_empty(0).numpy().dtype))


def _tensor(values: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor does anyone write to a log
        return torch.from_numpy(values)
