"""What an option costs: our own LSTM with it against our own without, forward and backward.

T 64, B 64, H 256, two layers. "reset mask" is a ``(T, B)`` mask with one reset in fifty; "trace" returns every state
and gate in training. The peer is our plain layer, the same engine at the same thread count: the bars are about what
an option adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from unrolled.bench import parity
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import Yardstick, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.twins import Half, Shape, data, layer

SHAPE = Shape("LSTM", T=64, B=64, H=256, L=2)
OPTIONS: dict[str, tuple[dict[str, Any], Bar]] = {
    "reset mask": ({}, Bar(3.0, 0.0, below=True)),
    "trace": ({}, Bar(10.0, 0.0, below=True)),
    "layer norm": ({"layer_norm": True}, Bar(25.0, 10.0, below=True)),
    "zoneout": ({"zoneout": 0.1}, Bar(25.0, 10.0, below=True)),
}


def rows(config: BenchConfig, shape: Shape = SHAPE) -> Iterator[Row]:
    """One row an option: per cent above the plain layer."""
    yardstick = None
    for option, (built, bar) in OPTIONS.items():
        name = f"{shape}, {option}"
        if not config.wants(name):
            continue
        yardstick = yardstick or Yardstick()
        try:
            with_it, plain = _halves(shape, option, built, config.engine)
        except ParityError as error:
            yield Row(name, refused=str(error))
            continue
        except ValueError as error:  # an engine asked for by name that does not take the option
            yield Row(name, skipped=str(error))
            continue
        found = compare(with_it.side(), plain.side(), pairs=config.pairs, yardstick=yardstick)
        figures = {"more": found.more(bar), "with it": found.milliseconds(), "plain": found.milliseconds("peer")}
        yield Row(name, figures)


def _halves(shape: Shape, option: str, built: dict[str, Any], engine: str) -> tuple[Half, Half]:
    """The layer with the option and the plain one; the option's result is first held against the reference engine's."""
    call: dict[str, Any] = {}
    if option == "reset mask":
        call["resets"] = torch.rand(shape.T, shape.B, generator=torch.Generator().manual_seed(2)) < 0.02
    if option == "trace":
        call["trace"] = True
    small = dataclasses.replace(shape, T=min(shape.T, 8), B=min(shape.B, 4), H=min(shape.H, 32))
    few = {"resets": call["resets"][:8, :4]} if "resets" in call else call
    results = []
    for which in (engine, "reference"):
        torch.manual_seed(3)  # both draw the same masks
        results.append(Half("", layer(small, which, **built), *data(small), **few).results())
    parity.check(*results)
    with_it = Half("with it", layer(shape, engine, **built), *data(shape), **call)
    return with_it, Half("plain", layer(shape, engine), *data(shape))
