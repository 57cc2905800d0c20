"""The bars of captioning: generated shapes, photographs and formulas learnt by heart, names of emoji."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from quality_bars import Options, Row, bar, keeping, summary, train, unrolled

ALL = ("--heldout", 0, "--dev", 0, "--dropout", 0)
"""Trains on everything, to learn it by heart."""
FORMULAS = 100


@bar("shapes")
def shapes(options: Options) -> Row:
    """Pictures that hold a size, colour and shape that no training picture has together; in five minutes."""
    budget = ("--steps", 20, "--shapes", 500) if options.quick else ()
    config = train(options, "shapes", "--task", "caption", *budget)
    return summary(
        "shapes", [config], data="generated shapes, held-out combinations of size, colour and shape",
        published="", bars={"exact": (0.95, "min")},
        note=f"the whole command took {config['seconds'] / 60:.2f} minutes",
    )  # fmt: skip


@bar("coco-cc")
def coco(options: Options) -> Row:
    """76 photographs and their 380 captions, learnt by heart."""
    captions = options.data / "coco-cc" / "captions.json"
    budget = ("--steps", 5) if options.quick else ()
    return _by_heart(
        options, "coco-cc", {"bleu4": (0.9, "min"), "distinct": (70, "min")}, "76 photographs, on themselves",
        captions, "--preset", "caption-photos", *ALL, *budget,
    )  # fmt: skip


@bar("emoji")
def emoji(options: Options) -> Row:
    """A tenth of the names up to ":" held out, mean of three seeds of split and weights; above the nearest picture.
    Captions are the consensus of a beam of 100 and of twenty neighbours."""
    folder = options.data / "noto-emoji-names"
    budget, seeds = (("--steps", 5), (1,)) if options.quick else ((), (1, 2, 3))
    with keeping(options) as (kept, home):
        configs = [
            train(kept, f"emoji-{seed}", "--task", "caption", folder / "names.tsv", "--images",
                  folder / "emoji_32.npz", "--preset", "caption-emoji", "--seed", seed, "--split-seed", seed, *budget)
            for seed in seeds
        ]  # fmt: skip
        for seed, config in zip(seeds, configs, strict=True):
            _judged(home / f"emoji-{seed}", config, "--beam", 100, "--consensus", "--neighbours", 20)
    row = summary(
        "emoji", configs, data="Noto emoji's names, parts drawn by the name before the colon", published="",
        bars={"token_f1": (0.48, "min")}, note=f"mean of {len(configs)} seeds, interval over them",
    )  # fmt: skip
    near = next(values["token_f1"] for title, values in row.baselines.items() if title.startswith("nearest"))
    row.figures["above_nearest"] = (row.figures["token_f1"][0] - near, None, None)
    return row if options.quick else _also(row, "above_nearest", 0.0)


@bar("formulas")
def formulas(options: Options) -> Row:
    """LaTeX of rendered formulas, letter by letter: the official test part. The edit distance is reported, no bar."""
    folder = options.data / "im2latex-sample"
    budget = ("--steps", 3) if options.quick else ()
    config = train(options, "formulas", "--task", "caption", folder / "formulas.tsv", "--images",
                   folder / "images_half.npz", "--preset", "caption-formulas", "--bad", "skip", *budget)  # fmt: skip
    return summary("formulas", [config], data="im2latex-sample, official test part (995 to learn from)", published="",
                   bars={}, note="edit: edits a character of the nearest reference")  # fmt: skip


@bar("formulas-100")
def formulas_100(options: Options) -> Row:
    """The first hundred formulas, learnt by heart: 1,000 updates leave a fifth of them with an error."""
    budget = ("--steps", 3 if options.quick else 3000)
    with tempfile.TemporaryDirectory() as small:
        few = first_formulas(options.data / "im2latex-sample", Path(small), FORMULAS)
        return _by_heart(
            options, "formulas-100", {"exact": (0.99, "min")}, f"{FORMULAS} formulas, on themselves",
            few / "few.tsv", "--images", few / "few.npz", "--preset", "caption-formulas", *ALL, *budget,
        )  # fmt: skip


def _by_heart(options: Options, name: str, bars: dict[str, tuple[float, str]], data: str, *arguments: object) -> Row:
    """Train on everything, and judge on the same."""
    with keeping(options) as (kept, home):
        config = train(kept, name, "--task", "caption", *arguments)
        _judged(home / name, config, "--part", "train")
    config["result"] |= {"baselines": []}
    return summary(name, [config], data=data, published="", bars=bars)


def _judged(run: Path, config: dict[str, Any], *arguments: object) -> None:
    """Put the figures of ``unrolled evaluate`` with these arguments in place of the training's own."""
    found: dict[str, Any] = json.loads(unrolled("evaluate", run, *arguments, "--json"))
    spans = found["intervals"]
    config["result"] |= {"figures": {n: [v, *spans.get(n, []), ""] for n, v in found["figures"].items()}}


def _also(row: Row, name: str, least: float) -> Row:
    row.bars[name] = (least, "min")
    return row


def first_formulas(home: Path, folder: Path, count: int) -> Path:
    """The first ``count`` formulas with their images, as files of their own in ``folder``."""
    with (home / "formulas.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[: count + 1]
    (folder / "few.tsv").write_text("".join(cells[2] + "\n" for cells in lines), encoding="utf-8")
    images = np.load(home / "images_half.npz")
    sizes = {key: images[key][:count] for key in ("height", "width", "offset")}
    np.savez(folder / "few.npz", pixels=images["pixels"], **sizes)
    return folder
