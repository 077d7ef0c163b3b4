"""Published logs that `gipo datasets fetch` knows: where each is, and how to tell that it is the one.

Sizes and sha256 are those of tensorflow_datasets/d4rl/d4rl_mujoco_*/checksums.tsv in github.com/tensorflow/datasets.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gipo_cli.data.cache import cache_root
from gipo_cli.errors import DataError, SettingError

D4RL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/"
PREFIX = "d4rl:"


@dataclass(frozen=True)
class Remote:
    """One published file."""

    name: str
    url: str
    size: int  # bytes
    sha256: str

    @property
    def place(self) -> Path:
        """Where it lands on this machine."""
        return cache_root() / "fetched" / self.url.rsplit("/", 1)[-1]


# file, bytes, sha256
PUBLISHED = """
hopper_expert-v2.hdf5 152427435 01aa219a5f8eea5e639eccdc636ec2bf40e317159a95cf4bf6e985f16909941b
hopper_full_replay-v2.hdf5 187998921 56baf95963c51c1e964049a974566c50ba80f289390565523e60c0ba83e0982e
hopper_medium-v2.hdf5 152756557 5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0
hopper_medium_expert-v2.hdf5 304537315 9d51ad87f8c905be3880d84c6140bcdb7fbf39a19e046a237f238ba34fec9e26
hopper_medium_replay-v2.hdf5 75854457 e121c5f7c9857a307baa9edc6a2c3b48e85fedb9ac316ecddd0f48ca7ef4e39b
hopper_random-v2.hdf5 152525345 63103ef7059db4c0819bd054f4e83ff339030b50bcdb46bdbe50385f234b5054
walker2d_expert-v2.hdf5 230567195 2985dc3d436a8baa10e8f43f946fe1d7c6337a4e4fbc65def70618093b18c59a
walker2d_full_replay-v2.hdf5 285115514 f2720f9d27b2acef6ec9a7d9ad3b80b6c2078ad4467cee668a81e3b3c80bcf2a
walker2d_medium-v2.hdf5 232254996 cf00f43add04c17fdfc2958dd581dea0851b2e5bedbe6fda073758a8f841aeda
walker2d_medium_expert-v2.hdf5 462197079 6b8d7f868c45bbaedf460be797fb7271b46dee6ebe45fe7a64319f2005b59a04
walker2d_medium_replay-v2.hdf5 86323963 e75de96a4f77acf7d4e0d6fdf0d7ccb177c26c44bb4388e4fd99f543ccfa18db
walker2d_random-v2.hdf5 216109364 4e863bb6090cf4a461548bd470564b32f1ae5b32ef3085f816b2ede7f092e7fa
halfcheetah_expert-v2.hdf5 237464597 d9fe53bb994eb1e20a99b4fa3412cd76a1bb7966a7ff55e0fcbdd6081bd2965f
halfcheetah_full_replay-v2.hdf5 291381762 27fdf7ea86e5a2cbd24d611ae9e703c86ec2e8e52823abc69dd9af6afb3a36c0
halfcheetah_medium-v2.hdf5 237727262 41324e8487a9556d8cfa4538827f8937f4d63dae3030825ebc9f3a726ed08ca0
halfcheetah_medium_expert-v2.hdf5 474567252 015db75dae5bbe8e94029b71fa0bafc2073365df0c94744e71031189f3f79c06
halfcheetah_medium_replay-v2.hdf5 59448533 48d494a4770c11f48260736dec090b78bdca8375647ed4d24bfa5b6610c7f683
halfcheetah_random-v2.hdf5 237338037 25407aef85b5d16c0f36b4149341edb4acc6a9e88c1db529b2de19e7464874ba
ant_expert-v2.hdf5 373231677 fa22531ca79ea051006fa48bb652120d2e12c813919c530369a03c2688311b0f
ant_full_replay-v2.hdf5 449390167 b95b0a7f34b1d5d1bedfded0f8e9cfc508b59de83cd4cbfb65b18dbd5056f26c
ant_medium-v2.hdf5 376239825 461c03b9f70f40d66b47608a92965e4ef3642bd9cdb1320d10acc92754167137
ant_medium_expert-v2.hdf5 748335217 8cfb64e62d8944b5d9dada5f0cfc13a295fafe0c6ba58b778e32ebf16c95aef1
ant_medium_replay-v2.hdf5 136482252 844c4e5743ef51091f2106a3570b257fb149032c4743f8a5f02f40adc3b42a46
ant_random-v2.hdf5 384466831 93cc10893eed2b8e17f81d1aa51dc23d27c5ca101a3804249f6bd038c6f06055
"""


def _remotes() -> dict[str, Remote]:
    found = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        file, size, sha256 = line.split(" ")
        name = PREFIX + file.removesuffix(".hdf5").replace("_", "-")
        found[name] = Remote(name, D4RL + file, int(size), sha256)
    return found


REMOTES = _remotes()


def remote_named(name: str) -> Remote:
    """The published log of this name.

    Raises:
        SettingError: there is none; the nearest one is suggested.
    """
    if name in REMOTES:
        return REMOTES[name]
    near = get_close_matches(PREFIX + name.removeprefix(PREFIX), REMOTES, n=1, cutoff=0.8)
    kinds = "random, medium, expert, medium-replay, full-replay or medium-expert"
    every = f"There are d4rl:ROBOT-KIND-v2 of hopper, walker2d, halfcheetah and ant, {kinds}; and minari:ID."
    raise SettingError(f"there is no published log '{name}'.", f"Did you mean '{near[0]}'?" if near else every)


def fetched(name: str) -> Path:
    """Where the published log of this name lies on this machine.

    Raises:
        SettingError: as `remote_named`.
        DataError: it has not been fetched.
    """
    remote = remote_named(name)
    if not remote.place.is_file():
        raise DataError(
            f"{name} is not on this machine.", f"`gipo datasets fetch {name}` gets its {remote.size:,} bytes."
        )
    return remote.place
