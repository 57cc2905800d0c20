"""The Jacobian of one step, ``J_t = d s_t / d s_{t-1}``, with the input held; rows are outputs, columns inputs.

For an LSTM s = (h, c), and h_{t-1} and c_{t-1} are independent inputs: 2H x 2H. In a stack it is each layer's own: that
of the whole stack is block triangular, so its eigenvalues are those of the layers together.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell, State, Tape, Weights
from unrolled.inspect.recording import Moment

Array = NDArray[Any]


def step_jacobian(moment: Moment, row: int) -> Tensor:
    """J_t of one row at one recorded step, (N, N): N is R, for an LSTM R + H, h first.

    In closed form for the plain cells, by forward-mode differentiation of the cell's own step for the others (layer
    norm, projection, recurrent dropout, reset before the product). Zoneout in evaluation is part of the step:
    ``J = p + (1 - p) J_cell``. A step that is cut by a reset, or padding, is not a step of this kind; ask
    :meth:`Moment.free`.
    """
    call = moment.call
    cell, w = call.cell, {name: p.detach() for name, p in call.w.items()}
    tape = {name: v[row].detach() for name, v in moment.tape.items()}
    J = None if cell.layer_norm or cell.proj_size or call.mask is not None else _closed(cell, w, tape)
    if J is None:
        J = pushed(moment, row)
    if call.zoneout:
        sizes = torch.tensor(cell.state_sizes())
        p = torch.tensor(call.zoneout, dtype=J.dtype).repeat_interleave(sizes)
        J = torch.diag(p) + (1 - p)[:, None] * J
    return J


def _closed(cell: Cell, w: Weights, tape: Tape) -> Tensor | None:
    """The cell's ``step_backward`` with every cotangent at once: row blocks of W_hh scaled by derivatives of gates."""
    W = w["weight_hh"]
    if isinstance(cell, RNNCell):
        h = tape["h"]
        slope = {"tanh": 1 - h * h, "relu": (h > 0).to(h), "identity": torch.ones_like(h)}[cell.nonlinearity]
        return slope[:, None] * W
    if isinstance(cell, LSTMCell):
        return _lstm(W, tape)
    return _gru(W, tape) if isinstance(cell, GRUCell) and cell.reset_after else None


def _lstm(W: Tensor, tape: Tape) -> Tensor:
    i, f, g, o, squashed = tape["i"], tape["f"], tape["g"], tape["o"], tape["squashed"]
    W_i, W_f, W_g, W_o = W.chunk(4)
    H = len(i)
    J = W.new_empty(2 * H, 2 * H)
    hh, hc, ch, cc = J[:H, :H], J[:H, H:], J[H:, :H], J[H:, H:]
    torch.mul((i * (1 - i) * g)[:, None], W_i, out=ch)
    ch.addcmul_((f * (1 - f) * tape["c_prev"])[:, None], W_f).addcmul_(((1 - g * g) * i)[:, None], W_g)
    inner = o * (1 - squashed * squashed)  # dh/dc within the step
    torch.mul(inner[:, None], ch, out=hh)
    hh.addcmul_((o * (1 - o) * squashed)[:, None], W_o)
    cc.copy_(torch.diag(f))
    hc.copy_(torch.diag(inner * f))
    return J


def _gru(W: Tensor, tape: Tape) -> Tensor:
    r, z, n = tape["r"], tape["z"], tape["n"]
    W_r, W_z, W_n = W.chunk(3)
    inner = (1 - z) * (1 - n * n)
    J = (inner * r)[:, None] * W_n + (inner * tape["h_n"] * r * (1 - r))[:, None] * W_r
    return J.addcmul_(((tape["h_prev"] - n) * z * (1 - z))[:, None], W_z) + torch.diag(z)


def pushed(moment: Moment, row: int) -> Tensor:
    """The Jacobian of the cell's step (without zoneout) by forward-mode differentiation: any cell, and slower."""
    call = moment.call
    cell, sizes = call.cell, call.cell.state_sizes()
    w = {name: p.detach() for name, p in call.w.items()}
    x_bar = moment.x_bar[row : row + 1].detach()
    mask = None if call.mask is None else call.mask[row : row + 1]
    s = torch.cat([part[row].detach() for part in moment.before])

    def step(s: Tensor) -> Tensor:
        state: State = tuple(part[None] for part in torch.split(s, list(sizes)))
        return torch.cat([part[0] for part in cell.step(x_bar, state, w, mask)[0]])

    def tangent(v: Tensor) -> Tensor:
        moved: Tensor = torch.func.jvp(step, (s,), (v,))[1]
        return moved

    with torch.no_grad():
        columns: Tensor = torch.func.vmap(tangent)(torch.eye(len(s), dtype=s.dtype, device=s.device))
    return columns.t()


@dataclasses.dataclass(frozen=True)
class RecurrentMatrix:
    """W_hh of a vanilla cell, whose Jacobian is ``diag(phi') W_hh``.

    Attributes:
        eigenvalues: (H,) complex. largest_singular: sigma_max. slope: max |phi'|: 1 for tanh, relu and the identity.
        linear: whether phi is the identity.
        powers: (k,) spectral norms of W_hh^1, W_hh^2, ...
    """

    eigenvalues: Array
    largest_singular: float
    slope: float
    linear: bool
    powers: Array

    @property
    def radius(self) -> float:
        """The spectral radius: the largest modulus of an eigenvalue."""
        return float(abs(self.eigenvalues).max())

    def statement(self) -> str:
        """What follows from it, and no more."""
        sigma, radius = self.largest_singular, self.radius
        if self.linear:
            fate = "vanishes" if radius < 1 else "explodes" if radius > 1 else "neither vanishes nor explodes"
            said = f"The cell is linear: the spectral radius {radius:.3f} decides the limit, and the gradient {fate}."
            peak = float(self.powers.max())
            if radius < 1 < peak:
                said += f" W_hh is not normal: on its way it may grow first, up to {peak:.3g} times."
            return said
        if sigma * self.slope < 1:
            return (
                f"sigma_max(W_hh) times max|phi'| is {sigma * self.slope:.3f}, below 1: that suffices for every "
                "gradient to vanish."
            )
        return (
            f"sigma_max(W_hh) is {sigma:.3f}, not below 1: necessary for a gradient to explode, not sufficient. What "
            "happens depends on phi' along the way, which the products below have in them."
        )


def recurrent_matrix(cell: Cell, w: Weights, powers: int = 32) -> RecurrentMatrix | None:
    """W_hh of a vanilla cell; None for any other, where its eigenvalues mean little, and with layer norm."""
    if not isinstance(cell, RNNCell) or cell.layer_norm:
        return None
    W = w["weight_hh"].detach().double()
    norms, power = [], torch.eye(len(W), dtype=W.dtype)
    for _ in range(powers if cell.nonlinearity == "identity" else 1):
        power = W @ power
        norms.append(float(torch.linalg.matrix_norm(power, 2)))
    linear = cell.nonlinearity == "identity"
    return RecurrentMatrix(torch.linalg.eigvals(W).numpy(), norms[0], 1.0, linear, torch.tensor(norms).numpy())
