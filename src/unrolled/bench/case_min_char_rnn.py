"""The lecture's program at its own settings, whole: reading, loss, back-propagation through time, clipping, Adagrad.

``--preset min-char-rnn`` in the package's training loop, without samples, against NumPy at the same dtype: tanh RNN
of 100, V 65, one stream, 25 steps. The peer of the bar is a program as the lecture wrote it, one column at a time;
beside it stands the best that NumPy allows, with what need not wait for the recurrence in one product. Each side at
its best of 1 and ``--threads`` threads; NumPy's own threads are the environment's (``OMP_NUM_THREADS``), and one is
its best at this size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.bench import parity
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.lecture import NumpyProgram
from unrolled.bench.measure import Side, best_threads, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.text import make_corpus
from unrolled.bench.trainer import Training
from unrolled.presets import load_preset

T, V = 25, 65
CHECKED, LIMITS = 2, {"float64": 1e-9, "float32": 1e-2}
"""Updates after which the weights are compared, and how near they must be: from weights this small Adagrad's first
updates are chaotic, a difference grows a thousandfold with each."""
PARAMETERS = {
    "W_xh": "rnn.weight_ih_l0", "W_hh": "rnn.weight_hh_l0", "W_hy": "head.weight", "b_h": "rnn.bias_ih_l0",
    "b_y": "head.bias",
}  # fmt: skip
BARS = {"columns": Bar(12.0, 25.0), "products": None}
WORDS = {"columns": "against columns", "products": "against NumPy's best"}


def rows(config: BenchConfig, steps: int = 20_000) -> Iterator[Row]:
    """Two dtypes, two forms of the peer; a repetition is ``steps`` updates on our side."""
    names = {(d, f): f"{d}, {words}" for d in ("float64", "float32") for f, words in WORDS.items()}
    wanted = {key: name for key, name in names.items() if config.wants(name)}
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as name:
        corpus = make_corpus(Path(name), 120_000, V=V)
        for (dtype, form), title in wanted.items():
            yield _row(title, corpus, Path(name), dtype, form, config, steps)


def _row(title: str, corpus: Any, folder: Path, dtype: str, form: str, config: BenchConfig, steps: int) -> Row:
    preset = load_preset("min-char-rnn")
    ours = Training(corpus, folder, {**preset.model, "engine": config.engine}, {**preset.train, "dtype": dtype})
    try:
        start = ours.run(1)[1]  # shapes and names; the weights themselves are drawn here, for both sides
        weights = _draw({n: tuple(start[p].shape) for n, p in PARAMETERS.items()}, dtype)
        ours.weights = {**start, **{p: torch.from_numpy(weights[n]) for n, p in PARAMETERS.items()}}
        theirs = _theirs_after(corpus, weights, form, CHECKED)
        parity.check(_ours_after(ours, CHECKED), theirs, limit=LIMITS[dtype])
    except ParityError as error:
        return Row(title, refused=str(error))
    except ValueError as error:
        return Row(title, skipped=str(error))
    program = NumpyProgram(corpus.tokens, weights, form)
    few = max(1, steps // 10)
    mine = best_threads(ours.side(steps), (1, config.threads or torch.get_num_threads()))
    found = compare(mine, Side("NumPy", lambda: _many(program, few), units=few), pairs=config.pairs)
    figures = {"ratio": found.ratio(BARS[form]), "ours, characters": found.rate(T), "NumPy": found.rate(T, "peer")}
    return Row(title, figures, note=f"threads: ours {mine.threads}")


def _many(program: NumpyProgram, updates: int) -> None:
    for _ in range(updates):
        program.step()


def _draw(shapes: dict[str, tuple[int, ...]], dtype: str) -> dict[str, Any]:
    draw = np.random.default_rng(1).standard_normal
    return {n: (0.01 * draw(s) if len(s) > 1 else np.zeros(s)).astype(dtype) for n, s in shapes.items()}


def _ours_after(training: Training, updates: int) -> dict[str, torch.Tensor]:
    after = training.run(updates)[1]
    return {name: after[parameter] for name, parameter in PARAMETERS.items()}


def _theirs_after(corpus: Any, weights: dict[str, Any], form: str, updates: int) -> dict[str, torch.Tensor]:
    program = NumpyProgram(corpus.tokens, weights, form)
    _many(program, updates)
    return {n: torch.from_numpy(w.reshape(weights[n].shape)) for n, w in program.w.items()}
