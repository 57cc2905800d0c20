"""A model folder: round trip, and the gallery of what may be wrong with one."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unrolled.bundle import files as files_module
from unrolled.bundle import model as bundle
from unrolled.bundle.manifest import disguise
from unrolled.bundle.tensors import to_bytes
from unrolled.errors import UserError


class Bomb:
    """Opening its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.path), "w")


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"w": torch.full((5, 4), value), "b": torch.arange(3)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "one"
    config = {"task": "language", "model": {"hidden": 8}, "note": "ü"}
    bundle.save(path, config=config, tensors=weights(), tokens={"kind": "char", "units": ["a", "\n"]}, card="# Card\n")
    return path


def test_round_trip(run: Path) -> None:
    found = bundle.load(run)
    assert found.path == run
    assert found.config["model"] == {"hidden": 8}
    assert found.config["format"] == 1
    assert found.config["unrolled"]
    assert found.tokens == {"kind": "char", "units": ["a", "\n"]}
    assert torch.equal(found.tensors["w"], weights()["w"])
    assert (run / "README.md").read_text() == "# Card\n"
    assert sorted(p.name for p in run.iterdir()) == [
        "README.md", "config.json", "manifest.json", "model.safetensors", "tokens.json",
    ]  # fmt: skip
    listed = json.loads((run / "manifest.json").read_text())["files"]
    assert listed["model.safetensors"]["sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert set(listed) == {"config.json", "model.safetensors", "tokens.json"}


def test_a_second_save_replaces_the_first_as_a_whole(run: Path) -> None:
    bundle.save(run, config={"task": "forecast"}, tensors={"x": torch.zeros(1)}, tokens=None, card="")
    found = bundle.load(run)
    assert (found.config["task"], list(found.tensors), found.tokens) == ("forecast", ["x"], None)
    assert not (run / "tokens.json").exists()


def test_other_files_in_the_folder_and_an_edited_card_do_no_harm(run: Path) -> None:
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "README.md").write_text("my own words")
    assert bundle.load(run).config["task"] == "language"


def test_a_moved_folder_loads(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "elsewhere")
    assert bundle.load(tmp_path / "elsewhere").tokens is not None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


PARTS = ("config.json", "model.safetensors", "tokens.json")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(
    ("damage", "word"),
    [(cut, "truncated"), (empty, "truncated"), (flip, "altered"), (grow, "altered"), (Path.unlink, "missing")],
)
def test_damage_is_named(run: Path, name: str, damage: Callable[[Path], None], word: str) -> None:
    damage(run / name)
    one_line(run, rf"{name}: {word}")


@pytest.mark.parametrize("damage", [cut, empty])
def test_a_damaged_manifest_is_named(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / "manifest.json")
    one_line(run, "manifest.json: altered")


@pytest.mark.parametrize(
    "content",
    [b"[]", b'{"format": 1}', b'{"format": true, "files": {}}', b'{"format": "1", "files": {}}', b'{"files": {}}',
     b'{"format": 1, "files": {"config.json": 3}}', b'{"format": 1, "files": {}}', b"[" * 100_000, b"\xff\xfe"],
)  # fmt: skip
def test_a_manifest_of_another_shape_is_named(run: Path, content: bytes) -> None:
    (run / "manifest.json").write_bytes(content)
    one_line(run, "manifest.json: altered")


def test_no_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()
    one_line(run, "manifest.json: missing")


def sign_again(run: Path) -> None:
    """What an attacker would do: make the manifest agree with the files."""
    manifest = json.loads((run / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        data = (run / name).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_newer_format_is_refused(run: Path, name: str) -> None:
    saved = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(saved | {"format": 2, "unrolled": "9.1"}))
    sign_again(run)
    one_line(run, rf"{name}: written by unrolled 9.1 in format 2; .*pip install --upgrade unrolled")


def pickles(tmp_path: Path) -> dict[str, bytes]:
    bomb = Bomb(tmp_path / "exploded")
    zipped = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, zipped)
    legacy = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, legacy, _use_new_zipfile_serialization=False)
    made = {f"protocol {p}": pickle.dumps([bomb, {"a": 1}], protocol=p) for p in range(6)}
    return made | {"torch.save": zipped.getvalue(), "torch.save, legacy": legacy.getvalue()}


KINDS = [*(f"protocol {p}" for p in range(6)), "torch.save", "torch.save, legacy"]


@pytest.mark.parametrize("name", [*PARTS, "manifest.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_in_disguise_is_named_and_never_opened(run: Path, tmp_path: Path, name: str, kind: str) -> None:
    (run / name).write_bytes(pickles(tmp_path)[kind])
    if name != "manifest.json":
        sign_again(run)
    one_line(run, rf"{name}: a (pickle|zip with a pickle inside).*never opens")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_instead_of_a_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model.pt").write_bytes(pickles(tmp_path)[kind])
    one_line(tmp_path / "model.pt", "pickle")
    one_line(tmp_path, "no model here, only model.pt")
    assert not (tmp_path / "exploded").exists()


def test_no_safetensors_file_is_taken_for_a_pickle() -> None:
    lengths = set()
    for n in range(600):
        data = to_bytes({"x" * n: torch.zeros(1)})
        lengths.add(data[:2])
        assert disguise(data) is None, n
    assert b"\x80\x02" in lengths  # the one that begins as a pickle does
    assert disguise(b"") is None


def test_signed_nonsense_is_still_refused(run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"nonsense")
    sign_again(run)
    one_line(run, "model.safetensors: altered")
    (run / "config.json").write_text('{"format": 1}')
    sign_again(run)
    one_line(run, "config.json: altered .it names no task")


def test_what_is_not_a_bundle_is_said(tmp_path: Path) -> None:
    one_line(tmp_path / "nowhere", "nowhere: no such folder")
    one_line(tmp_path, "no model here")
    (tmp_path / "file").write_text("hello")
    one_line(tmp_path / "file", "file: a file, not a model")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "latest").write_text("step-3\n")
    one_line(tmp_path, "interrupted; go on with unrolled train --resume")


def one_line(run: Path, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        bundle.load(run)
    assert "\n" not in str(caught.value)


class CutOffError(Exception):
    """Stands for a kill: nothing of ours runs after it."""


@pytest.mark.parametrize("when", range(12))
def test_a_save_cut_off_anywhere_leaves_the_old_or_the_new(
    run: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """Cut before the n-th rename or write; no clean-up runs. The next load and the next save both manage."""
    left = [when]

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            if left[0] == 0:
                raise CutOffError
            left[0] -= 1
            real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, "replace", counted(files_module.os.replace))
        patch.setattr(bundle, "write_synced", counted(bundle.write_synced))
        settle, calls = bundle._settle, []

        def only_before_and_after(path: Path) -> None:  # a killed process does not clean up
            calls.append(path)
            if left[0] > 0 or len(calls) == 1:
                settle(path)

        patch.setattr(bundle, "_settle", only_before_and_after)
        try:
            bundle.save(run, config={"task": "new"}, tensors=weights(2), tokens={"kind": "byte"}, card="")
            finished = True
        except CutOffError:
            finished = False
    found = bundle.load(run)
    new = found.config["task"] == "new"
    assert (found.tensors["w"][0, 0].item(), found.tokens == {"kind": "byte"}) == (2.0 if new else 1.0, new)
    assert new or not finished
    bundle.save(run, config={"task": "third"}, tensors=weights(3), tokens=None, card="")
    assert bundle.load(run).tensors["w"][0, 0] == 3
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]
