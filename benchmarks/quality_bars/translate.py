"""Translation's bars: dates, letters to sounds, and what attention is worth between English and French."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

from quality_bars import Options, Row, bar, keeping, summary, train

LONG = 8
"""Words of an English sentence from which on attention has to win."""
PHRASES_STEPS = 3000
"""Of English and French: enough to tell attention from none."""
THINNED = 50
"""Of the lines of a data set, one in so many is read with ``--quick``."""


@bar("dates")
def dates(options: Options) -> Row:
    """Dates of years never seen, in many spellings; beside them spellings that are never learnt from."""
    budget = ("--steps", 100) if options.quick else ("--steps", 1400)
    config = train(options, "dates", "--task", "translate", *budget)
    return summary("dates", [config], data="made up; years of the test part in no other", published="",
                   bars={"wer": (0.001, "max")}, note="wer is 1 - exact")  # fmt: skip


@bar("cmudict")
def cmudict(options: Options) -> Row:
    """Letters to sounds, greedy, right if any listed pronunciation; the same without attention as a baseline."""
    with tempfile.TemporaryDirectory() as small:
        path = _file(options, Path("cmudict", "cmudict.dict.gz"), small)
        budget = ("--steps", 20) if options.quick else ("--minutes", 20)
        looking = train(options, "cmudict", path, "--preset", "translate-pronounce", *budget)
        blind = train(options, "cmudict-blind", path, "--preset", "translate-pronounce", "--attention", "none",
                      "--steps", looking["result"]["steps"])  # fmt: skip
    row = summary(
        "cmudict", [looking], data="CMUdict, stress removed, a tenth of the words held out by a hash",
        published="transformer about 0.30, LSTM 0.31, transducer 0.339",
        bars={"wer": (0.31, "max"), "uer": (0.078, "max")},
        note=f"uer is the phoneme error rate; without attention {blind['parameters']:,} parameters, as many steps",
    )  # fmt: skip
    row.baselines["without attention"] = {name: found[0] for name, found in blind["result"]["figures"].items()}
    return row


@bar("eng-fra")
def eng_fra(options: Options) -> Row:
    """Attention against none, of equal parameters (``dot`` has none of its own) and steps. Needs sacrebleu."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    from unrolled.data.reading import words_of
    from unrolled.tasks.translate.score import streams

    with tempfile.TemporaryDirectory() as small, keeping(options) as (kept, home):
        path = _file(options, Path("eng-fra", "fra.txt.gz"), small)
        given = (path, "--preset", "translate-phrases", "--attention")
        budget = ("--steps", 20 if options.quick else PHRASES_STEPS)
        looking = train(kept, "eng-fra", *given, "dot", *budget)
        blind = train(kept, "eng-fra-blind", *given, "none", "--steps", looking["result"]["steps"])
        rows, rows_blind = (_rows(home / name) for name in ("eng-fra", "eng-fra-blind"))
    assert looking["parameters"] == blind["parameters"]
    long = [k for k, row in enumerate(rows) if words_of(row["input"]) >= LONG]
    systems = [("none", [rows_blind[k]["predicted"] for k in long]), ("dot", [rows[k]["predicted"] for k in long])]
    references = streams([rows[k]["references"] for k in long])
    signatures, scores = PairedTest(systems, {"BLEU": BLEU()}, references, test_type="bs", n_samples=1000)()
    none, dot = scores["BLEU"]
    row = summary(
        "eng-fra", [looking], data="Tatoeba pairs of at most ten words, a tenth held out by a hash of the English",
        published="", bars={"gain_long": (0.0, "min"), "p_long": (0.05, "max")},
        note=f"bleu is of the whole test; on {len(long):,} sentences of {LONG} words and more {dot.score:.2f} with "
             f"attention, {none.score:.2f} without, paired bootstrap p = {dot.p_value:.4f}; {signatures['BLEU']}",
    )  # fmt: skip
    row.figures["gain_long"] = (float(dot.score - none.score), None, None)
    row.figures["p_long"] = (float(dot.p_value), None, None)
    row.baselines["without attention"] = {name: found[0] for name, found in blind["result"]["figures"].items()}
    return row


def _rows(run: Path) -> list[dict[str, Any]]:
    """The test part as a run translates it, a row for each source."""
    from unrolled.bundle.model import load
    from unrolled.tasks.translate import face
    from unrolled.tasks.translate.config import TranslatePredict

    found = load(run)
    predictor = face.load(found.config, found.tensors, found.tokens, str(run))
    return predictor.evaluate(None, "test", TranslatePredict()).rows


def _file(options: Options, name: Path, folder: str) -> Path:
    """A data file; with ``--quick`` a few of its lines."""
    path = options.data / name
    if not options.quick:
        return path
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        some = [line for k, line in enumerate(lines) if k % THINNED == 0]
    thinned = Path(folder) / name.name
    thinned.write_bytes(gzip.compress("".join(some).encode()))
    return thinned
