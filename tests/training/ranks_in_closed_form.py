"""Started by torchrun in test_distributed.py: ranks against closed forms, then an error of one of them."""

import sys

import torch

from gipo_cli.cli import report
from gipo_cli.errors import DataError, GipoError, SettingError
from gipo_cli.training.distributed import joined

try:
    with joined() as ranks:
        rows = torch.arange(5)  # unequal shares: 3 and 2
        mine = ranks.share(rows)
        assert mine.tolist() == ([0, 1, 2] if ranks.first else [3, 4])
        assert torch.equal(ranks.whole(mine * 2.0, 5), rows * 2.0)
        assert ranks.share(torch.arange(1)).tolist() == ([0] if ranks.first else [])

        # d/dw of mean((w x - y)^2) over all five rows, in float64: exact to the last digits whatever the shares.
        x, y = rows.double() + 1, rows.double() ** 2
        weight, bias = (torch.nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (0.5, -1.0))
        ((weight * x[mine] + bias - y[mine]).square().sum() / 5).backward()
        ranks.sum_gradients([weight, bias])
        residual = 0.5 * x - 1 - y
        expected = torch.stack([(2 * residual * x).mean(), (2 * residual).mean()])
        torch.testing.assert_close(torch.stack([weight.grad, bias.grad]), expected, rtol=1e-14, atol=0)

        assert ranks.any(not ranks.first) and not ranks.any(False)
        assert ranks.from_first("words", b"from rank 0" if ranks.first else b"") == b"from rank 0"
        assert ranks.from_first("nothing") == b""
        ranks.require_same("a log", b"the same")
        try:
            ranks.require_same("a log", b"its own" if ranks.first else b"another")
        except SettingError as error:
            assert error.message == "rank 1 of 2 has a log other than rank 0."
        else:
            raise AssertionError("a difference went unnoticed")
        sys.stdout.write("closed forms hold\n")  # in one piece, so that those of two ranks do not mix
        if not ranks.first:
            raise DataError("the disk of this rank is full.", "Make room.")
        ranks.any(True)  # waits for a rank that does not come
except GipoError as error:
    report(error)
    raise SystemExit(int(error.exit_code)) from error
