"""How much is measured: the sizes of a real measurement, and those of a quick one that shows that all of it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes of everything; no benchmark has one of its own."""

    repeats: int = 5
    seconds: float = 0.5  # of each subject in each round, about
    peers: bool = True
    rows: int = 200_000  # of the log that policies and values learn from
    batches: tuple[int, ...] = (256, 1024, 8192)
    advantage_rows: tuple[int, ...] = (100_000, 1_000_000)
    advantage_updates: int = 100
    file_rows: int = 1_000_000
    weight_rows: tuple[int, ...] = (1_000_000, 10_000_000)
    megabytes: int = 256  # of a copy
    episodes: int = 20  # side by side
    members: tuple[int, ...] = (1, 8, 64)  # of ensembles
    device: str = "cpu"  # of updates and ensembles


QUICK = Scale(
    repeats=5,
    seconds=0.02,
    rows=5_000,
    batches=(256,),
    advantage_rows=(5_000,),
    advantage_updates=20,
    file_rows=5_000,
    weight_rows=(20_000,),
    megabytes=4,
    episodes=2,
    members=(1, 2),
)
