"""Environments by name, from a log or a user."""

import os
import re
import sys
import warnings
from importlib import import_module
from typing import Any

from gipo_cli.errors import SettingError, brief

VERSION = re.compile(r"-v\d+$")
NAME = re.compile(r"((?P<module>[A-Za-z0-9_.]+):)?(?P<id>[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?)")
MUJOCO_HINT = "pip install 'gipo[mujoco]' brings the MuJoCo environments."


def make_environments(environment_id: str, count: int, *, named_by_user: bool = False) -> list[Any]:
    """Make `count` environments of one kind.

    A name with a colon, my_module:MyEnv-v0, imports the module before it, which registers the environment; the working
    directory is looked in first. A name may come from a stranger's file: only what the user typed may import.

    Raises:
        SettingError: the name is not one that Gymnasium knows, or what it needs is not installed.
    """
    import gymnasium
    from gymnasium.error import DependencyNotInstalled
    from gymnasium.error import Error as GymnasiumError

    found = NAME.fullmatch(environment_id)
    if found is None:
        raise SettingError(f"{environment_id!r} is not the name of an environment.", "Expected one such as Hopper-v5.")
    if found["module"] and not named_by_user:
        raise SettingError(
            f"the environment is named {environment_id}, and no file's name for one imports a module here.",
            f"If the module is yours: gipo evaluate RUN --environment {environment_id}",
        )
    if found["module"]:
        _import(found["module"])
        environment_id = found["id"]
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


def _import(module: str) -> None:
    """Import the user's own module, which registers environments; it may lie in the working directory.

    Raises:
        SettingError: there is none, or it fails.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module of the user's own may do
        raise SettingError(
            f"the module {module} cannot be imported ({type(error).__name__}: {brief(error)}).",
            "It is looked for in the working directory and on PYTHONPATH.",
        ) from error


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
