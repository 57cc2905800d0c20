"""A real SIGKILL, a real limit on the file size, a real file in the way; each in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled.bundle import model as bundle
from unrolled.bundle.checkpoint import load_checkpoint, save_checkpoint
from unrolled.bundle.files import replace_file, write_folder
from unrolled.errors import UserError

SOURCE = str(Path(unrolled.__file__).parents[1])


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


SAVE_FOREVER = """
    import os, sys, torch
    from pathlib import Path
    from unrolled.bundle import model
    from unrolled.bundle.checkpoint import save_checkpoint
    run, n = Path(sys.argv[1]), int(sys.argv[2])
    while True:
        n += 1
        tensors = {str(i): torch.full((20_000,), float(n)) for i in range(10)}
        save_checkpoint(run, n, {"n": n, "tensors": tensors}, keep=1 + n % 3)
        model.save(run, config={"task": "t", "n": n}, tensors=tensors, tokens={"n": n} if n % 2 else None, card="")
        print(n, flush=True)
    """


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_sigkill_in_the_middle_of_saving_leaves_whole_folders(tmp_path: Path) -> None:
    dice, done = random.Random(1), 0
    for _ in range(8):
        process = python(SAVE_FOREVER, str(tmp_path), str(done))
        assert process.stdout is not None
        assert process.stdout.readline(), process.stderr and process.stderr.read()
        time.sleep(dice.uniform(0.0, 0.05))
        process.kill()
        printed, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached = max([done + 1, *(int(line) for line in printed.split() if line.isdecimal())])
        step, state = load_checkpoint(tmp_path)
        assert state["n"] == step
        assert reached <= step <= reached + 1
        assert all(bool((t == step).all()) for t in state["tensors"].values())
        found = bundle.load(tmp_path)
        n = found.config["n"]
        assert reached <= n <= step
        assert all(bool((t == n).all()) for t in found.tensors.values())
        assert found.tokens == ({"n": n} if n % 2 else None)
        done = step
    save_checkpoint(tmp_path, done + 1, {})
    bundle.save(tmp_path, config={"task": "t"}, tensors={}, tokens=None, card="")
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == ["latest", f"step-{done + 1}"]
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


DISK_FULL = """
    import resource, signal, sys, torch
    from pathlib import Path
    from unrolled.bundle import model
    from unrolled.bundle.checkpoint import save_checkpoint
    from unrolled.bundle.metrics import MetricsLog
    from unrolled.errors import UserError
    run = Path(sys.argv[1])
    log = MetricsLog(run / "metrics.jsonl")
    def save(n, size):
        tensors = {"w": torch.full((size,), float(n))}
        for call in (
            lambda: save_checkpoint(run, n, {"n": n, "tensors": tensors}),
            lambda: model.save(run, config={"task": "t", "n": n}, tensors=tensors, tokens=None, card=""),
            lambda: log.write({"step": n, "text": "x" * size}),
        ):
            try:
                call()
            except UserError as e:
                print(e)
    save(1, 1000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    save(2, 100_000)
    save(3, 1000)
    """


def test_a_full_disk_leaves_the_old_one_whole(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    run = tmp_path / "run"
    run.mkdir()
    out, err = python(DISK_FULL, str(run)).communicate()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 3, out
    assert lines[0].startswith(f"{run / 'checkpoint'}: a file would pass the size limit")
    assert lines[1].startswith(f"{run}: a file would pass the size limit")
    assert lines[2].startswith(f"{run}: a file would pass the size limit")
    # What was saved afterwards, in the room that is left, is whole, and nothing half-written lies about.
    assert load_checkpoint(run)[0] == 3
    assert bundle.load(run).config["n"] == 3
    assert [line[:10] for line in (run / "metrics.jsonl").read_text().splitlines()] == ['{"step": 1', '{"step": 3']
    assert sorted(p.name for p in (run / "checkpoint").iterdir()) == ["latest", "step-3"]


def test_a_full_disk_right_after_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC instead of EFBIG, and no later save: the old one is whole and the new one left no trace."""
    save_checkpoint(tmp_path, 1, {"w": torch.ones(2)})
    bundle.save(tmp_path, config={"task": "t", "n": 1}, tensors={}, tokens=None, card="")
    before = sorted(str(p) for p in tmp_path.rglob("*"))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"checkpoint: the disk is full; free some space"):
        save_checkpoint(tmp_path, 2, {"w": torch.ones(2)})
    with pytest.raises(UserError, match="the disk is full"):
        bundle.save(tmp_path, config={"task": "t", "n": 2}, tensors={}, tokens=None, card="")
    with pytest.raises(UserError, match="the disk is full"):
        replace_file(tmp_path / "config.json", b"")
    monkeypatch.undo()
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    assert load_checkpoint(tmp_path)[0] == 1
    assert bundle.load(tmp_path).config["n"] == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for run in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=rf"{run}.*a file is in the way; .*--out") as caught:
            save_checkpoint(run, 1, {})
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match="a file is in the way"):
            bundle.save(run, config={"task": "t"}, tensors={}, tokens=None, card="")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"closed.*not writable"):
        save_checkpoint(closed, 1, {})


def test_write_folder_takes_writers_and_refuses_an_existing_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "b", {"x": b"1", "y": lambda file: file.write(b"2") and None})
    assert (tmp_path / "a" / "b" / "y").read_bytes() == b"2"
    with pytest.raises(UserError):
        write_folder(tmp_path / "a" / "b", {"x": b"3"})
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"1"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
