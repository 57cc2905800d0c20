"""``unrolled::rnn``, ``unrolled::lstm`` and ``unrolled::gru``: the operators that torch.compile and torch.export see.

They are named by cell and dispatched by device; on a CPU they are the native engine. Eager calls go past them, since an
operator written in Python costs more than a short sequence does; what they run is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engines.native import core, stack
from unrolled.engines.native.autograd import Cotangents, Plan, recomputed
from unrolled.engines.native.net import Net, Rates, check, check_values, net_of
from unrolled.engines.native.stack import Given, Made, Wanted, dense

_OPTIONS = (
    "Tensor[] weights, Tensor? lengths, Tensor? resets, Tensor? seed, int num_layers, bool bidirectional, bool bias, "
    "bool layer_norm, float dropout, float recurrent_dropout, float[] zoneout, bool keep"
)
"""``seed``: of the masks; None in evaluation. ``keep``: leave a tape; without one there is no gradient."""

_OWN = {"rnn": "str nonlinearity", "lstm": "int proj_size", "gru": "bool reset_after"}
"""What only one of them takes, at the end."""


class _Arguments:
    """The arguments of one operator, brought into the form of the rest of this room."""

    def __init__(self, name: str, arguments: Sequence[Any]) -> None:
        n = 2 if name == "lstm" else 1
        x, *state = arguments[: 1 + n]
        weights, lengths, resets, seed, layers, bidirectional, bias, layer_norm, *rest = arguments[1 + n :]
        dropout, recurrent, zoneout, self.keep, own = rest
        cell = {"rnn": f"rnn-{own}", "lstm": "lstm", "gru": "gru" if own else "gru-reset-before"}[name]
        H = int(weights[0].shape[0]) // (4 if name == "lstm" else 3 if name == "gru" else 1)
        P = own if name == "lstm" else 0
        net = net_of(cell, int(weights[0].shape[1]), H, layers, bidirectional, bias, P, layer_norm)
        self.plan = Plan(net, Rates(dropout, recurrent, tuple(zoneout)), seed, True)
        self.given = Given(x, state[0], state[1] if n == 2 else None, weights, lengths, resets)

    def checked(self) -> _Arguments:
        """Sizes, dtypes and devices."""
        given = self.given
        states = [given.h0] if given.c0 is None else [given.h0, given.c0]
        check(self.plan.net, given.x, states, given.weights, given.lengths, given.resets)
        return self

    def made_dense(self) -> _Arguments:
        x, h0, c0, weights, lengths, resets = self.given
        self.given = Given(
            dense(x), h0.contiguous(), None if c0 is None else c0.contiguous(), [w.contiguous() for w in weights],
            None if lengths is None else lengths.contiguous(), None if resets is None else resets.contiguous(),
        )  # fmt: skip
        return self


def _forward(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        if core.missing() is not None:
            raise ImportError(f"unrolled::{name} on a CPU: {core.missing()}")
        call = _Arguments(name, arguments).checked()
        check_values(call.plan.net, call.given.x, call.given.lengths)
        call.made_dense()
        made = stack.forward(call.plan.task(call.given, call.keep), call.keep, clean=True)
        return _outputs(call.plan.net, made, call.given)

    return forward


def _outputs(net: Net, made: Made, given: Given) -> tuple[Tensor, ...]:
    tape = given.h0.new_empty(0) if made.tape is None else made.tape
    states = (made.h_n,) if made.c_n is None else (made.h_n, made.c_n)
    return made.output, *states, tape


def _forward_fake(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def fake(*arguments: Any) -> tuple[Tensor, ...]:
        call = _Arguments(name, arguments).checked()
        net, (x, h0, c0, *_) = call.plan.net, call.given
        T, B = x.shape[0], x.shape[1]
        n = call.plan.layout(T, B).total if call.keep else 0
        states = (h0.new_empty(h0.shape),) if c0 is None else (h0.new_empty(h0.shape), c0.new_empty(c0.shape))
        return h0.new_empty(T, B, net.directions * net.R), *states, h0.new_empty(n)

    return fake


def _setup(name: str) -> Callable[..., None]:
    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        call = _Arguments(name, inputs)
        x, h0, c0, weights, lengths, resets = call.given
        ctx.save_for_backward(x, h0, c0, lengths, resets, call.plan.seed, output[0], output[-1], *weights)
        n = 2 if c0 is None else 3
        ctx.options, ctx.keep = inputs[n + 4 :], call.keep
        ctx.set_materialize_grads(False)

    return setup


def _gradient(name: str) -> Callable[..., tuple[Any, ...]]:
    def gradient(ctx: Any, *d: Tensor | None) -> tuple[Any, ...]:
        if not ctx.keep:
            raise RuntimeError(f"unrolled::{name} ran with keep=False and left no tape: there is no gradient")
        x, h0, c0, lengths, resets, seed, output, tape, *weights = ctx.saved_tensors
        states = [h0] if c0 is None else [h0, c0]
        n = len(states)
        needs = ctx.needs_input_grad
        wanted = [*needs[: 1 + n], *needs[1 + n]]
        arguments = [x, *states, weights, lengths, resets, seed, *ctx.options]
        if torch.is_grad_enabled():  # create_graph=True
            found = _again(name, arguments, d, wanted)
        else:
            d_c = d[2] if n == 2 else None
            made = getattr(torch.ops.unrolled, f"{name}_backward")(
                d[0], d[1], *([d_c] if n == 2 else []), d[-1], output, tape, wanted, *arguments
            )
            rest = iter(made)
            found = [next(rest) if want else None for want in wanted]
        none: list[Any] = [[] if o == [] else None for o in ctx.options]  # torch takes an empty list for one of tensors
        return (*found[: 1 + n], found[1 + n :], None, None, None, *none)

    return gradient


def _again(name: str, arguments: Sequence[Any], d: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Any]:
    call = _Arguments(name, arguments)
    n = 1 if call.given.c0 is None else 2
    asked = Wanted(wanted[0], wanted[1], n == 2 and wanted[2], wanted[1 + n :])
    grads = recomputed(call.plan, call.given, Cotangents.of(call.plan, d), asked)
    return [grads.x, grads.h0, *([grads.c0] if n == 2 else []), *grads.weights]


def _backward(name: str) -> Callable[..., list[Tensor]]:
    def backward(*arguments: Any) -> list[Tensor]:
        n = 3 if name == "lstm" else 2
        d, output, tape, wanted = arguments[: n + 1], *arguments[n + 1 : n + 4]
        call = _Arguments(name, arguments[n + 4 :]).checked().made_dense()
        asked = Wanted(wanted[0], wanted[1], n == 3 and wanted[2], wanted[n:])
        _check_backward(call, d, output, tape)
        cotangents = Cotangents.of(call.plan, d)
        grads = stack.backward(call.plan.task(call.given), output, tape, *cotangents, asked)
        found = [grads.x, grads.h0, *([grads.c0] if n == 3 else []), *grads.weights]
        return [g for g in found if g is not None]

    return backward


def _check_backward(call: _Arguments, d: Sequence[Tensor | None], output: Tensor, tape: Tensor) -> None:
    made = _forward_shapes(call)
    names = ["output", "h_n", *(["c_n"] if len(made) == 4 else []), "tape"]
    given = [*zip([f"d_{name}" for name in names], d, made, strict=True), ("output", output, made[0])]
    for name, tensor, shape in [*given, ("tape", tape, made[-1])]:
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape or tensor.dtype != call.given.h0.dtype or not tensor.is_cpu:
            raise ValueError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}, expected {call.given.h0.dtype} "
                f"{shape} on a CPU"
            )
        if name in ("output", "tape") and not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous: give it as the forward operator made it")


def _forward_shapes(call: _Arguments) -> list[tuple[int, ...]]:
    net, (x, h0, c0, *_) = call.plan.net, call.given
    T, B = x.shape[0], x.shape[1]
    states = [tuple(s.shape) for s in (h0, c0) if s is not None]
    return [(T, B, net.directions * net.R), *states, (call.plan.layout(T, B).total,)]


def _backward_fake(name: str) -> Callable[..., list[Tensor]]:
    def fake(*arguments: Any) -> list[Tensor]:
        n = 3 if name == "lstm" else 2
        wanted, (x, *rest) = arguments[n + 3], arguments[n + 4 :]
        tensors = [x, *rest[: n - 1], *rest[n - 1]]
        return [t.new_empty(t.shape) for t, want in zip(tensors, wanted, strict=True) if want]

    return fake


def _define(name: str) -> Callable[..., Any]:
    c0, c_n, d_c_n = (", Tensor c0", "Tensor, ", "Tensor? d_c_n, ") if name == "lstm" else ("", "", "")
    options = f"Tensor x, Tensor h0{c0}, {_OPTIONS}, {_OWN[name]}"
    forward: Any = torch.library.custom_op(
        f"unrolled::{name}", _forward(name), mutates_args=(), device_types="cpu",
        schema=f"({options}) -> (Tensor, Tensor, {c_n}Tensor)",
    )  # fmt: skip
    backward: Any = torch.library.custom_op(
        f"unrolled::{name}_backward", _backward(name), mutates_args=(), device_types="cpu",
        schema=f"(Tensor? d_output, Tensor? d_h_n, {d_c_n}Tensor? d_tape, Tensor output, Tensor tape, bool[] wanted, "
        f"{options}) -> Tensor[]",
    )  # fmt: skip
    forward.register_fake(_forward_fake(name))
    backward.register_fake(_backward_fake(name))
    forward.register_autograd(_gradient(name), setup_context=_setup(name))
    return forward  # type: ignore[no-any-return]


OPERATORS = {name: _define(name) for name in _OWN}
"""By name: ``rnn``, ``lstm``, ``gru``. Their results are output, h_n, (c_n,) and the tape."""
