"""Captioning from the command line: trained, asked, judged; bad input ends in one line."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

SMALL = ["--task", "caption", "--shapes", "100", "--image-size", "16", "--hidden", "8", "--memory", "8", "--width", "4",
         "--stages", "2", "--threads", "1", "--sample-every", "0"]  # fmt: skip


def test_from_nothing_to_answers(cli, tmp_path):
    run = tmp_path / "run"
    code, out, _ = cli("train", *SMALL, "--steps", "6", "--shift", "1", "--flip", "--out", run)
    assert code == 0
    assert "generated shapes: 100 images, 200 captions" in out
    assert "token_f1" in out
    assert "nearest training picture" in out
    for drawn in ("captions.png", "attention.png"):
        assert (run / drawn).exists()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    code, out, _ = cli("predict", run, tmp_path / "red.png", "--json", "--beam", "3", "--nbest", "2")
    assert code == 0
    assert len(json.loads(out)["captions"]) == 2
    code, out, _ = cli("evaluate", run, "--predictions", tmp_path / "rows.tsv")
    assert code == 0
    assert "token_f1" in out
    lines = (tmp_path / "rows.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["input", "target", "predicted"]
    assert len(lines) == 11


def test_captions_are_recognised_and_bad_ones_end_in_one_line(cli, tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("image,caption\n" + "".join(f"{k}.png,a thing\n" for k in range(20)))
    code, _, err = cli("train", path, "--steps", "1", "--out", tmp_path / "run")
    assert code == 2
    assert "20 images of 20 cannot be used: 0.png: missing" in err
    assert "--bad skip" in err
    assert len(err.strip().splitlines()) == 1
    for k in range(20):
        Image.new("RGB", (8, 8), (10 * k, 0, 0)).save(Path(tmp_path, f"{k}.png"))
    code, out, _ = cli("train", path, "--steps", "1", "--image-size", "8", "--dry-run")
    assert code == 0
    assert "columns of images and captions" in out
