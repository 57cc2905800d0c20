"""The native engine: the compiled core's kernels, a whole stack of layers and directions in one call of Python."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.engines.call import Trace
from unrolled.engines.native import autograd, lookup, tracing
from unrolled.engines.native.autograd import Plan
from unrolled.engines.native.by_hand import Unrolled, backward, unroll
from unrolled.engines.native.core import missing
from unrolled.engines.native.net import CODES, DTYPES, Net, Rates, check, check_weights
from unrolled.engines.native.ops import OPERATORS
from unrolled.engines.native.stack import Given, Made, dense
from unrolled.engines.spying import record


def run_stack(
    net: Net,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    *,
    rates: Rates,
    seed: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    trace: bool = False,
    embedding: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...], list[Trace]]:
    """All layers and directions of a network.

    Args:
        x: (T, B, I), or ids (T, B), within 0 and I where they are valid. state: (h,) or (h, c), each (L*D, B, N).
        weights: flat, the parameters of each of the net's cells in the cell's order.
        seed: of the masks; None in evaluation. lengths: (B,) int64. resets: (T, B) bool.
        embedding: (V, I), whose rows the ids stand for.
    Returns:
        output (T, B, D*R); the last states, as they came; a trace for each row of h_n if asked for.
    """
    record("native")
    given = Given(x, state[0], state[1] if len(state) > 1 else None, weights, lengths, resets)
    watched = _watched(given)
    if embedding is not None and watched:
        given = given._replace(x=F.embedding(x, embedding))
    elif embedding is not None:
        net, x, weights = lookup.rows_once(net, x, embedding, weights)
        given = given._replace(x=x, weights=weights)
    plan = Plan(net, rates, seed, trace)
    made = _through_operator(plan, given) if watched else autograd.run(plan, _dense(net, given))
    last = (made.h_n,) if made.c_n is None else (made.h_n, made.c_n)
    if not trace:
        return made.output, last, []
    return made.output, last, tracing.traces(net, plan.layout(x.shape[0], x.shape[1]), given, made)


def run_step(net: Net, x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of one cell, a sequence of length 1: x (B, I) or ids (B,), each state (B, N)."""
    _, last, _ = run_stack(net, x[None], tuple(s[None] for s in state), weights, rates=Rates())
    return tuple(s[0] for s in last)


_PLAIN = (Tensor, torch.nn.Parameter)


def _watched(given: Given) -> bool:
    """Whether someone must see an operator: a compiler, a tracer, a dispatch mode, or tensors of another kind."""
    if torch.compiler.is_compiling() or torch._C._is_tracing() or torch._C._len_torch_dispatch_stack():
        return True
    if type(given.x) not in _PLAIN or type(given.h0) not in _PLAIN:
        return True
    return any([type(w) not in _PLAIN for w in given.weights])


def _dense(net: Net, given: Given) -> Given:
    """Laid out as the core reads it; what has to be copied is, under autograd. The border of a layer has seen that
    input and states fit each other, and the dtype of the weights; so here it is the weights themselves, and places."""
    x, h0, c0, weights, lengths, resets = given
    check_weights(net, weights)
    if not x.is_cpu:
        check(net, x, (h0,) if c0 is None else (h0, c0), weights, lengths, resets)  # which names what is elsewhere
    if not all([w.is_contiguous() for w in weights]):
        weights = [w.contiguous() for w in weights]
    return Given(
        dense(x), h0.contiguous(), None if c0 is None else c0.contiguous(), weights,
        None if lengths is None else lengths.contiguous(), None if resets is None else resets.contiguous(),
    )  # fmt: skip


def _through_operator(plan: Plan, given: Given) -> Made:
    net, (x, h0, c0, weights, lengths, resets) = plan.net, given
    first = net.cells[0]
    name = first.name.partition("-")[0]
    own = {"rnn": first.name[4:], "lstm": net.P, "gru": first.name == "gru"}[name]
    keep = plan.trace or (torch.is_grad_enabled() and any(t.requires_grad for t in (x, h0, *weights)))
    keep = keep or (torch.is_grad_enabled() and c0 is not None and c0.requires_grad)
    keep = keep or torch._C._is_tracing()  # what torch.jit.trace records must serve training too
    found = getattr(torch.ops.unrolled, name)(
        x, h0, *(() if c0 is None else (c0,)), list(weights), lengths, resets, plan.seed, net.layers,
        net.directions == 2, first.bias, first.layer_norm, plan.rates.dropout, plan.rates.recurrent_dropout,
        list(plan.rates.zoneout), keep, own,
    )  # fmt: skip
    return Made(found[0], found[1], found[2] if c0 is not None else None, found[-1])


__all__ = [
    "CODES", "DTYPES", "OPERATORS", "Net", "Rates", "Unrolled", "backward", "missing", "run_stack", "run_step",
    "unroll",
]  # fmt: skip
