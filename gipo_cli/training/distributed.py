"""Data-parallel training of one policy under torchrun: what the ranks tell one another, and how the job ends as one.

Every rank holds the log and the policy, takes its share of each batch, and the sums over the shares are those of the
batch. Rank 0 does alone what is done once, the start, the values, the reports and the run directory, and tells the
others. Alone, without torchrun, a process is rank 0 of 1 and none of this costs anything.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from gipo_cli.errors import ExitCode, GipoError, RankLost, SettingError, brief
from gipo_cli.training.signals import Stop

# A dead rank closes its connections and is noticed at once; this is for one that hangs, or whose machine is gone. What
# takes one rank long is not waited for inside a collective, so it bounds a report or a checkpoint.
TIMEOUT = timedelta(minutes=10)
BEAT = 0.5  # seconds between the signs of life that a rank gives
ROLL_CALL = 3.0  # seconds without one after which a rank is lost, where something has gone wrong already
SILENCE = 60.0  # and where nothing has: reading a large file keeps a process from giving any
LOOK = 0.05  # seconds between looks at what another rank has done


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one policy; rank 0 of 1 where it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on its machine, from 0
    machine: int = 0
    store: Store | None = None  # kept by torchrun, so it outlives any rank
    began: float = 0.0  # when the command did, by the monotonic clock: before it waited for the others

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes, prints, and does what is done once."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The device of this rank: the CPU, or the GPU that its number on the machine names.

        Raises:
            SettingError: one GPU was named for several ranks, or there are fewer than ranks.
        """
        if self.size == 1 or chosen.type == "cpu":
            return chosen
        if chosen.index is not None:
            raise SettingError(
                f"--device {chosen} is one device for {self.size} ranks.", "Each takes its own: --device cuda."
            )
        if self.local_rank >= torch.cuda.device_count():
            raise SettingError(
                f"there is no CUDA device for rank {self.rank}: torch can use {torch.cuda.device_count()} here.",
                "Start as many ranks as there are devices (--nproc-per-node), or give --device cpu.",
            )
        return torch.device("cuda", self.local_rank)

    def share(self, rows: Tensor) -> Tensor:
        """This rank's part of a batch: neighbouring rows, the same ones whenever it is asked."""
        return rows if self.size == 1 else rows.tensor_split(self.size)[self.rank]

    def sum(self, part: Tensor) -> Tensor:
        """The sum over the ranks, the same bytes on each; no gradient passes."""
        if self.size == 1:
            return part.detach()
        total = part.detach().clone()
        with self._together():
            distributed.all_reduce(total)
        return total

    def whole(self, part: Tensor, length: int) -> Tensor:
        """One value for each row of a batch, [length], put together from those of the ranks' shares of it."""
        if self.size == 1:
            return part.detach()
        values = part.new_zeros(length)
        self.share(values).copy_(part.detach())  # a view; elsewhere stay zeros, to which the others add theirs
        return self.sum(values)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over the ranks in place of every gradient, all of them in one message.

        With each rank's loss a sum over its share divided by the size of the whole batch, that is the batch's gradient,
        however unequal the shares.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = total.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether it is true on at least one rank; all ranks get the same answer."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))).item())

    def tell(self, tensor: Tensor) -> None:
        """Replace a tensor by that of rank 0, in place."""
        if self.size > 1:
            with self._together():
                distributed.broadcast(tensor, src=0)

    def from_first(self, name: str, content: bytes = b"", stop: Stop | None = None) -> bytes:
        """What rank 0 gives here, on every rank, however long it takes to come to it.

        Args:
            name: of this one occasion.
            content: of rank 0; that of the others is left alone.
            stop: of the signals, if they do not end the process by themselves.

        Raises:
            RankLost: rank 0 is gone.
        """
        if self.store is None:
            return content
        if self.first:
            self.store.set(f"ready/{name}", "")
        else:
            self._wait_for(f"ready/{name}", 0, stop)
        length = torch.tensor(len(content))
        self.tell(length)
        sent = bytearray(content if self.first else int(length))
        if sent:
            self.tell(torch.frombuffer(sent, dtype=torch.uint8))
        return bytes(sent)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank of each machine goes first: what it leaves in the cache the others find there."""
        key = f"turn/{self.machine}"
        if self.store is not None and self.local_rank:
            self._wait_for(key, self.rank - self.local_rank)
        yield
        if self.store is not None and not self.local_rank:
            self.store.set(key, "")

    def require_same(self, what: str, value: bytes) -> None:
        """Refuse to go on where another rank has something else.

        Args:
            what: as the error names it.
            value: of this rank.

        Raises:
            SettingError: on every rank, naming the first that differs from rank 0.
        """
        if self.size == 1:
            return
        mine = torch.frombuffer(bytearray(hashlib.sha256(value).digest()), dtype=torch.uint8)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with self._together():
            distributed.all_gather(found, mine)
        for rank, theirs in enumerate(found):
            if not torch.equal(theirs, found[0]):
                raise SettingError(
                    f"rank {rank} of {self.size} has {what} other than rank 0.",
                    "Give every rank the same command, log and version of gipo, on machines of one kind.",
                )

    def require_same_weights(self, network: nn.Module) -> None:
        """Refuse to go on where the ranks' copies of a network have come apart, as on machines that round differently.

        Raises:
            SettingError: on every rank, naming the first that differs from rank 0.
        """
        if self.size > 1:
            weights = nn.utils.parameters_to_vector(network.parameters()).detach().cpu()
            self.require_same("weights of the policy", weights.numpy().tobytes())

    def roll_call(self) -> None:
        """Find out whether a rank is gone, once there is a reason to ask.

        Raises:
            RankLost: names those that are.
        """
        missing = self.missing()
        if missing:
            raise RankLost(missing, self.size)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What all ranks do at once; where one of them does not, the others find out which, or what it said."""
        try:
            yield
        except RuntimeError as error:  # torch has no other for a connection that closed or a time that ran out
            self._heed()
            self.roll_call()
            raise GipoError(f"the {self.size} ranks no longer hear one another ({brief(error)}).") from error

    def _heed(self) -> None:
        """End with what another rank said when it ended; the boundary knows that it has been printed."""
        try:
            if self.store is None or not self.store.check(["said"]):
                return
            said = json.loads(self.store.get("said"))
        except RuntimeError:
            return
        error = GipoError(said["message"])
        error.exit_code = said["exit_code"]
        raise error

    def _wait_for(self, key: str, rank: int, stop: Stop | None = None) -> None:
        """Wait for what another rank does alone, for as long as it is alive."""
        assert self.store is not None
        heard, since = b"", time.monotonic()
        try:
            while not self.store.check([key]):
                self._heed()
                if (beat := self.store.get(f"beat/{rank}")) != heard:
                    heard, since = beat, time.monotonic()
                patience = ROLL_CALL if stop is not None and stop.requested else SILENCE
                if time.monotonic() - since > patience:
                    raise RankLost([rank], self.size)
                time.sleep(LOOK)
        except RuntimeError as error:
            raise GipoError(f"torchrun no longer answers rank {self.rank} ({brief(error)}).") from error

    def missing(self) -> list[int]:
        """The other ranks that give no sign of life and have not taken leave either."""
        if self.store is None:
            return []
        others = [rank for rank in range(self.size) if rank != self.rank]
        try:
            before = {rank: self.store.get(f"beat/{rank}") for rank in others}
            until = time.monotonic() + ROLL_CALL
            while others and time.monotonic() < until:
                time.sleep(LOOK)
                others = [rank for rank in others if self.store.get(f"beat/{rank}") == before[rank]]
            return [rank for rank in others if not self.store.check([f"left/{rank}"])]
        except RuntimeError:
            return []


