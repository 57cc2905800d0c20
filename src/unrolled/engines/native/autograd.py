"""The stack under autograd: one Function for all layers and directions, and double backward by recomputation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled.engines import reference
from unrolled.engines.native import stack, tracing
from unrolled.engines.native.net import Layout, Net, Rates
from unrolled.engines.native.stack import Given, Made, Wanted


class Plan(NamedTuple):
    """What a call is beside its tensors."""

    net: Net
    rates: Rates
    seed: Tensor | None
    trace: bool

    def layout(self, T: int, B: int, keep: bool = True) -> Layout:
        """Where the tape keeps what; without ``keep``, where a call without one puts what layers hand on."""
        zoneout, drawn = self.rates.zoneout, self.seed is not None
        return self.net.layout(T, B, bool(zoneout) and zoneout[0] > 0, drawn and self.rates.dropout > 0, keep)

    def task(self, given: Given, keep: bool = True) -> stack.Task:
        """The call of the core; without ``keep`` it can leave no tape."""
        layout = self.layout(given.x.shape[0], given.x.shape[1], keep)
        return stack.Task(self.net, self.rates, given, None if self.seed is None else int(self.seed), layout)


class Stack(torch.autograd.Function):
    """``apply(plan, task, x, h0, c0, lengths, resets, *weights)``: output, h_n, c_n (LSTM), the tape (for a trace).
    ``task`` is the plan's of these tensors."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, task: stack.Task, *tensors: Any) -> Any:
        made = stack.forward(task, True)
        ctx.plan = plan
        ctx.save_for_backward(*tensors, made.output, made.tape)
        ctx.set_materialize_grads(False)
        outputs = (made.output, made.h_n) if made.c_n is None else (made.output, made.h_n, made.c_n)
        return (*outputs, made.tape) if plan.trace else outputs

    @staticmethod
    def backward(ctx: Any, *d_outputs: Any) -> Any:
        plan: Plan = ctx.plan
        x, h0, c0, lengths, resets, *weights, output, tape = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wanted = Wanted(needs[2], needs[3], needs[4], needs[7:])
        given = Given(x, h0, c0, weights, lengths, resets)
        d = Cotangents.of(plan, d_outputs)
        # create_graph=True: the gradients themselves are to be differentiated. A batch of gradients (is_grads_batched,
        # jacobian(vectorize=True)) has no numbers at an address.
        if torch.is_grad_enabled() or any([g is not None and _batched(g) for g in d_outputs]):
            grads = recomputed(plan, given, d, wanted)
        else:
            grads = stack.backward(plan.task(given), output, tape, *d, wanted)
        return (None, None, grads.x, grads.h0, grads.c0, None, None, *grads.weights)


def _batched(t: Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(t) or torch._C._functorch.is_legacy_batchedtensor(t))


# Past Function.apply in Python, which looks for torch.func on every call: the layer has looked before.
_apply: Any = super(torch.autograd.Function, Stack).apply


class Cotangents(NamedTuple):
    """Gradients of output, h_n, c_n and tape; None is zero."""

    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    tape: Tensor | None

    @staticmethod
    def of(plan: Plan, d: Sequence[Tensor | None]) -> Cotangents:
        c_n = d[2] if plan.net.has_c else None
        return Cotangents(d[0], d[1], c_n, d[-1] if plan.trace else None)


def run(plan: Plan, given: Given) -> Made:
    """A call in eager mode; without a gradient to come it leaves no tape (but for a trace)."""
    x, h0, c0, weights, lengths, resets = given
    if not torch.is_grad_enabled() or not (
        x.requires_grad or h0.requires_grad or (c0 is not None and c0.requires_grad)
        or any([w.requires_grad for w in weights])
    ):  # fmt: skip
        return stack.forward(plan.task(given, plan.trace), plan.trace)
    if x.dim() == 2:  # ids are places in memory: what a caller writes into theirs must not reach the backward call
        x = x.clone()
        given = given._replace(x=x)
    found: tuple[Tensor, ...] = _apply(plan, plan.task(given), x, h0, c0, lengths, resets, *weights)
    return Made(found[0], found[1], found[2] if c0 is not None else None, found[-1] if plan.trace else None)


def recomputed(plan: Plan, given: Given, d: Cotangents, wanted: Wanted) -> stack.Gradients:
    """The gradients through the reference engine, with the same masks; in grad mode differentiable themselves."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        return _through_reference(plan, given, d, wanted, again)


def _through_reference(plan: Plan, given: Given, d: Cotangents, wanted: Wanted, again: bool) -> stack.Gradients:
    net = plan.net
    tensors = [given.x, given.h0, *([] if given.c0 is None else [given.c0]), *given.weights]
    wants = [wanted.x, wanted.h0, *([] if given.c0 is None else [wanted.c0]), *wanted.weights]
    # A view each: a tensor that serves twice (tied weights) has a gradient for each of its places.
    tensors = [t.view_as(t) if want else t for t, want in zip(tensors, wants, strict=True)]
    n = len(net.cells[0].states)
    x, state, weights = tensors[0], tuple(tensors[1 : 1 + n]), tensors[1 + n :]
    output, last, traced = reference.run_layers(
        lambda source, layer, direction: net.call(
            layer * net.directions + direction, source, state, weights, given.lengths, given.resets, plan.rates,
            plan.seed,
        ),
        x, num_layers=net.layers, directions=net.directions, dropout=plan.rates.dropout, seed=plan.seed,
        trace=plan.trace,
    )  # fmt: skip
    pairs = [(output, d.output), *zip(last, (d.h_n, d.c_n), strict=False)]
    if d.tape is not None:
        pairs += tracing.pairs(plan.net, plan.layout(*given.x.shape[:2]), traced, d.tape)
    pairs = [(made, grad) for made, grad in pairs if grad is not None]
    asked = [t for t, want in zip(tensors, wants, strict=True) if want]
    found = iter(
        torch.autograd.grad(
            [made for made, _ in pairs], asked, [grad for _, grad in pairs], create_graph=again, allow_unused=True
        )
    )
    grads = [next(found) if want else None for want in wants]
    return stack.Gradients(grads[0], grads[1], grads[2] if n > 1 else None, grads[1 + n :])
