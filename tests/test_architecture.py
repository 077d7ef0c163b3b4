import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gipo_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
ONLY_IN = {"rich": ("rendering/terminal.py",), "matplotlib": ("rendering/plots.py",), "typer": ("cli.py", "commands/")}
FORBIDDEN = {"click", "pickle"}
# Its docstring says why; nothing else unpickles, and this only tensors.
TORCH_LOADS = ("policies/stable_baselines3.py",)
HEAVY = (
    "torch",
    "minari",
    "h5py",
    "gymnasium",
    "matplotlib",
    "pydantic",
    "safetensors",
    "pyarrow",
    "scipy",
    "submitit",
    "ray",
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_file_keeps_to_its_place(path):
    place = path.relative_to(PACKAGE).as_posix()
    found = set(imports(path))
    tops = {name.split(".")[0] for name in found}
    assert not tops & FORBIDDEN
    for library, places in ONLY_IN.items():
        assert library not in tops or place.startswith(places)
    assert path.stem not in {"utils", "base", "core", "helpers", "common"}
    assert len(path.read_text().splitlines()) <= 400
    text = path.read_text()
    assert "torch.save(" not in text
    assert text.count("torch.load(") == len(re.findall(r"torch\.load\([^\n]*, weights_only=True\)", text))
    assert "torch.load(" not in text or place in TORCH_LOADS
    outside = tops - set(sys.stdlib_module_names)
    ours = {name for name in found if name.startswith("gipo_cli")}
    if place.startswith("objectives/"):
        assert outside <= {"torch", "gipo_cli"}
        # errors and settings are leaves of the standard library alone.
        allowed = ("gipo_cli.errors", "gipo_cli.settings")
        assert all(name in allowed or name.startswith("gipo_cli.objectives.") for name in ours)
    if place.startswith("diagnostics/"):
        assert outside <= {"numpy", "gipo_cli"} | ({"arviz_stats"} if path.stem == "pareto_k" else set())
        assert all(name == "gipo_cli.diagnostics" or name.startswith("gipo_cli.diagnostics.") for name in ours)
    for folder in ("commands", "data/readers", "data/writers", "evaluation/estimators"):
        if place.startswith(f"{folder}/"):
            assert not any(name.startswith("gipo_cli." + folder.replace("/", ".") + ".") for name in ours)


def test_help_loads_nothing_heavy():
    code = f"import sys, gipo_cli.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
