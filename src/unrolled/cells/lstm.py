"""The long short-term memory cell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.cells.base import Cell, Gradients, Parameter, State, Tape, Weights, normalise, normalise_backward


class LSTMCell(Cell):
    """Four gates and an additive path through time.

    ::

        i = sigmoid(i_bar)   f = sigmoid(f_bar)   g = tanh(g_bar)   o = sigmoid(o_bar)
        c = f * c + i * g
        h = o * tanh(c)                       with proj_size: h = W_hr (o * tanh(c))

    where each ``X_bar = W_ih x + b_ih + W_hh h + b_hh``. From c_t to c_{t-1} the gradient is multiplied by f alone,
    with no matrix: the lecture's point. Gates stand in torch's order i f g o (the lecture writes i f o g). Sources:
    Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000; projection: Sak, Senior & Beaufays
    2014, arXiv:1402.1128. No peepholes. With ``layer_norm`` c is normalised as well: ``h = o * tanh(LN(c))`` (Ba et
    al. 2016).
    """

    name = "lstm"
    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def parameters(self) -> tuple[Parameter, ...]:
        table = super().parameters()
        if self.layer_norm:
            table += (Parameter("gain_c", (self.hidden_size,)),)
            table += (Parameter("shift_c", (self.hidden_size,)),) if self.bias else ()
        return table

    def step(self, x_bar: Tensor, state: State, w: Weights, mask: Tensor | None = None) -> tuple[State, Tape]:
        h_prev, c_prev = state
        H_bar, tape = self.recur(h_prev, w, mask)
        i, f, g, o = (x_bar + H_bar).chunk(4, -1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c_prev + i * g
        squashed = torch.tanh(self._normalised(c, tape, w))
        h = o * squashed
        tape.update(i=i, f=f, g=g, o=o, c_prev=c_prev, squashed=squashed)
        if self.proj_size:
            tape["unprojected"] = h
            h = F.linear(h, w["weight_hr"])
        return (h, c), tape

    def step_backward(
        self, d_state: State, tape: Tape, w: Weights, mask: Tensor | None = None
    ) -> tuple[Tensor, State, Gradients]:
        dh, dc = d_state
        i, f, g, o, squashed = tape["i"], tape["f"], tape["g"], tape["o"], tape["squashed"]
        grads: Gradients = {}
        if self.proj_size:
            grads["weight_hr"] = dh.t() @ tape["unprojected"]
            dh = dh @ w["weight_hr"]
        dc = dc + self._normalised_backward(dh * o * (1 - squashed * squashed), tape, w, grads)
        di, df, dg, do = dc * g, dc * tape["c_prev"], dc * i, dh * squashed
        d_bar = torch.cat((di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)), -1)
        dh_prev, recurrent = self.recur_backward(d_bar, tape, w, mask)
        dc_prev = dc * f  # elementwise: no matrix on the path of c
        return d_bar, (dh_prev, dc_prev), {**grads, **recurrent}

    def _normalised(self, c: Tensor, tape: Tape, w: Weights) -> Tensor:
        if not self.layer_norm:
            return c
        n, inverse = normalise(c)
        tape.update(n_c=n, inverse_c=inverse)
        scaled = n * w["gain_c"]
        return scaled + w["shift_c"] if self.bias else scaled

    def _normalised_backward(self, d_scaled: Tensor, tape: Tape, w: Weights, grads: Gradients) -> Tensor:
        if not self.layer_norm:
            return d_scaled
        grads["gain_c"] = (d_scaled * tape["n_c"]).sum(0)
        if self.bias:
            grads["shift_c"] = d_scaled.sum(0)
        return normalise_backward(d_scaled * w["gain_c"], tape["n_c"], tape["inverse_c"])
