"""sbatch, srun, squeue and scancel, by the name under which this is called: a Slurm of this machine alone.

Jobs are processes; what is known of each lies in $FAKE_SLURM: ID.sh (its script), ID.state, ID.pid. While there is a
file `hold`, jobs wait in the queue; with one `refuse`, sbatch takes none, and says what is in it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PLACE = Path(os.environ.get("FAKE_SLURM", "."))


def install(place: Path, path: str) -> dict[str, str]:
    """Make the programs; the environment in which they are found."""
    programs, state = place / "bin", place / "slurm-state"
    programs.mkdir(parents=True)
    state.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (programs / name).write_text(f"#!{sys.executable} -S\n{Path(__file__).read_text()}")
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:{path}", "FAKE_SLURM": str(state)}


def sbatch(script: str) -> None:
    if (PLACE / "refuse").exists():
        sys.exit((PLACE / "refuse").read_text().strip())
    number = 100 + len(list(PLACE.glob("*.sh")))
    (PLACE / f"{number}.sh").write_text(Path(script).read_text())
    say(number, "PENDING")
    subprocess.Popen(
        [sys.executable, "-S", __file__, str(number)], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    print(f"Submitted batch job {number}")


def node(number: int) -> None:
    """What runs a job where Slurm would."""
    while (PLACE / "hold").exists() and state_of(number) == "PENDING":
        time.sleep(0.05)
    if state_of(number) == "CANCELLED":
        return
    say(number, "RUNNING")
    (PLACE / f"{number}.pid").write_text(str(os.getpid()))
    job = {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    code = subprocess.run(["bash", PLACE / f"{number}.sh"], env={**os.environ, **job}).returncode
    cancelled = state_of(number) == "COMPLETING"
    say(number, "CANCELLED" if cancelled else "FAILED" if code else "COMPLETED")


def srun(*arguments: str) -> None:
    given = [text.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0") for text in arguments]
    for option, handle in (("--output", 1), ("--error", 2)):
        at = given.index(option)
        os.dup2(os.open(given[at + 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), handle)
    command = given[given.index("--error") + 2 :]
    os.execv(command[0], command)


def squeue(*options: str) -> None:
    assert "--format=%i|%T|%j" in options
    for path in sorted(PLACE.glob("*.state")):
        label = re.search(r"--job-name=(\S+)", path.with_suffix(".sh").read_text())
        print(f"{path.stem}|{path.read_text()}|{label[1]}")


def scancel(*numbers: str) -> None:
    for number in numbers:
        if state_of(number) == "PENDING":
            say(number, "CANCELLED")
        elif state_of(number) == "RUNNING":
            say(number, "COMPLETING")
            tell(number, signal.SIGTERM)


def tell(number: object, what: signal.Signals, place: Path = PLACE) -> None:
    """As Slurm does: every process of the job but the shell gets the signal."""
    found = list(offspring(int((place / f"{number}.pid").read_text())))
    for process in found:
        with suppress(OSError):
            if "bash" not in Path(f"/proc/{process}/comm").read_text():
                os.kill(process, what)


def offspring(process: int) -> "list[int]":
    with suppress(OSError):
        children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        return children + [further for child in children for further in offspring(child)]
    return []


def say(number: object, state: str) -> None:
    aside = PLACE / f".{number}.{os.getpid()}"
    aside.write_text(state)
    aside.replace(PLACE / f"{number}.state")


def state_of(number: object) -> str:
    return (PLACE / f"{number}.state").read_text()


if __name__ == "__main__":
    if sys.argv[1:] and Path(__file__).name == "sbatch" and sys.argv[1].isdigit():
        node(int(sys.argv[1]))
    else:
        globals()[Path(__file__).name](*sys.argv[1:])
