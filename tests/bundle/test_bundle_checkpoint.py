"""Checkpoints: what comes back, what stays, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.bundle import checkpoint
from unrolled.bundle.checkpoint import load_checkpoint, save_checkpoint
from unrolled.errors import UserError


def state(value: float) -> dict[str, Any]:
    return {"weights": {"w": torch.full((3,), value)}, "optimiser": {0: (value, torch.ones(2))}, "best": float("inf")}


def names(run: Path) -> list[str]:
    return sorted(p.name for p in (run / "checkpoint").iterdir())


def test_round_trip_and_layout(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 7, state(1.5))
    assert folder == tmp_path / "checkpoint" / "step-7"
    step, found = load_checkpoint(tmp_path)
    assert step == 7
    assert found["optimiser"][0][0] == 1.5
    assert found["best"] == float("inf")
    assert torch.equal(found["weights"]["w"], torch.full((3,), 1.5))
    assert (tmp_path / "checkpoint" / "latest").read_text() == "step-7\n"
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]


def test_the_oldest_go(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert names(tmp_path) == ["latest", "step-10", "step-9"]
    assert load_checkpoint(tmp_path)[0] == 9  # the last one written, not the largest
    save_checkpoint(tmp_path, 11, state(11))
    assert names(tmp_path) == ["latest", "step-11"]
    with pytest.raises(ValueError, match="keep"):
        save_checkpoint(tmp_path, 12, state(0), keep=0)


def test_the_same_step_again(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        save_checkpoint(tmp_path, 5, state(value))
        step, found = load_checkpoint(tmp_path)
        assert (step, found["optimiser"][0][0]) == (5, value)
        assert len(names(tmp_path)) == 2


def test_saving_the_same_step_again_never_puts_the_first_at_risk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 5, state(1.0))

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_folder", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 5, state(2.0))
    assert load_checkpoint(tmp_path)[1]["optimiser"][0][0] == 1.0


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    root = tmp_path / "checkpoint"
    for left in (".step-2.new", ".step-0.old", "step-3"):  # the last: renamed, but the pointer was never replaced
        (root / left).mkdir()
        (root / left / "state.json").write_text("half")
    (root / ".latest.new").write_text("st")
    assert load_checkpoint(tmp_path)[0] == 1
    save_checkpoint(tmp_path, 3, state(3))
    assert names(tmp_path) == ["latest", "step-3"]
    assert load_checkpoint(tmp_path)[0] == 3


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "manifest.json"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-4]), "truncated|altered"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b"1", b"2")), "altered|format 2|truncated"),
        (lambda p: p.unlink(), "missing"),
        (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "a pickle"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, damage: Callable[[Path], Any], words: str) -> None:
    save_checkpoint(tmp_path, 1, {"w": torch.tensor([ord("1")] * 64, dtype=torch.uint8), "n": 111})
    damage(tmp_path / "checkpoint" / "step-1" / name)
    with pytest.raises(UserError, match=rf"{name}: .*({words})") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("pointer", ["../../etc", "", "step-x", "/tmp/step-1", "step-1\nstep-2"])
def test_a_pointer_cannot_lead_elsewhere(tmp_path: Path, pointer: str) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "checkpoint" / "latest").write_text(pointer)
    with pytest.raises(UserError, match="latest: altered"):
        load_checkpoint(tmp_path)


def test_a_pointer_to_nothing_names_what_there_is(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "checkpoint" / "latest").write_text("step-2\n")
    with pytest.raises(UserError, match=r"step-2: missing.* write one of these into latest: step-1"):
        load_checkpoint(tmp_path)


def test_a_state_that_names_a_missing_tensor(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 1, state(1))
    files = {n: (folder / n).read_bytes() for n in ("state.json", "tensors.safetensors")}
    files["state.json"] = files["state.json"].replace(b"weights/w", b"weights/v")
    (folder / "state.json").write_bytes(files["state.json"])
    (folder / "manifest.json").write_bytes(checkpoint.describe(files))
    with pytest.raises(UserError, match="names a tensor that is not there"):
        load_checkpoint(tmp_path)
    assert json.loads(files["state.json"])["step"] == 1