ALONE = Ranks()
_joined = ALONE


def current() -> Ranks:
    """This process among its ranks."""
    return _joined


@contextmanager
def joined(began: float = 0.0) -> Iterator[Ranks]:
    """Join the ranks that torchrun started, for as long as the block runs, and speak with one voice.

    The first rank that ends with an error says so; the others, which end because of it, leave in silence. torchrun
    itself ends with 1, whatever the code of a rank.

    Args:
        began: when the command did, by the monotonic clock.
    """
    global _joined
    size = int(os.environ["WORLD_SIZE"])
    if size == 1:
        yield _joined
        return
    store, rank, _ = next(rendezvous("env://"))
    # torchrun keeps the store when it starts all ranks again (--max-restarts): what the ones before said is over.
    store = PrefixStore(f"gipo/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    ranks = Ranks(rank, size, int(os.environ["LOCAL_RANK"]), int(os.environ["GROUP_RANK"]), store, began)
    with _beating(ranks):
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
        group = PrefixStore("group", store)
        try:
            distributed.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=TIMEOUT)
            _joined = ranks
            yield ranks
            with ranks._together():  # nobody leaves before rank 0 has written all it has to
                distributed.barrier()
        except BaseException as error:
            ending = _with_one_voice(ranks, error)
            if ending is error:
                raise
            raise ending from error
        finally:
            _joined = ALONE
    distributed.destroy_process_group()


def _with_one_voice(ranks: Ranks, error: BaseException) -> BaseException:
    """The error that ended this rank, or a silent end where another rank has said what there is to say."""
    code = getattr(error, "exit_code", ExitCode.BUG)
    if isinstance(error, SystemExit):  # a polite kill: by a person, or by torchrun because another rank has died
        missing = ranks.missing()
        if missing:
            error, code = RankLost(missing, ranks.size), RankLost.exit_code
    if isinstance(error, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    assert ranks.store is not None
    try:
        ranks.store.set(f"left/{ranks.rank}", "")
        if isinstance(error, SystemExit):
            return error
        if ranks.store.add("voices", 1) > 1:
            return SystemExit(int(code))
        message = error.message if isinstance(error, GipoError) else f"{type(error).__name__}: {brief(error)}"
        ranks.store.set("said", json.dumps({"message": f"rank {ranks.rank}: {message}", "exit_code": int(code)}))
    except RuntimeError:
        pass  # torchrun itself is gone: better twice than not at all
    return error


@contextmanager
def _beating(ranks: Ranks) -> Iterator[None]:
    """Give a sign of life every BEAT, whatever this process is busy with."""
    assert ranks.store is not None
    ended = threading.Event()
    shared: Any = ranks.store
    store = shared.clone()  # a connection of its own

    def beat() -> None:
        number = 0
        try:
            while not ended.is_set():
                number += 1
                store.set(f"beat/{ranks.rank}", str(number))
                ended.wait(BEAT)
        except RuntimeError:
            pass  # torchrun is gone, and with it whoever listens

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
