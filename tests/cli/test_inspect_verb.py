"""``unrolled inspect`` as a user runs it: one page, the same numbers, and every mistake in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from unrolled.cli.main import main

FEW = ["--steps", 12, "--positions", 16, "--chars", 600, "--threads", 1]
TEXT = 'He said "that is all", and (we know) left.\n  "Not yet," she cried, "not now."\n' * 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    (folder / "text.txt").write_text(TEXT)
    run = folder / "run"
    small = ["--hidden", "16", "--layers", "2", "--batch", "8", "--bptt", "32", "--steps", "30", "--threads", "1"]
    assert main(["train", str(folder / "text.txt"), "--out", str(run), *small]) == 0
    return run


def test_a_run_becomes_one_page_and_the_same_numbers(cli: Any, trained: Path) -> None:
    code, out, err = cli("inspect", trained, *FEW)
    assert code == 0, err
    page, numbers = trained / "inspect.html", json.loads((trained / "inspect.json").read_text())
    markup = page.read_text(encoding="utf-8")
    for name in ("flow", "jacobian", "gates", "memory", "units", "weights"):
        assert f'id="{name}"' in markup
        assert numbers[name]
    assert "http" not in markup.replace("http://www.w3.org", "")  # nothing is fetched
    assert markup.count("<svg") >= 6
    assert markup.count("<figcaption>") >= markup.count("<svg")
    assert str(page) in out
    assert "back" in out
    code, out, _ = cli("inspect", trained, "--only", "gates", *FEW, "--json", "--out", trained / "one.html")
    assert json.loads(out)["gates"] == numbers["gates"]
    assert "flow" not in json.loads(out)


def test_two_texts_stand_side_by_side(cli: Any, trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1])
    page = tmp_path / "both.html"
    code, _, err = cli("inspect", trained, "--against", other, "--only", "units,gates", *FEW, "--out", page)
    assert code == 0, err
    markup = page.read_text(encoding="utf-8")
    assert 'id="gates-other"' in markup
    assert "run on other.txt" in markup


def test_a_text_in_another_encoding(cli: Any, trained: Path, tmp_path: Path) -> None:
    wide, page = tmp_path / "wide.txt", tmp_path / "wide.html"
    wide.write_text(TEXT, encoding="utf-16")
    few = ("--only", "gates", *FEW, "--out", page)
    code, _, err = cli("inspect", trained, wide, *few)
    assert code == 2
    assert "use --encoding utf-16" in err
    code, _, err = cli("inspect", trained, wide, "--encoding", "utf-16", *few)
    assert code == 0, err
    assert "wide.txt" in page.read_text(encoding="utf-8")
    numbers = json.loads((tmp_path / "wide.json").read_text())["gates"]
    (tmp_path / "same.txt").write_text(TEXT)
    assert cli("inspect", trained, tmp_path / "same.txt", "--only", "gates", *FEW, "--out", page)[0] == 0
    assert json.loads((tmp_path / "wide.json").read_text())["gates"] == numbers
    for asked in ((trained, wide, "--encoding", "morse"), ("--preset", "caption", "--encoding", "utf-8")):
        code, _, err = cli("inspect", *asked, *few)
        assert code == 2
        assert err.count("\n") == 1
        assert f"--encoding {asked[-1]}" in err


def test_a_text_with_units_that_the_vocabulary_lacks(cli: Any, trained: Path, tmp_path: Path) -> None:
    strange, page = tmp_path / "strange.txt", tmp_path / "page.html"
    strange.write_text(TEXT.replace("that", "that жизнь"), encoding="utf-8")
    few = ("--only", "gates", *FEW, "--out", page)
    code, _, err = cli("inspect", trained, strange, *few)
    assert code == 2
    assert "use --unknown skip" in err
    code, _, err = cli("inspect", trained, strange, "--unknown", "skip", *few)
    assert code == 0, err
    assert "that the vocabulary lacks were left out (--unknown skip)" in page.read_text(encoding="utf-8")
    numbers = json.loads(page.with_suffix(".json").read_text())["gates"]
    (tmp_path / "same.txt").write_text(TEXT.replace("that", "that "))
    assert cli("inspect", trained, tmp_path / "same.txt", *few)[0] == 0
    assert json.loads(page.with_suffix(".json").read_text())["gates"] == numbers
    for asked in ((trained, strange, "--unknown", "drop"), ("--preset", "caption", "--unknown", "skip")):
        code, _, err = cli("inspect", *asked, *few)
        assert code == 2
        assert "--unknown" in err
        assert asked[-1] in err


def test_a_preset_is_looked_into_before_it_is_trained(cli: Any, trained: Path, tmp_path: Path) -> None:
    text, page = trained.parent / "text.txt", tmp_path / "fresh.html"
    code, out, err = cli("inspect", "--preset", "min-char-rnn", text, "--only", "flow,gates", *FEW, "--out", page)
    assert code == 0, err
    assert "untrained" in page.read_text(encoding="utf-8")
    assert "back" in out


@pytest.mark.parametrize("preset", ["classify", "tag", "translate", "caption", "forecast"])
def test_every_task_has_flow_jacobian_gates_and_weights(cli: Any, tmp_path: Path, preset: str) -> None:
    page = tmp_path / "page.html"
    few = ["--steps", 8, "--positions", 8, "--threads", 1]
    code, _, err = cli("inspect", "--preset", preset, *few, "--out", page)
    assert code == 0, err
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert {"flow", "jacobian", "gates", "weights"} <= numbers.keys()
    assert "memory" not in numbers
    assert numbers["task"] == preset


def test_diagrams_of_a_run_and_of_the_lecture(cli: Any, trained: Path, tmp_path: Path) -> None:
    code, _, err = cli("inspect", trained, "--diagram", "--out", tmp_path / "own")
    assert code == 0, err
    assert {p.name for p in (tmp_path / "own").iterdir()} == {
        "diagram.svg", "diagram.pdf", "diagram-cell.svg", "diagram-cell.pdf"
    }  # fmt: skip


def test_mistakes_end_in_one_line(cli: Any, trained: Path, tmp_path: Path) -> None:
    short, strange = tmp_path / "short.txt", tmp_path / "strange.txt"
    short.write_text("He said")
    strange.write_text("жизнь " * 200)
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    for arguments, words in (
        ((trained, "--only", "everything"), "--only everything: not one of flow, jacobian"),
        ((trained, "--out", "page.pdf"), "--out page.pdf: the page is HTML"),
        ((trained, short, *FEW), "short.txt"),
        ((trained, strange, *FEW), "strange.txt"),
        ((trained, tmp_path / "none.txt"), "none.txt"),
        (("--preset", "tag", "--only", "memory"), "--only memory: reads what is predicted at each step"),
        (("--preset", "quick", "--against", trained), "--against"),
        ((trained, "--only", "units", "--pattern", "(", *FEW), "("),
        ((trained, "--only", "units", "--features", "smells", *FEW), "smells"),
        ((tmp_path / "nothing",), "nothing"),
    ):
        code, _, err = cli("inspect", *arguments)
        assert code == 2, arguments
        assert words in err, (arguments, err)
        assert len(err.splitlines()) == 1, err


def test_weights_that_are_not_numbers_are_named(cli: Any, trained: Path, tmp_path: Path) -> None:
    import hashlib

    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["rnn.weight_hh_l1"][3, 2] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    manifest = json.loads((broken / "manifest.json").read_text())
    content = (broken / "model.safetensors").read_bytes()
    entry = manifest["files"]["model.safetensors"]
    entry.update({"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    (broken / "manifest.json").write_text(json.dumps(manifest))
    for only in ([], ["--only", "memory"], ["--only", "units"]):
        code, _, err = cli("inspect", broken, *FEW, *only)
        assert code == 2
        assert "rnn.weight_hh_l1: 1 of " in err
