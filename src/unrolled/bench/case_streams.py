"""256 streams at once against one: tokens a second of the same stepper, the same model (LSTM, one layer, H 512, V 65).

The peer is our own single stream at its best thread count. Row b of the many must be row b alone, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unrolled.bench import parity
from unrolled.bench.case_step import V, example
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import Side, best_threads, compare
from unrolled.bench.ours_step import NotThere, stepper
from unrolled.bench.parity import ParityError

STREAMS, BAR, CHECKED = 256, Bar(15.0, 30.0), 3


def rows(config: BenchConfig, H: int = 512, streams: int = STREAMS) -> Iterator[Row]:
    """One row."""
    name = f"LSTM H{H}, {streams} streams"
    if not config.wants(name):
        return
    model, counts = example(H), (1, config.threads or torch.get_num_threads())
    ids = torch.randint(0, V, (64, streams), generator=torch.Generator().manual_seed(2)).tolist()
    try:
        _check(model, ids)
        many, one = stepper(model, streams, "float32"), stepper(model, 1, "float32")
    except NotThere as error:
        yield Row(name, skipped=str(error))
        return
    except ParityError as error:
        yield Row(name, refused=str(error))
        return
    place = [0]

    def run_many() -> Tensor:
        place[0] = (place[0] + 1) % len(ids)
        scores: Tensor = many.step(ids[place[0]])
        return scores

    def run_one() -> Tensor:
        place[0] = (place[0] + 1) % len(ids)
        scores: Tensor = one.step(ids[place[0]][:1])
        return scores

    # A run of the many is as many units as streams, so the ratio is one of tokens a second.
    all_at_once = best_threads(Side("many", run_many, units=streams), counts)
    alone = best_threads(Side("one", run_one), counts)
    found = compare(all_at_once, alone, pairs=config.pairs)
    figures = {"ratio": found.ratio(BAR), "many, tokens": found.rate(1), "one, tokens": found.rate(1, "peer")}
    yield Row(name, figures, note=f"threads: many {all_at_once.threads}, one {alone.threads}")


def _check(model: object, ids: list[list[int]]) -> None:
    """The first and the last row of the many against each alone: not one bit may differ."""
    streams = len(ids[0])
    many = stepper(model, streams, "float32")  # type: ignore[arg-type]
    alone = {b: stepper(model, 1, "float32") for b in (0, streams - 1)}  # type: ignore[arg-type]
    for row in ids[:CHECKED]:
        scores = many.step(row).clone()
        for b, one in alone.items():
            parity.check({f"row {b}": scores[b]}, {f"row {b}": one.step(row[b : b + 1])[0]}, limit=0.0)
