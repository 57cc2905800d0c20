"""What RNN, LSTM and GRU share: construction, the choice of an engine, and layers and directions over it."""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from unrolled.cells import Cell, check_init
from unrolled.engines import Call, Trace, aten, masks, native, reference
from unrolled.engines.select import Explanation, Request, autocasting, choose, exporting_onnx, pick, transformed
from unrolled.layers.border import Entry, enter, leave, weight_of
from unrolled.layers.weights import reinitialise

_SHAPING = frozenset(
    ("input_size", "hidden_size", "proj_size", "num_layers", "bidirectional", "bias", "layer_norm", "nonlinearity",
     "reset_after")
)  # fmt: skip
"""Attributes that the cells are made of: assigning one makes them anew."""


class Recurrent(nn.RNNBase):
    """A recurrent layer: torch.nn's constructor, call and state_dict, with keyword-only extras.

    ``torch.jit.script`` does not take it: it knows no keyword-only arguments with defaults. Use ``torch.compile`` or
    ``torch.export``; they go through the native engine's operators, or else the reference engine.

    It derives from ``torch.nn.RNNBase``, and on purpose not from ``torch.nn.LSTM`` and its siblings, at which
    ``torch.compile`` breaks the graph.

    Attributes:
        runner: None; or what runs each layer and direction, on the reference engine whatever ``engine`` says, and may
            look at every step (:mod:`unrolled.inspect.recording`).
    """

    runner: reference.Runner | None = None

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        init: str = "torch",
        t_max: int | None = None,
        engine: str = "auto",
        **options: Any,
    ) -> None:
        self._made: list[tuple[Cell, list[tuple[str, str]]]] | None = None
        self._net: native.Net | None = None
        self._constructed = False  # RNNBase calls reset_parameters before the extras exist
        super().__init__(mode, input_size, hidden_size, **options)
        self.forget_bias, self.layer_norm, self.init, self.t_max = forget_bias, layer_norm, init, t_max
        self.recurrent_dropout = recurrent_dropout
        self.engine = engine
        check_init(self._cell(0), init, forget_bias, t_max)
        self.zoneout = zoneout
        choose(engine, self._request())
        for k in range(self._rows):
            for p in self._cell(k).parameters():
                if p.name.startswith(("gain", "shift")):  # torch's own are there already
                    like: Any = self.weight_ih_l0
                    self.register_parameter(self._parameter_name(p.name, k), nn.Parameter(like.new_empty(p.shape)))
        self._constructed = True
        self.reset_parameters()

    # -- extras that may change after construction ---------------------------------------------------------------

    @property
    def recurrent_dropout(self) -> float:
        """p; it may be assigned, say to anneal it."""
        return self._recurrent_dropout

    @recurrent_dropout.setter
    def recurrent_dropout(self, value: float) -> None:
        self._recurrent_dropout = _rate("recurrent_dropout", value)

    @property
    def zoneout(self) -> tuple[float, ...]:
        """One rate for each state; one number, or one for each, may be assigned."""
        return self._zoneout

    @zoneout.setter
    def zoneout(self, value: float | tuple[float, ...] | list[float]) -> None:
        self._zoneout = _zoneout(value, self._cell(0))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SHAPING:
            self.__dict__["_made"] = self.__dict__["_net"] = None

    # -- parameters --------------------------------------------------------------------------------------------

    def _make_cell(self, input_size: int, **options: Any) -> Cell:
        raise NotImplementedError

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _rows(self) -> int:
        """L*D: layers times directions, in torch's order, direction fastest."""
        return self.num_layers * self._directions

    def _cells(self) -> list[tuple[Cell, list[tuple[str, str]]]]:
        """Of every row the cell, and its parameters' names in the cell and here; made once."""
        if self._made is None:
            R, D = self.proj_size or self.hidden_size, self._directions
            made = []
            for k in range(self._rows):
                size = self.input_size if k < D else R * D
                cell = self._make_cell(size, bias=self.bias, proj_size=self.proj_size, layer_norm=self.layer_norm)
                made.append((cell, [(p.name, self._parameter_name(p.name, k)) for p in cell.parameters()]))
            self._made = made
            known = made[0][0].name in native.CODES
            self._net = native.Net([cell for cell, _ in made], D) if known else None
        return self._made

    def _cell(self, k: int) -> Cell:
        """The cell of row ``k``."""
        return self._cells()[k][0]

    def _parameter_name(self, name: str, k: int) -> str:
        return f"{name}_l{k // self._directions}" + ("_reverse" if k % self._directions else "")

    def _weights(self, k: int) -> dict[str, Tensor]:
        """Row ``k``'s parameters by name, read anew at every forward: parametrisations and functional_call count."""
        return {name: getattr(self, full) for name, full in self._cells()[k][1]}

    def reset_parameters(self) -> None:
        """Initialise every parameter again, by ``init``, parametrised ones through their ``right_inverse``.

        Raises:
            ValueError: names a parameter that is computed from others and cannot be set.
        """
        if not self._constructed:
            return
        for cell, names in self._cells():
            reinitialise(self, cell, names, self.init, self.forget_bias, self.t_max)

    # -- the choice of an engine -------------------------------------------------------------------------------

    def _request(self, entry: Entry | None = None, trace: bool = False) -> Request:
        own = (self._cell(0).name, self.proj_size > 0, self.layer_norm, self._recurrent_dropout > 0 and self.training,
               any(self._zoneout))  # fmt: skip
        if entry is None:
            return Request(*own)
        like = weight_of(self)
        device, embedded = like.device.type, entry.embedding is not None
        return Request(
            *own, entry.lengths is not None, entry.resets is not None, trace, entry.tokens and not embedded, embedded,
            device, like.dtype, autocasting(device), transformed(), torch.compiler.is_compiling(),
            exporting_onnx(),
        )  # fmt: skip

    def explain(
        self,
        input: Any,
        hx: Any = None,
        *,
        lengths: Any = None,
        resets: Any = None,
        trace: bool = False,
        embedding: Tensor | None = None,
    ) -> Explanation:
        """Which engine a call with these arguments runs on, and why; nothing is computed."""
        return choose(self.engine, self._request(enter(self, input, hx, lengths, resets, embedding), trace))

    # -- the call ----------------------------------------------------------------------------------------------

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        resets: Tensor | None = None,
        trace: bool = False,
        embedding: Tensor | None = None,
    ) -> Any:
        """Run the layer over time.

        Args:
            input: (T, B, I), with ``batch_first`` (B, T, I), unbatched (T, I), or a PackedSequence. Integer input (T,
                B) is ids: the one-hot vectors they stand for are never built.
            hx: initial states as torch.nn takes them, h (L*D, B, R), for an LSTM (h, c); None is zeros.
            lengths: (B,) integers on any device, in any order, 0 allowed; (1,) or () if unbatched. Output
                past a length is zero; the last state is the last valid one, the initial one for length 0. Padding gets
                exactly zero gradient.
            resets: (T, B) bool ((B, T) with ``batch_first``, (T,) if unbatched). True at t cuts between
                t-1 and t in both directions: the state is zeroed. In the padding it does nothing.
            trace: return every state and gate as well.
            embedding: (V, I), for integer input of ids from 0 to V-1: the call equals ``layer(F.embedding(input,
                embedding))``, gradient of ``embedding`` included, and where V is below T*B the native engine makes
                the input product once for each row of ``embedding`` instead of once for each token.
        Returns:
            ``output, hx`` as torch.nn returns them; with ``trace`` also a list of :class:`~unrolled.engines.Trace`,
            one for each row of h_n, time first whatever the layout, with B = 1 if the input is unbatched.
        Raises:
            ShapeError, ValueError, TypeError: name the argument and both shapes. Ids and lengths are read for this
                check on a CPU, and not under ``vmap`` or ``torch.compile``, where they have no values yet.
        """
        entry = enter(self, input, hx, lengths, resets, embedding)
        traces: list[Trace] = []
        engine = self._engine(entry, trace)
        if engine == "native":
            output, state, traces = self._run_native(entry, trace)
        elif engine == "aten":
            output, state = self._run_aten(entry.looked_up())
        else:
            output, state, traces = self._run_reference(entry.looked_up(), trace)
        output, hx = leave(self, entry, output, state)
        return (output, hx, traces) if trace else (output, hx)

    def _engine(self, entry: Entry, trace: bool) -> str:
        if self.runner is not None:
            return "reference"
        return pick(self.engine, self._cell(0).name, weight_of(self), lambda: self._request(entry, trace))

    def _run_aten(self, entry: Entry) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights = [getattr(self, name) for name in self._flat_weights_names]
        return aten.run_stack(
            self._cell(0).name, entry.x, entry.state, weights, bias=self.bias, num_layers=self.num_layers,
            dropout=self.dropout, training=self.training, bidirectional=self.bidirectional, lengths=entry.lengths,
        )  # fmt: skip

    def _run_native(self, entry: Entry, trace: bool) -> tuple[Tensor, tuple[Tensor, ...], list[Trace]]:
        weights = [weight_of(self, full) for _, names in self._cells() for _, full in names]
        assert self._net is not None
        rates = native.Rates(self.dropout, self._recurrent_dropout, self._zoneout if any(self._zoneout) else ())
        return native.run_stack(
            self._net, entry.x, entry.state, weights, rates=rates, seed=self._seed(), lengths=entry.lengths,
            resets=entry.resets, trace=trace, embedding=entry.embedding,
        )  # fmt: skip

    def _run_reference(self, entry: Entry, trace: bool) -> tuple[Tensor, tuple[Tensor, ...], list[Trace]]:
        seed = self._seed()
        return reference.run_stack(
            lambda x, layer, direction: self._call(entry, x, layer, direction, seed), entry.x, trace=trace,
            num_layers=self.num_layers, directions=self._directions, dropout=self.dropout, seed=seed,
            runner=self.runner,
        )  # fmt: skip

    def _seed(self) -> Tensor | None:
        """One draw for each forward call that needs masks of ours."""
        if not self.training:
            return None
        drops = self._recurrent_dropout > 0 or any(self._zoneout) or (self.dropout > 0 and self.num_layers > 1)
        return masks.draw_seed() if drops else None

    def _call(self, entry: Entry, x: Tensor, layer: int, direction: int, seed: Tensor | None) -> Call:
        k = layer * self._directions + direction
        state = tuple(s[k] for s in entry.state)
        call = Call(self._cell(k), self._weights(k), x, state, entry.lengths, entry.resets, direction == 1)
        return masks.with_masks(call, layer, direction, self.recurrent_dropout, self.zoneout, seed)

    def extra_repr(self) -> str:
        """torch's line, and the extras that differ from their defaults."""
        shown = [super().extra_repr()]
        if getattr(self, "nonlinearity", "") == "identity":
            shown.append("nonlinearity='identity'")
        if not getattr(self, "reset_after", True):
            shown.append("reset_after=False")
        if self.forget_bias is not None:
            shown.append(f"forget_bias={self.forget_bias}")
        if self.layer_norm:
            shown.append("layer_norm=True")
        if self.recurrent_dropout:
            shown.append(f"recurrent_dropout={self.recurrent_dropout}")
        if any(self.zoneout):
            shown.append(f"zoneout={self.zoneout}")
        shown += [f"init={self.init!r}"] if self.init != "torch" else []
        shown += [f"t_max={self.t_max}"] if self.t_max is not None else []
        shown += [f"engine={self.engine!r}"] if self.engine != "auto" else []
        return ", ".join(shown)


def _rate(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: expected a probability from 0 to below 1")
    return float(value)


def _zoneout(value: float | tuple[float, ...] | list[float], cell: Cell) -> tuple[float, ...]:
    if isinstance(value, (tuple, list)):
        if len(value) != len(cell.states):
            raise ValueError(f"zoneout={value!r}: expected one rate, or one for each of {', '.join(cell.states)}")
        return tuple(_rate("zoneout", p) for p in value)
    return tuple(_rate("zoneout", value) for _ in cell.states)
