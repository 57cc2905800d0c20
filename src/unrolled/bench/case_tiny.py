"""One stream of 25 steps: here a call's overhead is what is measured.

B 1, T 25, I 65, H 100, one layer (the lecture's program), forward and backward, each side at the thread count that
suits it best. "autograd" goes through the layer and ``backward()`` on both sides; "own call" is the engine's
``unroll`` and ``backward`` without autograd, against torch's fastest way, which is through autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from unrolled.bench import parity
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import Side, best_threads, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.twins import Half, Shape, twins
from unrolled.doctor.kernel import KernelCall
from unrolled.engines import Call, reference

AUTOGRAD = {"LSTM": Bar(3.5), "GRU": Bar(12.0), "RNN": Bar(5.0)}
OWN_CALL = {"LSTM": Bar(15.0), "GRU": Bar(50.0), "RNN": Bar(25.0)}


def rows(config: BenchConfig) -> Iterator[Row]:
    """Three cells, two ways."""
    for cell in AUTOGRAD:
        shape = Shape(cell, T=25, B=1, H=100, I=65)
        names = {"autograd": f"{shape}, autograd", "own call": f"{shape}, own call"}
        if not any(config.wants(name) for name in names.values()):
            continue
        try:
            ours, peer = twins(shape, config.engine)
        except ParityError as error:
            yield Row(str(shape), refused=str(error))
            continue
        counts = (1, config.threads or torch.get_num_threads())
        theirs = best_threads(peer.side(), counts)
        if config.wants(names["autograd"]):
            yield _measured(names["autograd"], best_threads(ours.side(), counts), theirs, AUTOGRAD[cell], config)
        if config.wants(names["own call"]):
            yield _own_row(names["own call"], ours, theirs, OWN_CALL[cell], config, counts)


def _measured(name: str, ours: Side, theirs: Side, bar: Bar, config: BenchConfig) -> Row:
    found = compare(ours, theirs, pairs=config.pairs)
    note = f"threads: ours {ours.threads}, torch {theirs.threads}"
    figures = {"ratio": found.ratio(bar), "ours": found.milliseconds(), "torch": found.milliseconds("peer")}
    return Row(name, figures, note=note)


def _own_row(
    name: str, ours: Half, theirs: Side, bar: Bar, config: BenchConfig, counts: tuple[int, ...]
) -> Row:  # fmt: skip
    engine = _engine_of(ours)
    found = own_call(ours, engine)
    if found is None:
        return Row(name, skipped=f"the engine {engine} has no call of its own")
    run, results = found
    expected = {n.removesuffix("_l0"): t for n, t in ours.results().items() if not n.startswith("state")}
    try:
        run()
        parity.check(results(), expected)
    except ParityError as error:
        return Row(name, refused=str(error))
    return _measured(name, best_threads(Side("ours", run), counts), theirs, bar, config)


Own = tuple[Callable[[], object], Callable[[], dict[str, Tensor]]]


def own_call(half: Half, engine: str) -> Own | None:
    """Forward and backward without autograd, and what the last run of it found; None where the engine has no such call.

    ``native``: one call of the core each way, into memory made beforehand. ``reference``: ``unroll`` and ``backward``.
    """
    layer: Any = half.layer
    weights = {n: w.detach() for n, w in layer._weights(0).items()}
    x, cell, d_output = half.x.detach(), layer._cell(0), half.d_output
    zeros = tuple(x.new_zeros(x.shape[1], n) for n in cell.state_sizes())
    call = Call(cell, weights, x, zeros)
    if engine == "native":
        kernel = KernelCall(call, d_output, zeros)

        def run_native() -> None:
            kernel.threads = torch.get_num_threads()
            kernel.run()

        names = {"output", "dx", *(f"d_{n}" for n in weights)}
        return run_native, lambda: {n: t for n, t in kernel.results().items() if n in names}
    if engine != "reference":
        return None
    last: list[tuple[Tensor, reference.Backward]] = []

    def run_reference() -> None:
        output, _, tape = reference.unroll(call)
        last[:] = [(output, reference.backward(tape, d_output, zeros))]

    def results() -> dict[str, Tensor]:
        output, grads = last[0]
        assert grads.x is not None
        return {"output": output, "dx": grads.x, **{f"d_{n}": g for n, g in grads.weights.items()}}

    return run_reference, results


def _engine_of(half: Half) -> str:
    layer: Any = half.layer
    return str(layer.explain(half.x).engine)
