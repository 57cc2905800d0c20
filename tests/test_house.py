"""The plan of the house, kept by a test: which room may import which, what stays free of torch, how long a file is."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

SRC = pathlib.Path(__file__).parents[1] / "src" / "unrolled"

ORDER = [
    {"errors", "lazy", "settings", "shapes"},
    {"state"},
    {"cells"},
    {"engines"},
    {"layers"},
    {"data", "decoding", "bundle"},
    {"tasks"},
    {"training", "inspect", "serving", "exporting"},
    {"presets"},
    {"doctor"},
    {"bench"},
    {"check", "lab"},
    {"cli"},
]
"""Imports run from later rows to earlier ones; rooms of one row do not import each other (the first row may)."""


def rank(room: str) -> int:
    return next(k for k, row in enumerate(ORDER) if room in row)


def files() -> list[pathlib.Path]:
    return sorted(SRC.rglob("*.py"))


def imported_rooms(path: pathlib.Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "unrolled" else [f"unrolled.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("unrolled.")}
    return {r for r in rooms if (SRC / r).is_dir() or (SRC / f"{r}.py").exists()}


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_one_way(path: pathlib.Path) -> None:
    room = path.relative_to(SRC).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):  # the package's face, which resolves its names lazily
        return
    for other in imported_rooms(path) - {room}:
        first = rank(room) == rank(other) == 0
        assert rank(other) < rank(room) or first, f"{room} must not import {other}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_files_stay_short(path: pathlib.Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", sorted((SRC / "tasks").rglob("*.py")), ids=lambda p: p.name)
def test_tasks_hold_no_gate_maths(path: pathlib.Path) -> None:
    words = {n.attr for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Attribute)}
    assert not words & {"sigmoid", "tanh", "chunk"}


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_configurations_and_help_import_no_torch() -> None:
    configs = ["data.config", "tasks.language.config", "training.config", "decoding.config", "tasks.caption.config",
               "tasks.caption.recognise", "lab.config"]  # fmt: skip
    loaded = modules_after("\n".join(f"import unrolled.{c}" for c in configs))
    assert not loaded & {"torch", "numpy"}
    loaded = modules_after(
        "from unrolled.cli.main import main\nsys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: pass"
    )
    assert not loaded & {"torch", "numpy"}


def test_importing_and_using_a_layer_pulls_in_nothing_heavier_than_torch() -> None:
    loaded = modules_after("import unrolled\nunrolled.LSTM(2, 3)")
    assert "torch" in loaded
    own = {"unrolled", "unrolled._native"} | {"unrolled." + room for row in ORDER[:5] for room in row}
    stray = {m for m in loaded - modules_after("import torch") if m.startswith("unrolled.")}
    assert {".".join(m.split(".")[:2]) for m in stray} <= own
    assert not loaded & {"matplotlib", "typer", "rich", "tensorboard", "tokenizers", "safetensors"}
