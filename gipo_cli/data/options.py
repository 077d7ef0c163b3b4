"""What a user may say about a log that its file does not: where the log-probs are, and what to do about them."""

from dataclasses import dataclass

from gipo_cli.data.trajectories import CONVENTIONS
from gipo_cli.errors import unknown_name


@dataclass(frozen=True)
class ReadOptions:
    """Overrides of what a reader detects by itself; empty where nothing is overridden."""

    log_prob_key: str = ""  # name of the column, as the file has it: infos/my_logp in HDF5, my_logp in a table
    log_prob_convention: str = ""  # the density the log-probs are of: gaussian, tanh_gaussian, categorical
    mapping: str = ""  # a TOML file that says which column of a table is which

    def __post_init__(self) -> None:
        """Refuse a density that no policy here has.

        Raises:
            SettingError: it is none of the conventions.
        """
        if self.log_prob_convention and self.log_prob_convention not in CONVENTIONS:
            raise unknown_name("log-prob convention", self.log_prob_convention, CONVENTIONS)


@dataclass(frozen=True)
class LogOptions(ReadOptions):
    """All that decides which numbers a log ends up with once it is opened."""

    repair: tuple[str, ...] = ()  # names of `data.repairs`, applied in this order
    behaviour: str = ""  # a policy file: log-probs are recomputed from it, exactly
    estimate_behaviour: bool = False  # clone the behaviour policy where the log has no log-probs
    accept: tuple[str, ...] = ()  # errors of the checks that are taken as warnings
    seed: int = 0  # of the clone
