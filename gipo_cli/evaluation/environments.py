"""Environments by name, from a log or a user."""

import re
import sys
import warnings
from typing import Any

from gipo_cli.errors import SettingError

VERSION = re.compile(r"-v\d+$")
MUJOCO_HINT = "pip install 'gipo[mujoco]' brings the MuJoCo environments."


def make_environments(environment_id: str, count: int) -> list[Any]:
    """Make `count` environments of one kind.

    A name may come from a stranger's file. Gymnasium imports the module before a colon, so a colon is refused.

    Raises:
        SettingError: the name is not one that Gymnasium knows, or what it needs is not installed.
    """
    import gymnasium
    from gymnasium.error import DependencyNotInstalled
    from gymnasium.error import Error as GymnasiumError

    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?", environment_id):
        raise SettingError(f"{environment_id!r} is not the name of an environment.", "Expected one such as Hopper-v5.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium's advice on versions is no business of who reads a log
            if _is_mujoco(gymnasium.spec(environment_id)):
                _silence_advice()
            return [gymnasium.make(environment_id) for _ in range(count)]
    except (DependencyNotInstalled, ImportError) as error:
        raise SettingError(
            f"{environment_id} needs a package that is not installed ({error}).", _hint(environment_id)
        ) from error
    except GymnasiumError as error:
        raise SettingError(f"gymnasium cannot make {environment_id!r} ({error}).", _hint(environment_id)) from error


def _is_mujoco(spec: Any) -> bool:
    return str(spec.entry_point).startswith("gymnasium.envs.mujoco")


def _hint(environment_id: str) -> str:
    """What to do about an environment that cannot be made: another version or name, MuJoCo, or what the error says."""
    import gymnasium

    known: dict[str, Any] = gymnasium.registry
    name = VERSION.sub("", environment_id)
    newest = max((spec for spec in known.values() if VERSION.sub("", spec.id) == name), key=_version, default=None)
    if newest is None:
        return "What there is: python -c 'import gymnasium; gymnasium.pprint_registry()'"
    newer = f"Use {newest.id}." if newest.id != environment_id else ""
    mujoco = MUJOCO_HINT if environment_id in known and _is_mujoco(known[environment_id]) else ""
    return "\n".join(filter(None, (newer, mujoco)))


def _version(spec: Any) -> int:
    return spec.version or 0


def _silence_advice() -> None:
    """Keep MuJoCo's advice on its own model files to itself.

    Otherwise it is printed once for each environment, and written to MUJOCO_LOG.TXT in the working directory.
    """
    import mujoco

    # The hook is there, but not in the package's stubs.
    install = getattr(mujoco, "set_mju_user_warning", None)
    if install is not None:
        install(lambda text: None if "deprecated" in text else print(text, file=sys.stderr))
