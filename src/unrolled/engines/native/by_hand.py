"""Back-propagation through time by hand on the core: one layer in one direction, as the reference engine has it.

``unroll`` and ``backward`` are :func:`unrolled.engines.reference.unroll` and its ``backward`` at the speed of the core:
the same arguments, the same results; of the summands of each step (``by_step``) it gives none, of each step's ``d_h``
and ``d_gates`` all.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from unrolled.cells import State
from unrolled.engines.call import Call
from unrolled.engines.native import core, stack
from unrolled.engines.native.net import Net, Rates, check, check_values
from unrolled.engines.native.stack import Given, Task, dense
from unrolled.engines.reference import Backward


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """What :func:`unroll` leaves for :func:`backward`."""

    call: Call
    given: Given
    output: Tensor
    tape: Tensor


class _One(Task):
    """A task of one call, whose masks are given."""

    def __init__(self, call: Call, given: Given) -> None:
        if call.zoned and call.seed is None:
            raise ValueError("zoned: the core draws zoneout's bits itself; give the call the seed and streams of them")
        net = Net([call.cell], 1)
        net.reverse = [int(call.reverse)]
        zoneout = bool(call.zoneout) and call.zoneout[0] > 0
        layout = net.layout(given.x.shape[0], given.x.shape[1], zoneout, False)
        seed = int(call.seed) if call.zoned and call.seed is not None else None
        super().__init__(net, Rates(), given, seed, layout)
        self.zoneouts = [
            (0, state, rate, seed is not None, seed or 0, call.streams[state] if call.streams else 0)
            for state, rate in enumerate(call.zoneout)
        ]
        if call.mask is not None:
            self.alive.append(call.mask.contiguous())
            self.masks = [self.alive[-1].data_ptr()]


@torch.no_grad()
def unroll(call: Call) -> tuple[Tensor, State, Unrolled]:
    """Forward through the entire sequence: output (T, B, R), last state, tape.

    Raises:
        ShapeError, TypeError, ValueError: name the argument and both shapes.
    """
    given = _given(call)
    made = stack.forward(_One(call, given), True)
    assert made.tape is not None
    last = (made.h_n,) if made.c_n is None else (made.h_n, made.c_n)
    return made.output, tuple(s[0] for s in last), Unrolled(call, given, made.output, made.tape)


@torch.no_grad()
def backward(tape: Unrolled, d_output: Tensor, d_state: State, *, per_step: bool = False) -> Backward:
    """Backward through the entire sequence.

    Args:
        d_output: (T, B, R), gradient of the loss with respect to the output.
        d_state: gradient with respect to the last state, one tensor a state.
        per_step: give ``d_h`` and ``d_gates`` of every step as well.
    """
    call, given, net = tape.call, tape.given, Net([tape.call.cell], 1)
    T, B = given.x.shape[0], given.x.shape[1]
    tokens = given.x.dim() == 2
    d_h = core.empty(tape.output, T, B, net.R) if per_step else None
    d_gates = core.empty(tape.output, T, B, net.GH) if per_step else None
    wanted = stack.Wanted(not tokens, True, given.c0 is not None, [True] * len(given.weights))
    d_h_n, d_c_n = d_state[0][None], d_state[1][None] if len(d_state) > 1 else None
    grads = stack.backward(
        _One(call, given), tape.output, tape.tape, d_output, d_h_n, d_c_n, None, wanted, (d_h, d_gates)
    )
    state = tuple(s[0] for s in (grads.h0, grads.c0) if s is not None)
    weights = {name: grad for name, grad in zip(net.names[0], grads.weights, strict=True) if grad is not None}
    return Backward(grads.x, state, weights, d_h, d_gates)


def _given(call: Call) -> Given:
    net, weights = Net([call.cell], 1), [call.w[p.name].detach().contiguous() for p in call.cell.parameters()]
    state = [s[None].contiguous() for s in call.state]
    lengths = None if call.lengths is None else call.lengths.contiguous()
    resets = None if call.resets is None else call.resets.contiguous()
    check(net, call.x, state, weights, lengths, resets)
    check_values(net, call.x, lengths)
    return Given(dense(call.x), state[0], state[1] if len(state) > 1 else None, weights, lengths, resets)
