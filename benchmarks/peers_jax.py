"""JAX as a peer: the same LSTM, GRU or tanh RNN, compiled, forward and backward, beside ours.

    pip install jax && python benchmarks/peers_jax.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

JAX in its best form: float32, `jit` over `value_and_grad`, the input product over all steps at once, `lax.scan` over
time with one fused gate product a step, no transfer inside. Its threads are XLA's own: set them from outside by
affinity (`taskset -c 0,1`), and ours by --threads. T 64, two layers, I = H; B64 H512, B64 H256, B32 H128, and one
stream of 25 steps.
Prints a table, then one JSON line; without JAX it says so and ends with 0.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from unrolled.bench import parity
from unrolled.bench.cases import start
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Row
from unrolled.bench.measure import Side, Yardstick, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.show import dump, failed, show
from unrolled.bench.twins import GATES, Half, Shape, data, layer

SHAPES = [(64, 64, 512, 2), (64, 64, 256, 2), (64, 32, 128, 2), (25, 1, 100, 1)]  # T, B, H, L


def steps(jax: Any, cell: str, w: dict[str, Any], k: int) -> Callable[[Any], tuple[Any, Any]]:
    """One layer over time: (T, B, I) to (T, B, H), and the last h."""
    jnp, nn = jax.numpy, jax.nn
    W_hh, b_hh = w[f"weight_hh_l{k}"].T, w[f"bias_hh_l{k}"]

    def lstm(state: Any, x_bar: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x_bar + h @ W_hh + b_hh, 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(state: Any, x_bar: Any) -> Any:
        (h,) = state
        x_r, x_z, x_n = jnp.split(x_bar, 3, -1)
        h_r, h_z, h_n = jnp.split(h @ W_hh + b_hh, 3, -1)
        r, z = nn.sigmoid(x_r + h_r), nn.sigmoid(x_z + h_z)
        h = (1 - z) * jnp.tanh(x_n + r * h_n) + z * h
        return (h,), h

    def rnn(state: Any, x_bar: Any) -> Any:
        h = jnp.tanh(x_bar + state[0] @ W_hh + b_hh)
        return (h,), h

    one = {"LSTM": lstm, "GRU": gru, "RNN": rnn}[cell]

    def run(x: Any) -> tuple[Any, Any]:
        x_bar = x @ w[f"weight_ih_l{k}"].T + w[f"bias_ih_l{k}"]
        zeros = jnp.zeros((x.shape[1], W_hh.shape[0]), x.dtype)
        last, output = jax.lax.scan(one, (zeros,) * (2 if cell == "LSTM" else 1), x_bar)
        return output, last[0]

    return run


def compiled(jax: Any, shape: Shape, ours: Half) -> tuple[Callable[[], Any], Callable[[], dict[str, torch.Tensor]]]:
    """JAX's forward and backward, compiled: to be run, and its results by the names of ours."""
    w = {n: jax.numpy.asarray(p.detach().numpy()) for n, p in ours.layer.named_parameters()}
    x, d = (jax.numpy.asarray(t.detach().numpy()) for t in (ours.x, ours.d_output))

    def objective(w: Any, x: Any) -> tuple[Any, Any]:
        for k in range(shape.L):
            x, _ = steps(jax, shape.cell, w, k)(x)
        return (x * d).sum(), x

    function = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))

    def run() -> Any:
        return jax.block_until_ready(function(w, x))

    def results() -> dict[str, torch.Tensor]:
        (_, output), (d_w, dx) = run()
        found = {"output": output, "dx": dx, **{f"d_{n}": g for n, g in d_w.items()}}
        return {n: torch.from_numpy(jax.device_get(a).copy()) for n, a in found.items()}

    return run, results


def rows(jax: Any, config: BenchConfig) -> Iterator[Row]:
    yardstick = Yardstick()
    for cell in GATES:
        for T, B, H, L in SHAPES:
            shape = Shape(cell, T, B, H, L)
            if not config.wants(str(shape)):
                continue
            ours = Half("ours", layer(shape, config.engine), *data(shape))
            run, results = compiled(jax, shape, ours)
            mine = {n: t for n, t in ours.results().items() if not n.startswith("state")}
            try:
                parity.check(mine, results())
            except ParityError as error:
                yield Row(str(shape), refused=str(error))
                continue
            found = compare(ours.side(), Side("JAX", run), pairs=config.pairs, yardstick=yardstick)
            figures = {"ratio": found.ratio(), "ours": found.milliseconds(), "JAX": found.milliseconds("peer")}
            yield Row(str(shape), figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only")
    config = BenchConfig(**vars(parser.parse_args()))
    if importlib.util.find_spec("jax") is None:
        print("JAX is not installed: pip install jax", file=sys.stderr)
        sys.exit(0)
    jax: Any = importlib.import_module("jax")
    facts = start(config) | {"jax": jax.__version__}
    found = show(f"forward and backward against JAX {jax.__version__}", rows(jax, config))
    dump("peers_jax", facts, found)
    sys.exit(int(failed(found)))


if __name__ == "__main__":
    main()
