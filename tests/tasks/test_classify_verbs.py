"""Classifiers from end to end, as a user runs them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.cli.main import main

SMALL = ["--hidden", "12", "--embedding", "8", "--batch", "16", "--lr", "0.02", "--warmup", "5", "--threads", "1"]


def table(path: Path, n: int = 200, seed: int = 0) -> str:
    """Words of which the ending tells the class."""
    rng = random.Random(seed)
    rows = ["text,label"]
    for _ in range(n):
        word = "".join(rng.choice("bcdfgaeiou") for _ in range(rng.randint(2, 7)))
        label = rng.choice(["um", "is", "or"])
        rows.append(f"{word}{label},{label}")
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("classify")
    data, run = table(folder / "words.csv"), str(folder / "run")
    assert main(["train", data, "--out", run, "--steps", "150", *SMALL]) == 0
    return run, data


def test_a_recognised_table_says_its_task_and_ends_with_a_report(cli: Any, tmp_path: Path) -> None:
    data = table(tmp_path / "words.csv")
    code, out, err = cli("train", data, "--out", tmp_path / "run", "--steps", 30, *SMALL)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == (
        f"{data}: taken for the task classify, since it has columns text and label (--task names another)"
    )
    assert "3 classes; examples: train" in lines[1]
    for words in ("held-out      accuracy ", "macro_f1", "baseline      accuracy", "linear model on character 1-4",
                  "the most frequent class", "confusion (rows", "unrolled predict", "confusion.png"):  # fmt: skip
        assert words in out
    assert (tmp_path / "run" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| held-out accuracy | " in card
    assert "unrolled predict FOLDER INPUT" in card
    assert cli("runs", tmp_path)[1].splitlines()[1].split()[:3] == ["run", "classify", "finished"]
    assert "accuracy " in cli("runs", tmp_path)[1]


def test_runs_are_called_after_the_task_and_its_own_data_is_there(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("train", "--task", "classify", "--steps", 2, *SMALL)
    assert code == 0, err
    assert "generated names of made-up languages: 8 classes" in out
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-classify-1")
    assert cli("predict", "@latest", "Aluviel")[0] == 0
    assert cli("evaluate", "--json")[0] == 0
    code, out, _ = cli("train", "--task", "classify", "--dry-run", *SMALL)
    assert code == 0
    assert "estimated" in out


def test_predict_in_words_and_json(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run, _ = trained
    code, out, err = cli("predict", run, "badum", "codis", "fegor")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["um", "is", "or"]
    (tmp_path / "in.txt").write_text("badum\n\ncodis\n")
    found = [
        json.loads(line)
        for line in cli("predict", run, "--file", tmp_path / "in.txt", "--json", "--top", 3)[1].splitlines()
    ]
    assert [f["input"] for f in found] == ["badum", "", "codis"]
    assert found[0]["class"] == "um"
    assert len(found[0]["top"]) == 3
    assert sum(found[0]["top"].values()) == pytest.approx(1.0, abs=1e-5)
    one = json.loads(cli("predict", run, "badum", "--json", "--at-once", 1)[1])
    assert one["probability"] == pytest.approx(found[0]["probability"], abs=1e-4)
    silent = json.loads(cli("predict", run, "badum", "--threshold", 1.0, "--json")[1])
    assert silent["class"] is None
    assert cli("predict", run, "badum", "--threshold", 1.0)[1].startswith("- (at most")


def test_evaluate_again_and_elsewhere(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run, _ = trained
    saved = json.loads((Path(run) / "config.json").read_text())["result"]
    found = json.loads(cli("evaluate", run, "--json", "--predictions", tmp_path / "out.tsv")[1])
    assert found["figures"]["accuracy"] == pytest.approx(saved["figures"]["accuracy"][0])
    assert len(found["baselines"]) == 2
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert lines[0] == "where\tinput\ttarget\tpredicted\tprobability"
    assert len(lines) > 10
    other = table(tmp_path / "other.csv", 50, seed=7)
    found = json.loads(cli("evaluate", run, other, "--json", "--threshold", 0.5, "--pictures", tmp_path / "p")[1])
    assert found["part"] == "all"
    assert found["figures"]["accuracy"] > 0.8
    assert 0 < found["figures"]["answered"] <= 1
    assert (tmp_path / "p" / "confusion.png").exists()
    (tmp_path / "strange.csv").write_text("text,label\na,x\nb,um\n")
    code, _, err = cli("evaluate", run, tmp_path / "strange.csv")
    assert (code, "strange.csv:2: the model has no class 'x'" in err) == (2, True)


def test_a_path_that_cannot_be_written_does_not_cost_the_figures(
    cli: Any, trained: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for flag, path in (("--predictions", tmp_path / "nowhere" / "out.tsv"), ("--pictures", tmp_path / "file" / "in")):
        code, out, err = cli("evaluate", trained[0], flag, path)
        assert (code, err.count("\n")) == (2, 1)
        assert "accuracy" in out
        assert flag in err


def test_killed_in_the_middle_and_resumed_equals_uninterrupted(cli: Any, tmp_path: Path) -> None:
    data = table(tmp_path / "words.csv")
    settings = [*SMALL, "--dropout", 0.3, "--word-dropout", 0.1, "--checkpoint-every", 7]
    assert cli("train", data, "--out", tmp_path / "whole", "--steps", 60, *settings)[0] == 0
    assert cli("train", data, "--out", tmp_path / "cut", "--steps", 60, "--schedule", "cosine", *settings)[0] == 0
    from unrolled.bundle.checkpoint import load_checkpoint

    step, _ = load_checkpoint(tmp_path / "cut")
    assert step == 60
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "cut" / "model.safetensors"
    ).read_bytes()
    code, out, err = cli("train", "--resume", tmp_path / "cut", "--steps", 80)
    assert code == 0, err
    assert "going on at step 60" in out
    code, _, err = cli("train", "--resume", tmp_path / "cut", "--hidden", 13, "--steps", 90)
    assert (code, "--hidden 13: this run has 12" in err) == (2, True)


def test_init_from_takes_classes_by_name(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(
        "text,label\n" + "".join(f"ba{e}{k},{e}\n" for k in range(30) for e in ("um", "ax"))
    )
    code, out, err = cli(
        "train", tmp_path / "new.csv", "--init-from", trained[0], "--out", tmp_path / "run", "--steps", 2
    )
    assert code == 0, err
    assert "copied: embedding.weight" in out
    assert "classes: 1 units kept, 1 new: ax, 2 dropped" in out


def test_truncation_is_on_request_and_said(cli: Any, tmp_path: Path) -> None:
    data, run = table(tmp_path / "words.csv", 60), tmp_path / "run"
    code, out, err = cli("train", data, "--out", run, "--steps", 2, "--bptt", 3, *SMALL)
    assert code == 0, err
    assert "--bptt 3: the gradient is truncated, cut every 3 steps, in" in out
    assert "truncated: cut every 3 steps (--bptt 3)" in (run / "README.md").read_text()
    code, out, err = cli("train", data, "--out", tmp_path / "exact", "--steps", 2, *SMALL)
    assert code == 0, err
    assert "truncated" not in out
    assert "exact, over the whole sequence" in (tmp_path / "exact" / "README.md").read_text()
    weights = [(folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "exact")]
    assert weights[0] != weights[1]


def test_verbs_of_the_language_model_are_refused(cli: Any, trained: tuple[str, str]) -> None:
    for arguments in (["sample", trained[0]], ["score", trained[0], trained[1]]):
        code, _, err = cli(*arguments)
        assert code == 2
        assert "a classify model" in err
        assert "unrolled predict" in err


def test_help_is_the_tasks_own(cli: Any, trained: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = cli("train", "--task", "classify", "--help")[1]
    assert "--word-dropout" in shown
    assert "--stride" not in shown
    assert "--threshold" in cli("predict", trained[0], "--help")[1]
    assert "--bptt" in shown
    assert "--stride" in cli("train", "--help")[1]


def test_numbers_several_labels_and_a_number(cli: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    up = rng.integers(0, 2, 120)
    x = np.cumsum(rng.normal(np.where(up, 0.5, -0.5)[:, None], 0.3, (120, 9)), 1)[..., None]
    np.savez(tmp_path / "x.npz", x=x, y=up)
    code, out, err = cli(
        "train", "--task", "classify", tmp_path / "x.npz", "--out", tmp_path / "n", "--steps", 60, *SMALL
    )
    assert code == 0, err
    assert "the nearest neighbour" in out
    np.save(tmp_path / "two.npy", x[:2])
    answers = cli("predict", tmp_path / "n", tmp_path / "two.npy", "--json")[1].splitlines()
    assert [json.loads(a)["class"] for a in answers] == [str(k) for k in up[:2]]
    code, _, err = cli("predict", tmp_path / "n", "words")
    assert (code, "no such file" in err) == (2, True)

    words = table(tmp_path / "w.csv")
    rows = [line.split(",") for line in Path(words).read_text().splitlines()[1:]]
    (tmp_path / "s.jsonl").write_text("".join(
        json.dumps({"text": t, "labels": [y] + (["long"] if len(t) > 6 else [])}) + "\n" for t, y in rows))  # fmt: skip
    code, out, err = cli("train", "--task", "classify", tmp_path / "s.jsonl", "--target", "several", "--out",
                         tmp_path / "s", "--steps", 150, *SMALL)  # fmt: skip
    assert code == 0, err
    assert "micro_f1" in out
    said = json.loads(cli("predict", tmp_path / "s", "badafegum", "--json")[1])
    assert "um" in said["labels"]

    (tmp_path / "l.csv").write_text("text,score\n" + "".join(f"{t},{len(t)}\n" for t, _ in rows))
    code, out, err = cli("train", "--task", "classify", tmp_path / "l.csv", "--target", "number", "--out",
                         tmp_path / "l", "--steps", 200, *SMALL)  # fmt: skip
    assert code == 0, err
    assert "mae" in out
    assert json.loads(cli("predict", tmp_path / "l", "badegum", "--json")[1])["value"] == pytest.approx(7, abs=1.5)


def test_ten_examples_are_learnt_by_heart(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "ten.csv").write_text("text,label\n" + "".join(f"{t},{k % 2}\n" for k, t in enumerate("abcdefghij")))
    code, out, err = cli("train", "--task", "classify", tmp_path / "ten.csv", "--heldout", 0, "--dev", 0, "--keep",
                         "last", "--out", tmp_path / "run", "--steps", 200, "--dropout", 0, *SMALL)  # fmt: skip
    assert code == 0, err
    assert "nothing was held out" in out
    found = json.loads(cli("evaluate", tmp_path / "run", tmp_path / "ten.csv", "--json")[1])
    assert found["figures"]["accuracy"] == 1.0
