"""Four members of a small ensemble, and the states that they are left in."""

import json
import shutil

SETTINGS = (
    "--device", "cpu", "--steps", "40", "--set", "critic_steps=40", "--set", "report_every=5",
    "--set", "checkpoint_every=10",
)  # fmt: skip
LISTS = ("--seeds", "0-1", "--sigma", "0.5,2")
NAMES = ("seed-0-sigma-0.5", "seed-0-sigma-2", "seed-1-sigma-0.5", "seed-1-sigma-2")


def command_of(log, place):
    return ("train", "--dataset", log, *LISTS, "--out", place, *SETTINGS, "--quiet")


def everything(place):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file()}


def stopped(place, steps):
    """Members as a kill leaves them that came when each had the checkpoints up to a step of its own."""
    for name, newest in steps.items():
        run = place / name
        for path in run.glob("checkpoints/step-*"):
            if int(path.name[5:]) > newest:
                shutil.rmtree(path)
        (run / "latest").write_text(f"step-{newest:08d}\n")
        (run / "log_ratios.npz").unlink()
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
    return place
