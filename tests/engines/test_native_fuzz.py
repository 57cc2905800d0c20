"""Random shapes and options on the native engine, against the reference: outputs, states and every gradient."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

import unrolled
from tests.cases import as_tuple, hx, needs_core, scalar, state_of
from tests.tolerances import TOLERANCES
from unrolled.engines.native import core

pytestmark = needs_core
EDGES = [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130]
"""Hidden sizes around the width of a register, and of the blocks of several."""


def draw(rng: random.Random) -> dict[str, Any]:
    """One case."""
    kind = rng.choice(["RNN", "LSTM", "GRU"])
    H = rng.choice(EDGES) if rng.random() < 0.7 else rng.randint(1, 130)
    built: dict[str, Any] = {"bias": rng.random() < 0.8, "bidirectional": rng.random() < 0.3}
    built |= {"num_layers": 2, "dropout": rng.choice([0.0, 0.3])} if rng.random() < 0.25 else {}
    built |= {"batch_first": rng.random() < 0.3, "layer_norm": rng.random() < 0.2}
    built |= {"zoneout": rng.choice([0.1, 0.7])} if rng.random() < 0.2 else {}
    built |= {"recurrent_dropout": 0.4} if rng.random() < 0.2 else {}
    if kind == "RNN":
        built["nonlinearity"] = rng.choice(["tanh", "relu", "identity"])
    if kind == "GRU" and not built["layer_norm"]:
        built["reset_after"] = rng.random() < 0.6
    if kind == "LSTM" and H > 1 and rng.random() < 0.3:
        built["proj_size"] = rng.randint(1, H - 1)
    sizes = {
        "T": rng.randint(1, 9),
        "B": rng.randint(1, 70),
        "I": rng.randint(1, 40) if rng.random() < 0.7 else rng.randint(128, 160),
        "H": H,
    }
    flags = {name: rng.random() < 0.3 for name in ("lengths", "resets", "tokens", "embedding", "state")}
    return {
        "kind": kind,
        "built": built,
        **sizes,
        **flags,
        "training": rng.random() < 0.6,
        "threads": rng.randint(1, 4),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", range(8))
def test_a_random_call_equals_the_references(part: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_available", [float("inf"), 4])
    rng = random.Random(1000 + part)
    for number in range(12):
        case = draw(rng)
        torch.manual_seed(rng.randint(0, 10**9))
        torch.set_num_threads(case["threads"])
        compare(case, dtype, f"case {number} of part {part}: {case}")


def compare(case: dict[str, Any], dtype: torch.dtype, what: str) -> None:
    """Both engines; each tensor to within the table's tolerance of its own largest number, gradients ten times that."""
    T, B, I, built = case["T"], case["B"], case["I"], case["built"]
    make = getattr(unrolled, case["kind"])
    fast = make(I, case["H"], engine="native", dtype=dtype, **built).train(case["training"])
    # In float32 the yardstick is the reference in float64, whose own rounding counts for nothing.
    slow = make(I, case["H"], engine="reference", dtype=torch.float64, **built).train(case["training"])
    slow.load_state_dict(fast.state_dict())
    with torch.no_grad():
        for p, q in zip(fast.parameters(), slow.parameters(), strict=True):
            q.copy_(p)
    V, tokens = 30, case["tokens"] or case["embedding"]
    x: Any = torch.randn(T, B, I, dtype=dtype)
    if tokens:
        x = torch.randint(0, V if case["embedding"] else I, (T, B))
    options: dict[str, Any] = {}
    options |= {"lengths": torch.randint(0, T + 1, (B,))} if case["lengths"] else {}
    options |= {"resets": torch.rand(T, B) < 0.3} if case["resets"] else {}
    options |= {"embedding": torch.randn(V, I, dtype=dtype)} if case["embedding"] else {}
    state = state_of(fast, B) if case["state"] else None
    seed = int(torch.randint(0, 10**9, ()))
    found = []
    for net in (fast, slow):
        torch.manual_seed(seed)
        found.append(results(net, x, state, options))
    table, made = TOLERANCES[dtype], 1 + len(as_tuple(state_of(fast, 1)))
    for k, (a, e) in enumerate(zip(*found, strict=True)):
        limit = (1 if k < made else 10) * (table["rtol"] * float(e.abs().max()) + table["atol"]) if e.numel() else 0.0
        assert a.shape == e.shape, f"{what}: result {k}"
        assert float((a.double() - e).abs().max()) <= limit, f"{what}: result {k}, over {limit}"


def results(net: Any, x: Any, state: Any, options: dict[str, Any]) -> list[torch.Tensor]:
    """Output, last states, gradients; in the net's own dtype."""
    dtype = net.weight_ih_l0.dtype
    given = dict(options)
    leaves: list[torch.Tensor] = []
    if "embedding" in given:
        given["embedding"] = given["embedding"].to(dtype).requires_grad_()
        leaves.append(given["embedding"])
    if x.is_floating_point():
        x = x.to(dtype).requires_grad_()
        leaves.append(x)
    if state is not None:
        state = tuple(s.to(dtype).requires_grad_() for s in state)
        leaves += state
    if net.batch_first:
        x = x.transpose(0, 1)
        given |= {"resets": given["resets"].transpose(0, 1)} if "resets" in given else {}
    output, last = net(x, None if state is None else hx(state), **given)
    loss = scalar(output, *as_tuple(last))
    grads = torch.autograd.grad(loss, [*leaves, *net.parameters()], allow_unused=True, materialize_grads=True)
    return [output.detach(), *(s.detach() for s in as_tuple(last)), *grads]
