"""A trace out of a tape: views where they can be, and differentiable, since the tape is an output of the Function."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.engines.call import Trace
from unrolled.engines.native.net import Layout, Net
from unrolled.engines.native.stack import Given, Made


def traces(net: Net, layout: Layout, given: Given, made: Made) -> list[Trace]:
    """One trace for each row of h_n."""
    assert made.tape is not None
    T, B, D = given.x.shape[0], given.x.shape[1], net.directions
    parts = _parts(net, layout, made.tape, T, B)
    valid = None
    if given.lengths is not None:
        valid = (torch.arange(T, device="cpu")[:, None] < given.lengths)[..., None]
    found = []
    for k, cell in enumerate(net.cells):
        layer, direction = divmod(k, D)
        outputs = made.output if layer == net.layers - 1 else parts[layout.outputs[layer]].view(T, B, D * net.R)
        body = outputs[..., direction * net.R : (direction + 1) * net.R]
        states = {"h": _states(body, given.h0[k], made.h_n[k], valid, direction)}
        if given.c0 is not None and made.c_n is not None:
            cells = parts[layout.cells[k]].view(T, B, net.H)
            states["c"] = _states(cells, given.c0[k], made.c_n[k], valid, direction)
        gates: dict[str, Tensor] = {}
        if net.gated:
            blocks = parts[layout.gates[k]].view(T, B, net.taped // net.H, net.H).unbind(2)
            gates = dict(zip(cell.gates, blocks, strict=False))
        found.append(Trace(states, gates))
    return found


def _states(body: Tensor, first: Tensor, last: Tensor, valid: Tensor | None, direction: int) -> Tensor:
    """(T+1, B, N): the states after each step beside the initial one; past a length what is held there."""
    if valid is not None:
        body = torch.where(valid, body, first if direction else last)
    return torch.cat((body, first[None])) if direction else torch.cat((first[None], body))


def _parts(net: Net, layout: Layout, tape: Tensor, T: int, B: int) -> dict[int, Tensor]:
    """The tape's parts by the place where they begin; cut in one piece, so that their gradients are joined in one."""
    n = T * B
    sizes = {at: n * net.taped for at in layout.gates if at >= 0}
    sizes |= {at: n * net.H for at in layout.cells if at >= 0}
    sizes |= {at: n * net.directions * net.R for at in layout.outputs}
    begins = sorted({0, *sizes, *(at for at in (*layout.norms, *layout.dropped) if at >= 0)})
    ends = [*begins[1:], layout.total]
    cut = torch.split_with_sizes(tape, [end - begin for begin, end in zip(begins, ends, strict=True)])
    return {at: piece[: sizes[at]] for at, piece in zip(begins, cut, strict=True) if at in sizes}


def pairs(net: Net, layout: Layout, traced: list[Trace], d_tape: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """What a recomputed trace has of the tape, each beside its gradient."""
    found: list[tuple[Tensor, Tensor | None]] = []
    T, B = next(iter(traced[0].states.values())).shape[:2]
    T -= 1
    parts = _parts(net, layout, d_tape, T, B)
    for k, (cell, trace) in enumerate(zip(net.cells, traced, strict=True)):
        layer, direction = divmod(k, net.directions)
        if net.gated:
            grads = parts[layout.gates[k]].view(T, B, net.taped // net.H, net.H).unbind(2)
            found += zip([trace.gates[name] for name in cell.gates], grads, strict=False)
        body = slice(0, T) if direction else slice(1, T + 1)
        if net.has_c:
            found.append((trace["c"][body], parts[layout.cells[k]].view(T, B, net.H)))
        if layer < net.layers - 1:
            own = parts[layout.outputs[layer]].view(T, B, net.directions * net.R)[
                ..., direction * net.R : (direction + 1) * net.R
            ]
            found.append((trace["h"][body], own))  # past a length it is zero: there the trace reads h_n
    return found
