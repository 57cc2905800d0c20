"""The drop-in layers: RNN, LSTM, GRU. Changing the import is the whole migration."""

from __future__ import annotations

from typing import Any

from unrolled import cells
from unrolled.layers.recurrent import Recurrent

_EXTRAS = """
    ``torch.jit.script`` does not take these layers (it cannot read their keyword-only arguments): use ``torch.compile``
    or ``torch.export``.

    Keyword-only extras (each works with each other, in every direction and layer):

    recurrent_dropout: p. One mask m for each forward call, layer and direction, where h enters the recurrent
        product: W_hh (m * h / (1-p)), m ~ Bernoulli(1-p) for each row and unit; in evaluation nothing (Gal &
        Ghahramani 2016, arXiv:1512.05287, eq. 7). It is one mask for a whole sequence where the sequence is
        one call; in truncated BPTT each chunk is a call, and draws a new one. It may be assigned after
        construction, and so may zoneout.
    zoneout: p, or for an LSTM (p_h, p_c). With probability p, drawn for each step, row and unit, a state keeps its old
        value: s_t = d * s_{t-1} + (1-d) * new_t, d ~ Bernoulli(p); in evaluation d is p, its expectation (Krueger et
        al. 2017, arXiv:1606.01305, eqs. 3-5; an LSTM's new h is made from the new c, before c's own zoneout).
    layer_norm: normalise W_ih x and W_hh h over their whole rows, with a gain each (``gain_ih_l0``, ``gain_hh_l0``);
        the biases are the shifts. A row is all gates together, 3H in the GRU, which is a variant: Ba et al. normalise
        its gates and its candidate apart. An LSTM's c as well, before its tanh (``gain_c_l0``, ``shift_c_l0``).
        The same in evaluation (Ba, Kiros & Hinton 2016, arXiv:1607.06450).
    init: ``torch`` (default), ``orthogonal``, ``identity``, ``chrono`` (with ``t_max``, the longest dependency
        expected, 256 if not given; no other scheme takes it), ``normal``: see :func:`unrolled.cells.initialise`.
    engine: ``auto``, or one by name, which then raises where it cannot run: see :meth:`explain`.
"""


class RNN(Recurrent):
    """A drop-in ``torch.nn.RNN``: ``h = phi(W_hh h + W_ih x + b)``, the lecture's vanilla network.

    Args:
        input_size: I. hidden_size: H. num_layers: L.
        nonlinearity: ``tanh``, ``relu``, or ``identity`` (a linear network, for analysis).
        bias, batch_first, dropout, bidirectional, device, dtype: as in torch.nn.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        proj_size: int = 0,
        **extras: Any,
    ) -> None:
        if nonlinearity not in cells.NONLINEARITIES:
            raise ValueError(f"nonlinearity={nonlinearity!r}: not one of {', '.join(cells.NONLINEARITIES)}")
        _no_projection("RNN", proj_size)
        self.nonlinearity = nonlinearity
        mode = "RNN_RELU" if nonlinearity == "relu" else "RNN_TANH"  # torch has no name for the identity
        super().__init__(
            mode, input_size, hidden_size, num_layers=num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, device=device, dtype=dtype, **extras,
        )  # fmt: skip

    def _make_cell(self, input_size: int, **options: Any) -> cells.Cell:
        return cells.RNNCell(input_size, self.hidden_size, nonlinearity=self.nonlinearity, **options)


class LSTM(Recurrent):
    """A drop-in ``torch.nn.LSTM``: see :class:`unrolled.cells.LSTMCell` for the equations.

    Args:
        input_size: I. hidden_size: H. num_layers: L.
        bias, batch_first, dropout, bidirectional, proj_size, device, dtype: as in torch.nn.
        forget_bias: the initial b_if + b_hf (Jozefowicz, Zaremba & Sutskever 2015 advise 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        **extras: Any,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers=num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, proj_size=proj_size, device=device, dtype=dtype, **extras,
        )  # fmt: skip

    def _make_cell(self, input_size: int, **options: Any) -> cells.Cell:
        return cells.LSTMCell(input_size, self.hidden_size, **options)


class GRU(Recurrent):
    """A drop-in ``torch.nn.GRU``: see :class:`unrolled.cells.GRUCell` for the equations.

    Args:
        input_size: I. hidden_size: H. num_layers: L.
        bias, batch_first, dropout, bidirectional, device, dtype: as in torch.nn.
        reset_after: the reset gate acts after the recurrent product (torch) or before it (Cho et al. 2014).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        proj_size: int = 0,
        reset_after: bool = True,
        **extras: Any,
    ) -> None:
        _no_projection("GRU", proj_size)
        self.reset_after = reset_after
        super().__init__(
            "GRU", input_size, hidden_size, num_layers=num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, device=device, dtype=dtype, **extras,
        )  # fmt: skip

    def _make_cell(self, input_size: int, **options: Any) -> cells.Cell:
        return cells.GRUCell(input_size, self.hidden_size, reset_after=self.reset_after, **options)


def _no_projection(layer: str, proj_size: int) -> None:
    if proj_size:
        raise ValueError(f"proj_size={proj_size}: only LSTM has a projection, not {layer}")


for _layer in (RNN, LSTM, GRU):
    _layer.__doc__ = (_layer.__doc__ or "") + _EXTRAS
