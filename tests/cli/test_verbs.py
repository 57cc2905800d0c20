"""The verbs from end to end, as a user runs them, and what wrong input gets: one line, exit code 2, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.bundle.lock import LOCK, only_one
from unrolled.cli.main import main
from unrolled.training.records import TIME_FIELDS

SMALL = ["--hidden", "16", "--batch", "4", "--bptt", "16", "--embedding", "8"]
WORDS = ("the net ", "reads and ", "writes a ", "line.\n", "It forgets ", "and learns.\n")


def a_text(length: int = 6000, seed: int = 0) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) for _ in range(length // 5))[:length]


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(a_text())
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A run and its text."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(a_text())
    text, run = str(folder / "text.txt"), str(folder / "run")
    assert main(["train", text, "--out", run, "--steps", "60", *SMALL]) == 0
    return run, text


def metrics(run: Path | str) -> list[dict[str, Any]]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIME_FIELDS} for line in lines]


# -- the main road -------------------------------------------------------------------------------------------------


def test_train_tells_what_it_read_and_where_the_model_is(cli: Any, text: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, out, _ = cli("train", text, "--out", run, "--steps", 40, *SMALL)
    assert code == 0
    first, last = out.splitlines()[0], out.splitlines()[-2:]
    assert "text.txt: 6,000 bytes" in first
    assert "char units" in first
    assert "held-out loss" in out
    assert "baseline" in out
    assert last == [f"try           unrolled sample {run}", f"              unrolled score {run} FILE"]
    names = {p.name for p in run.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokens.json", "manifest.json", "README.md", "metrics.jsonl",
                     "loss.png", "tensorboard", "checkpoint"}  # fmt: skip
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_dry_run_writes_nothing(cli: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("train", text, "--dry-run", *SMALL)
    assert code == 0
    for word in ("parameters", "memory", "estimated", "units per pass"):
        assert word in out
    assert not (tmp_path / "runs").exists()


def test_runs_get_the_next_free_folder(cli: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli("train", text, "--steps", 3, *SMALL)[0] == 0
    assert [p.name[-11:] for p in sorted((tmp_path / "runs").iterdir())] == ["-language-1", "-language-2"]
    code, out, _ = cli("runs")
    assert code == 0
    assert out.count("finished") == 2
    assert cli("sample", "--length", 5)[0] == 0  # @latest


def test_sample_repeats_by_seed_and_goes_on_from_a_prompt(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run, _ = trained
    one = cli("sample", run, "--length", 40, "--seed", 3, "--prompt", "the net")[1]
    assert one == cli("sample", run, "--length", 40, "--seed", 3, "--prompt", "the net")[1]
    assert one.startswith("the net")
    assert one != cli("sample", run, "--length", 40, "--seed", 4, "--prompt", "the net")[1]
    (tmp_path / "prompt").write_text("the net")
    assert cli("sample", run, "--length", 40, "--seed", 3, "--prompt-file", tmp_path / "prompt")[1] == one
    several = cli("sample", run, "--length", 40, "--seed", 3, "--prompt", "the net", "-n", 3, "--json")[1]
    found = [json.loads(line) for line in several.splitlines()]
    assert found[0]["text"] == one.removeprefix("the net").removesuffix("\n")
    assert len({f["text"] for f in found}) == 3
    stopped = cli("sample", run, "--length", 400, "--stop", ".", "--json")[1]
    assert "." not in json.loads(stopped)["text"]
    greedy = [cli("sample", run, "--temperature", 0, "--seed", s, "--length", 30)[1] for s in (1, 2)]
    assert greedy[0] == greedy[1]


def test_score_whole_and_by_line(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run, _ = trained
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("the net reads and writes a line.\n" * 3)
    bad.write_text("enil a setirw dna sdaer ten eht.\n" * 3)
    figures = [json.loads(cli("score", run, path, "--json")[1]) for path in (good, bad)]
    assert figures[0]["bpc"] < figures[1]["bpc"]
    assert figures[0]["units"] == 99
    out = cli("score", run, good, "--lines")[1].splitlines()
    assert out[0] == "nats\tunits\tbpc\tline"
    assert len(out) == 4
    assert len({line for line in out[1:]}) == 1  # equal lines, equal scores
    lines = [json.loads(line) for line in cli("score", run, good, "--lines", "--json")[1].splitlines()]
    assert lines[0]["line"] == "the net reads and writes a line."
    assert "perplexity" in cli("score", run, good)[1]


def test_evaluate_gives_the_runs_own_figure_again(cli: Any, trained: tuple[str, str]) -> None:
    run, text = trained
    saved = json.loads((Path(run) / "config.json").read_text())["result"]
    found = json.loads(cli("evaluate", run, "--json", "--windows", 5)[1])
    assert found["nats"] == pytest.approx(saved["test_nats"], abs=1e-12)
    assert found["window_nats"] > found["nats"]
    short = json.loads(cli("evaluate", run, "--json", "--windows", 20, "--window-length", 2)[1])
    assert short["window_nats"] > found["window_nats"]
    assert json.loads(cli("evaluate", run, text, "--json", "--eval-streams", 1)[1])["units"] == found["units"]


def test_records_and_their_novelty(cli: Any, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(
        "".join(f"{a}{b}\n" for a in ("An", "Ber", "Cla", "Do") for b in ("na", "ta", "ra", "lo", "mi")) * 8
    )
    run = tmp_path / "run"
    assert cli("train", names, "--records", "line", "--out", run, "--steps", 80, "--bptt", "full", *SMALL[:4])[0] == 0
    code, out, err = cli("sample", run, "-n", 8, "--length", 12)
    assert code == 0
    assert len(out.splitlines()) == 8
    assert "stand nowhere in" in err


def test_every_unit_every_cell_and_compressed_text(cli: Any, tmp_path: Path) -> None:
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress(a_text().encode()))
    (tmp_path / "numbers.txt").write_text(" ".join(str(k % 7) for k in range(3000)))
    for k, (units, cell) in enumerate(
        (("byte", "gru"), ("word", "rnn-tanh"), ("bpe", "rnn-relu"), ("whitespace", "lstm"), ("int", "gru"))
    ):
        source = tmp_path / "numbers.txt" if units == "int" else packed
        more = ["--vocab-size", 270] if units == "bpe" else []
        code, out, err = cli("train", source, "--units", units, "--cell", cell, "--out", tmp_path / f"r{k}",
                             "--steps", 4, *SMALL, *more)  # fmt: skip
        assert code == 0, err
        assert f"{units} units" in out
        assert cli("sample", tmp_path / f"r{k}", "--length", 5)[0] == 0


# -- stopping and going on -----------------------------------------------------------------------------------------


def command(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unrolled", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_step(run: Path, process: subprocess.Popen[str], step: int) -> None:
    for _ in range(6000):
        if (run / "metrics.jsonl").exists() and len(metrics_lines(run)) >= step:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


def metrics_lines(run: Path) -> list[str]:
    return (run / "metrics.jsonl").read_text().splitlines()


def test_killed_and_resumed_equals_uninterrupted(cli: Any, text: str, tmp_path: Path) -> None:
    settings = ["--steps", 300, "--checkpoint-every", 10, "--dropout", 0.2, *SMALL]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cli("train", text, "--out", whole, *settings)[0] == 0
    process = command("train", text, "--out", cut, *settings)
    wait_for_step(cut, process, 8)
    process.kill()
    process.communicate()
    with (cut / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')  # a torn last line
    code, out, err = cli("train", "--resume", cut)
    assert code == 0, err
    assert "going on at step" in out
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert metrics(whole) == metrics(cut)


def test_ctrl_c_saves_and_resume_goes_on(cli: Any, text: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = command("train", text, "--out", run, "--steps", 3000, "--sample-every", 0, *SMALL)
    wait_for_step(run, process, 8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"unrolled train --resume {run}" in out
    at = int(out.split("stopped at step ")[1].split(";")[0])
    assert cli("sample", run, "--length", 5)[0] == 0  # what was learnt is there
    code, out, err = cli("train", "--resume", run)
    assert code == 0, err
    assert f"going on at step {at}" in out
    assert "trained       3,000 updates" in out


def test_init_from_starts_anew_from_old_weights(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(a_text(seed=5).replace("net", "NÄT"))
    code, out, _ = cli("train", other, "--init-from", trained[0], "--out", tmp_path / "run", "--steps", 2, *SMALL)
    assert code == 0
    assert "copied: " in out
    assert "rnn.weight_hh_l0" in out.split("copied: ")[1].splitlines()[0]
    assert "new: " in out


def test_init_from_keeps_the_old_shape_unless_told_otherwise(
    cli: Any, trained: tuple[str, str], tmp_path: Path
) -> None:
    assert cli("train", trained[1], "--init-from", trained[0], "--out", tmp_path / "run", "--steps", 2)[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["hidden"] == 16


def test_a_flag_overrules_what_the_preset_chose_for_its_own_cell(cli: Any, text: str, tmp_path: Path) -> None:
    for k, flags in enumerate((["--tied"], ["--input", "one-hot"], ["--optimiser", "rmsprop"], ["--cell", "rnn-tanh"])):
        code, _, err = cli("train", text, "--out", tmp_path / f"r{k}", "--steps", 2, "--hidden", 8, *flags)
        assert code == 0, err


def test_a_run_goes_on_from_another_folder(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text(a_text())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli("train", "text.txt", "--out", "run", "--steps", 3, *SMALL)[0] == 0
    monkeypatch.chdir(tmp_path / "other")
    assert cli("train", "--resume", "../run", "--steps", 5)[0] == 0
    assert cli("evaluate", "../run")[0] == 0
    (tmp_path / "text.txt").unlink()
    refused(cli("train", "--resume", "../run", "--steps", 7), "text.txt", "is not there")


def test_another_text_is_not_held_out(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(Path(trained[1]).read_text() + "the net ")
    refused(cli("evaluate", trained[0], other), "other.txt", "unrolled score")


def test_a_slow_engine_is_told(cli: Any, text: str, tmp_path: Path) -> None:
    told = cli("train", text, "--out", tmp_path / "a", "--steps", 2, *SMALL, "--engine", "reference")[1]
    assert "step by step" in told


def test_ten_characters_are_enough(cli: Any, tmp_path: Path) -> None:
    ten = tmp_path / "ten.txt"
    ten.write_text("abcdefghij")
    code, _, err = cli("train", ten, "--out", tmp_path / "run", "--steps", 2, "--hidden", 8)
    assert code == 0, err
    code, out, err = cli("train", ten, "--out", tmp_path / "all", "--steps", 2, "--heldout", 0, "--dev", 0)
    assert code == 0, err
    assert "training loss" in out


# -- wrong input ---------------------------------------------------------------------------------------------------


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert err.startswith("unrolled: ")
    for word in words:
        assert word in err, err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hidden", "0"], ["--hidden 0", "at least 1"]),
        (["--lr", "-1"], ["--lr -1", "above 0"]),
        (["--dropout", "1.5"], ["--dropout 1.5", "below 1"]),
        (["--cell", "transformer"], ["--cell", "transformer"]),
        (["--bptt", "x"], ["--bptt x"]),
        (["--stride", "99"], ["--stride 99", "--bptt 16"]),
        (["--minutes", "1", "--epochs", "2"], ["give one budget"]),
        (["--steps", "many"], ["--steps", "integer"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["--preset", "huge"], ["--preset huge", "quick"]),
        (["--bptt", "full"], ["--bptt full", "memory"]),
        (["--encoding", "klingon"], ["klingon"]),
        (["--tied", "--embedding", "9"], ["--tied"]),
        (["--forget-bias", "1", "--cell", "gru"], ["--forget-bias"]),
        (["--device", "cuda:7"], ["--device cuda:7"]),
        (["--heldout", "1"], ["--heldout 1"]),
        (["--minutes", "inf"], ["--minutes inf"]),
        (["--seed", "99999999999999999999"], ["--seed"]),
        (["--device", "cpu:x"], ["--device cpu:x"]),
        (["--engine", "aten", "--zoneout", "0.1"], ["zoneout"]),
    ],
)
def test_flags_out_of_range(cli: Any, text: str, tmp_path: Path, flags: list[str], words: list[str]) -> None:
    refused(cli("train", text, "--out", tmp_path / "run", *SMALL, *flags), *words)
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file"]),
        (b"", ["empty"]),
        (b"a", ["too short"]),
        (b"text \x00\x01\x02 binary" * 50, ["byte 5", "--units byte"]),
        ("caf\u00e9 au lait ".encode("latin-1") * 50, ["byte 3", "--encoding"]),
    ],
)
def test_texts_that_cannot_be_read(cli: Any, tmp_path: Path, content: bytes | None, words: list[str]) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    refused(cli("train", path, "--out", tmp_path / "run", *SMALL), "text.txt", *words)
    assert not (tmp_path / "run").exists()


def test_a_short_text_gets_a_smaller_batch_and_says_so(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(a_text(120))
    code, out, _ = cli("train", path, "--out", tmp_path / "run", "--steps", 2, "--hidden", 8)
    assert code == 0
    assert "--batch 32 is too large" in out


def test_folders_that_cannot_be_used(cli: Any, text: str, trained: tuple[str, str], tmp_path: Path) -> None:
    refused(cli("train", text, "--out", f"{text}/run", "--steps", 1, *SMALL), "text.txt/run")
    refused(cli("train", text, "--out", trained[0], "--steps", 1), "--out", "--resume")
    refused(cli("train", "--resume", tmp_path / "nothing"), "nothing", "unrolled runs")
    refused(cli("sample", tmp_path / "nothing"), "nothing")
    refused(cli("score", trained[0], tmp_path / "nothing.txt"), "nothing.txt")


def test_resuming_something_else_is_refused(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    refused(cli("train", "--resume", run, "--hidden", 32, "--steps", 80), "--hidden 32: this run has 16", "--init-from")
    refused(cli("train", "--resume", run, "--lr", 0.5, "--steps", 80), "--lr 0.5")
    other = tmp_path / "other.txt"
    other.write_text(a_text(seed=9))
    refused(cli("train", "--resume", run, other, "--steps", 80), "cannot resume", "another text")
    refused(cli("train", "--resume", run, "--out", tmp_path / "x"), "--out")
    assert all(path.read_bytes() == content for path, content in before.items() if "tensorboard" not in str(path))


def test_unknown_characters_in_a_prompt(cli: Any, trained: tuple[str, str]) -> None:
    refused(cli("sample", trained[0], "--prompt", "the \u4e16"), "\u4e16", "U+4E16", "--unknown skip")
    code, _, err = cli("sample", trained[0], "--prompt", "the \u4e16\u4e16", "--unknown", "skip", "--length", 5)
    assert code == 0
    assert "2 units that the vocabulary lacks were left out (--unknown skip)" in err
    refused(cli("sample", trained[0], "--prompt", "a", "--prompt-file", "b"), "give one")
    refused(cli("sample", trained[0], "--temperature", "-1"), "--temperature")
    code = (
        f"from unrolled.cli.main import main; import sys; sys.exit(main(['sample', {trained[0]!r}, '--prompt', '-']))"
    )
    result = subprocess.run([sys.executable, "-c", code], input=b"the \xff", capture_output=True)
    assert result.returncode == 2
    assert b"not UTF-8 at byte 4" in result.stderr


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: (run / "model.safetensors").unlink(), ["model.safetensors", "missing"]),
        (lambda run: cut_short(run / "model.safetensors"), ["model.safetensors", "truncated"]),
        (lambda run: flip(run / "model.safetensors"), ["model.safetensors", "altered"]),
        (lambda run: flip(run / "tokens.json"), ["tokens.json", "altered"]),
        (lambda run: in_disguise(run / "model.safetensors"), ["model.safetensors", "pickle"]),
    ],
)
def test_damaged_models(cli: Any, trained: tuple[str, str], tmp_path: Path, harm: Any, words: list[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    harm(run)
    refused(cli("sample", run), *words)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def in_disguise(path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, path)
    assert path.read_bytes()[:2] == b"PK"
    pickle.dumps(1)


def test_a_full_disk_ends_in_one_line_and_leaves_the_old_checkpoint(text: str, tmp_path: Path) -> None:
    """The disk is full for real: no file of this process may grow past a limit."""
    run = tmp_path / "run"
    code = (
        "import resource, signal, sys; from unrolled.cli.main import main; import torch; "
        f"a = ['train', {text!r}, '--out', {str(run)!r}, '--checkpoint-every', '20', *{SMALL!r}]; "
        "assert main([*a, '--steps', '40']) == 0; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        f"sys.exit(main(['train', '--resume', {str(run)!r}, '--steps', '80']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert str(run) in result.stderr
    assert main(["train", "--resume", str(run), "--steps", "80"]) == 0


# -- what must not be lost -------------------------------------------------------------------------------------------


def test_a_run_without_its_checkpoint_is_not_trained_over(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run = shutil.copytree(trained[0], tmp_path / "run")
    shutil.rmtree(run / "checkpoint")
    before = (run / "model.safetensors").read_bytes()
    code, _, err = cli("train", "--resume", run, "--steps", 90)
    assert (code, err.count("\n")) == (2, 1)
    assert "checkpoint is gone" in err
    assert f"--init-from {run}" in err
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such lock there")
def test_two_processes_do_not_train_one_run(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    run = shutil.copytree(trained[0], tmp_path / "run")
    with only_one(run):
        code, _, err = cli("train", "--resume", run, "--steps", 90)
        assert (code, err.count("\n")) == (2, 1)
        assert f"process {os.getpid()} is training it" in err
    assert not (run / LOCK).exists()
    assert cli("train", "--resume", run, "--steps", 61)[0] == 0
    assert not (run / LOCK).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections")
def test_without_a_standard_output_and_with_a_full_one(trained: tuple[str, str], tmp_path: Path) -> None:
    command = f"{sys.executable} -m unrolled sample {trained[0]} --length 5000"
    done = subprocess.run(f"{command} >&-", shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    if not os.path.exists("/dev/full"):
        return
    done = subprocess.run(f"{command} >/dev/full", shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the disk is full" in done.stderr


def test_evaluate_names_another_text_as_such(cli: Any, trained: tuple[str, str], tmp_path: Path) -> None:
    for other in ("other words " * 60, "\u0416\u0416 unknown " * 60):
        (tmp_path / "other.txt").write_text(other, encoding="utf-8")
        code, _, err = cli("evaluate", trained[0], tmp_path / "other.txt")
        assert (code, "not the text" in err) == (2, True)
    code, out, _ = cli("evaluate", *trained, "--windows", 3, "--window-length", 10**6, "--eval-streams", 10**6)
    assert code == 0
    assert f"3 of {json.loads(cli('evaluate', *trained, '--json')[1])['units'] - 1} units" in out
    assert "600 streams" in out


def test_wrong_usage_points_to_the_page_that_has_the_flag(cli: Any, tmp_path: Path) -> None:
    code, _, err = cli("train", "--task", "classify", "--pool", "foo")
    assert code == 2
    assert "see unrolled train --task classify --help" in err
    assert "Value error" not in err
    (tmp_path / "file").write_text("")
    assert "a file of that name" in cli("train", "--out", tmp_path / "file")[2]
    assert "a folder" in cli("check", tmp_path)[2]
