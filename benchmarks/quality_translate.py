"""What translation reaches: three bars, each alone by its name.

    python benchmarks/quality_translate.py [dates] [cmudict] [eng-fra] --data DIR [--threads 2] [--minutes 20]
        [--steps N]

DIR holds ``cmudict`` and ``eng-fra``; dates are made up. Every bar is ``unrolled train`` with the flags that stand
here, once with attention and, of cmudict and eng-fra, once without, for as many updates. Prints a table, then one JSON
line for each bar. ``--steps`` makes the budgets of cmudict and eng-fra updates, which do not depend on the load.

- dates: many ways to write a date to ISO form; unseen dates of unseen years, exact >= 0.999; ways never learnt from.
- cmudict: letters to sounds, stress removed, a tenth of the words held out by a hash; greedy; right if it is any listed
  pronunciation. WER <= 0.31, reach 0.29; PER <= 0.078. Published on this dictionary: transformer about 0.30, LSTM 0.31,
  transducer 0.339.
- eng-fra: pairs of at most ten words, held out by a hash of the English with all its French; attention against none, of
  equal parameters and updates, on sentences of eight English words and more: BLEU, paired bootstrap p < 0.05. Needs
  sacrebleu.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

DATES = ["--steps", "1400"]
LONG = 8
"""Words of an English sentence from which on attention has to win."""


def unrolled(*arguments: str) -> None:
    result = subprocess.run([sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr or result.stdout)


class Bench:
    """One folder of runs, and what all bars share."""

    def __init__(self, data: pathlib.Path | None, threads: int, budget: list[str], folder: str) -> None:
        self.data, self.threads, self.budget, self.folder = data, threads, budget, pathlib.Path(folder)

    def train(self, name: str, *arguments: str) -> dict[str, Any]:
        """The ``config.json`` of a run."""
        run = self.folder / name
        unrolled("train", *arguments, "--out", str(run), "--threads", str(self.threads), "--sample-every", "0")
        saved: dict[str, Any] = json.loads((run / "config.json").read_text())
        result = saved["result"]
        figures = ", ".join(f"{n} {v[0]:.4f}" for n, v in result["figures"].items())
        print(f"{name:<16} {saved['parameters']:>10,} parameters  {result['steps']:>6,} updates  "
              f"{result['minutes']:5.1f} min  {figures}", flush=True)  # fmt: skip
        return saved

    def file(self, *names: str) -> str:
        if self.data is None:
            sys.exit("--data DIR: needed for this bar")
        return str(self.data.joinpath(*names))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The test part, translated by a run: a row for each source."""
        from unrolled.bundle.model import load
        from unrolled.tasks.translate import face
        from unrolled.tasks.translate.config import TranslatePredict

        found = load(self.folder / name)
        predictor = face.load(found.config, found.tensors, found.tokens, name)
        return predictor.evaluate(None, "test", TranslatePredict()).rows


def summary(saved: dict[str, Any]) -> dict[str, Any]:
    """What the JSON line has of a run."""
    result = saved["result"]
    return {
        "parameters": saved["parameters"], "steps": result["steps"], "minutes": result["minutes"],
        "test_nats": result["test_nats"], "figures": result["figures"], "baselines": result["baselines"],
    }  # fmt: skip


def dates(bench: Bench) -> dict[str, Any]:
    return {"attention": summary(bench.train("dates", "--task", "translate", *DATES))}


def cmudict(bench: Bench) -> dict[str, Any]:
    path = bench.file("cmudict", "cmudict.dict.gz")
    looking = bench.train("cmudict", path, "--preset", "pronounce", *bench.budget)
    steps = str(looking["result"]["steps"])
    blind = bench.train("cmudict-blind", path, "--preset", "pronounce", "--attention", "none", "--steps", steps)
    return {"attention": summary(looking), "none": summary(blind)}


def eng_fra(bench: Bench) -> dict[str, Any]:
    """``dot`` has no parameters of its own, so that the two have equally many."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    from unrolled.data.reading import words_of
    from unrolled.tasks.translate.score import streams

    path, found = bench.file("eng-fra", "fra.txt.gz"), {}
    found["attention"] = summary(
        bench.train("eng-fra", path, "--preset", "phrases", "--attention", "dot", *bench.budget)
    )
    steps = str(found["attention"]["steps"])
    found["none"] = summary(
        bench.train("eng-fra-blind", path, "--preset", "phrases", "--attention", "none", "--steps", steps)
    )
    assert found["attention"]["parameters"] == found["none"]["parameters"]
    looking, blind = bench.rows("eng-fra"), bench.rows("eng-fra-blind")
    long = [k for k, row in enumerate(looking) if words_of(row["input"]) >= LONG]
    references = streams([looking[k]["references"] for k in long])
    systems = [("none", [blind[k]["predicted"] for k in long]), ("attention", [looking[k]["predicted"] for k in long])]
    signatures, scores = PairedTest(systems, {"BLEU": BLEU()}, references, test_type="bs", n_samples=1000)()
    none, attention = scores["BLEU"]
    print(f"{len(long):,} sentences of {LONG} words and more: BLEU {attention.score:.2f} with attention, "
          f"{none.score:.2f} without, p = {attention.p_value:.4f} ({signatures['BLEU']})")  # fmt: skip
    found["long"] = {
        "sentences": len(long), "bleu": float(attention.score), "bleu_none": float(none.score),
        "p": float(attention.p_value), "signature": str(signatures["BLEU"]),
    }  # fmt: skip
    return found


BARS = {"dates": dates, "cmudict": cmudict, "eng-fra": eng_fra}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="*", help=f"some of {', '.join(BARS)} (default: all)")
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    unknown = [bar for bar in options.bars if bar not in BARS]
    if unknown:
        parser.error(f"{unknown[0]}: not one of {', '.join(BARS)}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.data, options.threads, budget, folder)
        for name in options.bars or BARS:
            print(json.dumps({"benchmark": f"translate-{name}", **BARS[name](bench)}), flush=True)


if __name__ == "__main__":
    main()
