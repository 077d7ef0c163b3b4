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
    "numpy",
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
        assert outside <= {"numpy", "gipo_cli"}
        assert all(name == "gipo_cli.diagnostics" or name.startswith("gipo_cli.diagnostics.") for name in ours)
    for folder in ("commands", "data/readers", "data/writers", "evaluation/estimators"):
        if place.startswith(f"{folder}/"):
            assert not any(name.startswith("gipo_cli." + folder.replace("/", ".") + ".") for name in ours)


# How a file or directory comes, changes or goes, by the name of the function.
WRITES = {
    "write_bytes", "write_text", "mkdir", "makedirs", "rename", "replace", "renames", "unlink", "remove", "rmdir",
    "rmtree", "touch", "copy", "copyfile", "copytree", "move", "truncate", "save_file", "symlink_to", "savez", "fdopen",
}  # fmt: skip
OF_FILES = {"os", "shutil", "Path", "pathlib", "np", "torch", "safetensors"}
KEEPS_RUNS = [PACKAGE / "runs.py", PACKAGE / "checkpoint_files.py", *sorted((PACKAGE / "training").glob("*.py"))]


def writes(path):
    """Calls that may write a file, as text: `open` with a mode, and what is in WRITES."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        moded = len(node.args) + len(node.keywords) > (0 if of not in ("", "os", "io") else 1)
        reads = any(isinstance(each, ast.Constant) and each.value == "rb" for each in node.args)
        if called == "open" and not reads and of not in ("RunDirectory",) and (moded or of == "os"):
            yield ast.unparse(node)
        elif called in WRITES and not of.startswith(("durable", "checkpoint_files", "dataclasses")) and of:
            # str.replace and dataclasses.replace are called like os.replace.
            if called in ("replace", "copy", "remove", "move") and of.split(".")[0] not in OF_FILES:
                continue
            yield ast.unparse(node)


@pytest.mark.parametrize("path", KEEPS_RUNS, ids=lambda path: path.name)
def test_what_is_in_a_run_directory_is_written_by_durable_alone(path):
    assert list(writes(path)) == []


@pytest.mark.parametrize(
    "line",
    ["open(p, 'w')", "p.open('ab')", "p.write_text('')", "os.replace(a, b)", "os.open(p, 1)", "shutil.rmtree(p)",
     "p.unlink()", "np.savez(p)", "p.mkdir(parents=True)", "os.rename(a, b)", "io.open(p, 'w')"],
)  # fmt: skip
def test_a_write_elsewhere_would_be_found(tmp_path, line):
    (tmp_path / "file.py").write_text(line)
    assert list(writes(tmp_path / "file.py")) == [line]


def test_help_loads_nothing_heavy():
    code = f"import sys, gipo_cli.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
