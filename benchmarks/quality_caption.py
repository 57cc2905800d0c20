"""What captioning reaches: four bars, each alone by its name.

    python benchmarks/quality_caption.py [shapes] [coco] [emoji] [formulas] --data DIR [--threads 2] [--pictures DIR]

DIR holds ``coco-cc``, ``noto-emoji-names`` and ``im2latex-sample``; shapes are generated. Every bar is one ``unrolled
train`` with the flags that stand here. Prints a table, then one JSON line for each. ``--pictures`` keeps what was drawn
(``emoji.png`` is the one that docs/caption.md shows).

- shapes: pictures whose pairs of colour and shape were in no training picture; exact caption >= 0.95 in 5 minutes.
- coco: 76 photographs learnt by heart, BLEU-4 >= 0.9 on them, at least 70 captions distinct.
- emoji: names of Noto emoji, parts drawn by the name before ":"; token F1 >= 0.48, above the nearest picture's.
- formulas: LaTeX of rendered formulas, letter by letter; the edit distance on the test part, and 100 learnt by heart.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

SHAPES = ["--steps", "4000"]
WHOLE = ["--heldout", "0", "--dev", "0", "--dropout", "0"]
COCO = [*WHOLE, "--image-size", "64", "--steps", "1600", "--hidden", "256", "--embedding", "128", "--lr", "2e-3"]
EMOJI = ["--group-until", ":", "--caption-column", "name", "--image-size", "32", "--fit", "stretch", "--steps", "1500",
         "--batch", "64", "--shift", "2", "--flip", "--dropout", "0.4", "--word-dropout", "0.2", "--hidden", "256",
         "--embedding", "128", "--weight-decay", "0.05", "--lr", "2e-3"]  # fmt: skip
FORMULAS = ["--units", "char", "--no-lower", "--fit", "keep", "--image-size", "700", "--caption-column", "formula",
            "--width", "16", "--layers", "2", "--hidden", "256", "--lr", "2e-3"]  # fmt: skip


def unrolled(*arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr or result.stdout)
    return result.stdout


class Bench:
    """One folder of runs, and what all bars share."""

    def __init__(self, data: pathlib.Path | None, threads: int, pictures: pathlib.Path | None, folder: str) -> None:
        self.data, self.threads, self.pictures, self.folder = data, threads, pictures, pathlib.Path(folder)

    def train(self, name: str, *arguments: str) -> tuple[pathlib.Path, dict[str, Any]]:
        """The run's folder and the "result" of its ``config.json``."""
        run = self.folder / name
        unrolled("train", "--task", "caption", *arguments, "--out", str(run), "--threads", str(self.threads),
                 "--sample-every", "0")  # fmt: skip
        if self.pictures is not None and (run / "captions.png").exists():
            self.pictures.mkdir(parents=True, exist_ok=True)
            for drawn in ("captions", "attention"):
                if (run / f"{drawn}.png").exists():
                    shutil.copy(run / f"{drawn}.png", self.pictures / f"{name}-{drawn}.png")
        config = json.loads((run / "config.json").read_text())
        return run, config["result"] | {"parameters": config["parameters"]}

    def on_its_own(self, run: pathlib.Path) -> dict[str, float]:
        """Figures on the training part."""
        found = json.loads(unrolled("evaluate", str(run), "--part", "train", "--json"))
        return {name: value[0] for name, value in found["figures"].items()}

    def home(self, name: str) -> pathlib.Path:
        if self.data is None or not (self.data / name).is_dir():
            sys.exit(f"--data DIR: needs {name} in it")
        return self.data / name


def shapes(bench: Bench) -> dict[str, Any]:
    _, result = bench.train("shapes", *SHAPES)
    return result | {"bar": "exact >= 0.95", "reached": result["figures"]["exact"][0]}


def coco(bench: Bench) -> dict[str, Any]:
    run, result = bench.train("coco", str(bench.home("coco-cc") / "captions.json"), *COCO)
    own = bench.on_its_own(run)
    return result | {"bar": "bleu4 >= 0.9 and distinct >= 70, by heart", "reached": own["bleu4"], "own": own}


def emoji(bench: Bench) -> dict[str, Any]:
    home = bench.home("noto-emoji-names")
    _, result = bench.train("emoji", str(home / "names.tsv"), "--images", str(home / "emoji_32.npz"), *EMOJI)
    return result | {"bar": "token_f1 >= 0.48", "reached": result["figures"]["token_f1"][0]}


def formulas(bench: Bench) -> dict[str, Any]:
    home = bench.home("im2latex-sample")
    few = first_formulas(home, bench.folder, 100)
    run, _ = bench.train("formulas-100", str(few / "few.tsv"), "--images", str(few / "few.npz"), *FORMULAS, *WHOLE,
                         "--batch", "20", "--steps", "1500")  # fmt: skip
    own = bench.on_its_own(run)
    _, result = bench.train("formulas", str(home / "formulas.tsv"), "--images", str(home / "images_half.npz"),
                            *FORMULAS, "--dropout", "0.3", "--keep", "best", "--steps", "800")  # fmt: skip
    return result | {"bar": "100 by heart: exact", "reached": own["exact"], "own": own}


def first_formulas(home: pathlib.Path, folder: pathlib.Path, count: int) -> pathlib.Path:
    """The first ``count`` formulas with their images, as files of their own."""
    with (home / "formulas.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[: count + 1]
    text = "".join("\t".join(cells[2:]) + "\n" for cells in lines)
    (folder / "few.tsv").write_text(text, encoding="utf-8")
    images = np.load(home / "images_half.npz")
    sizes = {key: images[key][:count] for key in ("height", "width", "offset")}
    np.savez(folder / "few.npz", pixels=images["pixels"], **sizes)
    return folder


BARS = {"shapes": shapes, "coco": coco, "emoji": emoji, "formulas": formulas}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="*", metavar="BAR")
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    for name in options.bars or BARS:
        if name not in BARS:
            parser.error(f"{name}: not one of {', '.join(BARS)}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.data, options.threads, options.pictures, folder)
        for name in options.bars or BARS:
            found = BARS[name](bench)
            print(f"{name:<10} {found['bar']}: {found['reached']:.4f}; {found['parameters']:,} parameters, "
                  f"{found['steps']:,} steps, {found['minutes']:.2f} minutes")  # fmt: skip
            for figure, (value, *interval, unit) in found["figures"].items():
                span = f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval and None not in interval else ""
                print(f"    {figure:<10} {value:.4f}{span} {unit}")
            for baseline, figures in found["baselines"]:
                print(f"    {baseline}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
            print(json.dumps({"benchmark": f"caption {name}", **found}), flush=True)


if __name__ == "__main__":
    main()
