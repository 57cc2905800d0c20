"""A cell over time, forward and backward, with the slips of the loop; and the step functions of every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unrolled.check import slips_gru, slips_lstm, slips_rnn
from unrolled.check.interface import Interface
from unrolled.check.slips import Array, Arrays, Slips

_MODULES = {"rnn": slips_rnn, "lstm": slips_lstm, "gru": slips_gru}


def forward(cell: Interface, s: Slips, arguments: Arrays) -> tuple[Arrays, Any]:
    """One step: results and cache, arguments in the interface's order."""
    step: Callable[..., tuple[Arrays, Any]] = _MODULES[cell.key].forward
    return step(s, *arguments)


def backward(cell: Interface, s: Slips, d_state: Arrays, cache: Any) -> Arrays:
    """One step back, results in the interface's order."""
    back: Callable[..., Arrays] = _MODULES[cell.key].backward
    return back(s, d_state, cache)


def forward_sequence(cell: Interface, s: Slips, arguments: Arrays) -> tuple[Arrays, list[Any]]:
    """``hs`` and a cache for each step."""
    n = len(cell.states)
    xs, start, parameters = arguments[0], arguments[1 : 1 + n], arguments[1 + n :]
    T = len(xs)
    times = s(range(T), ("time runs backwards: the loop starts with the last input", range(T - 1, -1, -1)))
    state, hs, caches = start, np.zeros((T, *start[0].shape)), []
    for t in times:
        state = s(state, (f"{' and '.join(cell.states)} not carried: every step starts from the initial state", start))
        if n == 2:
            state = s(state, ("c not carried: every step starts from c0", (state[0], start[1])),
                      ("h not carried: every step starts from h0", (start[0], state[1])))  # fmt: skip
        before = state
        state, cache = forward(cell, s, (xs[t], *state, *parameters))
        hs[t] = s(state[0], ("hs[t] holds the state before step t", before[0]))
        caches.append(cache)
    return (hs,), caches


def backward_sequence(cell: Interface, s: Slips, dhs: Array, caches: Sequence[Any]) -> Arrays:
    """``dxs``, the gradient of the initial state, and those of the parameters, summed over time."""
    T, n = len(dhs), len(cell.states)
    zeros = np.zeros_like(dhs[0])
    d_next: list[Array] = [zeros] * n
    steps: list[Arrays] = []
    for t in s(range(T - 1, -1, -1), ("the loop runs forward in time, where it runs from the last step to the first",
                                      range(T))):  # fmt: skip
        dh = s(
            dhs[t] + d_next[0],
            ("dh_next not added: dh = dhs[t] + dh_next", dhs[t]),
            ("dhs[t] not added: dh = dhs[t] + dh_next", dhs[t] if t == T - 1 else d_next[0]),
        )
        d_state = (dh, *(s(d, ("dc_next not handed on: dc of a step is dc_prev of the step after it", zeros))
                         for d in d_next[1:]))  # fmt: skip
        steps.append(backward(cell, s, d_state, caches[t]))
        got = list(steps[-1][1 : 1 + n])
        got[0] = s(
            got[0],
            ("dh_next piles up: dh_next = dh_prev, not dh_next += dh_prev", d_next[0] + got[0]),
            ("dh_next is dh: it must be dh_prev, behind the step's derivative", dh),
        )
        d_next = got
    dxs = np.stack([g[0] for g in reversed(steps)])
    dxs = s(dxs, ("dxs is in reverse order of time", dxs[::-1]))
    return (dxs, *_starts(cell, s, d_next, steps), *_sums(cell, s, steps))


def _starts(cell: Interface, s: Slips, d_next: list[Array], steps: list[Arrays]) -> list[Array]:
    return [
        s(
            d,
            (f"d{name}0 is never filled: it is d{name}_prev of step 0", np.zeros_like(d)),
            (f"d{name}0 is summed over t: it is d{name}_prev of step 0 alone", sum(g[1 + k] for g in steps)),
            (f"d{name}0 is d{name}_prev of the last step: it is that of step 0", steps[0][1 + k]),
        )
        for k, (name, d) in enumerate(zip(cell.states, d_next, strict=True))
    ]


def _sums(cell: Interface, s: Slips, steps: list[Arrays]) -> list[Array]:
    found = []
    for k, value in enumerate(cell.parameters, 1 + len(cell.states)):
        shares = [g[k] for g in steps]  # the last step first, as the loop made them
        total = sum(shares[1:], shares[0])
        wrong = []
        for who, is_, holds in ((f"d{value.name}", "lacks", "is"), ("every weight's gradient", "lacks", "is")):
            wrong += [
                (f"{who} {is_} the sum over t: it {holds} the share of step 0 alone (= where += belongs)", shares[-1]),
                (f"{who} {is_} the sum over t: it {holds} the share of the last step alone", shares[0]),
                (f"{who} is the mean over t, where it is the sum", total / len(shares)),
                (f"{who} lacks the share of step 0: the loop ends one step early", total - shares[-1]),
                (f"{who} lacks the share of the last step: the loop begins one step late", total - shares[0]),
            ]
        found.append(np.asarray(s(total, *wrong)))
    return found
