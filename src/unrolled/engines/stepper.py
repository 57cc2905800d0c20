"""Generation on the compiled core: slots of recurrent state over weights that are packed once.

A :class:`Stepper` takes a recurrent layer over token ids and the linear layer above it. Rows join and leave; a step
feeds one id to each of some slots and gives the scores of the next one; :meth:`Stepper.run` draws units by the rules of
:mod:`unrolled.decoding.sampling` and feeds them, many in one call.

Bits: with weights as they are a step is the layers' native engine over ids (one-hot, or ``embedding=``), and a row's
results depend neither on the rows beside it nor on threads. A drawn unit is the one that ``decoding`` draws from the
same scores, but for some V * 2^-53 of all draws, where sums of probabilities round differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.engines.native import CODES, core
from unrolled.engines.native.lookup import table
from unrolled.errors import UserError
from unrolled.shapes import expect

WEIGHTS = ("float32", "bf16", "int8")
"""How weights may be kept; a float64 layer keeps float64."""

LARGEST_TABLE = 1 << 30
"""Bytes: a vocabulary whose table of first-layer rows is larger is refused."""

MOST_LAYERS = 64
CELLS = CODES[:5]
_SLOTS_HINT = "give slots= more, or leave() one"


def refusal(layer: Any, head: Any, embedding: Tensor | None = None, weights: str | None = None) -> str | None:
    """Why no :class:`Stepper` can be made of these; None if one can.

    Args:
        layer: a recurrent layer of ours. head: a ``torch.nn.Linear`` over its output.
        embedding: (V, I), whose rows the ids stand for; None is one-hot.
        weights: one of :data:`WEIGHTS`, or None for the layer's own dtype.
    """
    if core.missing() is not None:
        return core.missing()
    if weights not in (None, *WEIGHTS, "float64"):
        raise ValueError(f"weights={weights!r}: not one of {', '.join(WEIGHTS)}")
    name, first = layer._cell(0).name, layer.weight_ih_l0
    if name not in CELLS:
        return f"the stepper has no {name} cell"
    for option in ("layer_norm", "proj_size", "bidirectional"):
        if getattr(layer, option):
            return f"the stepper does not take {option}"
    if layer.num_layers > MOST_LAYERS:
        return f"the stepper takes at most {MOST_LAYERS} layers"
    if first.device.type != "cpu":
        return f"the stepper runs on a CPU, not on {first.device.type}"
    if first.dtype not in (torch.float32, torch.float64):
        return f"the stepper computes in float32 and float64, not in {first.dtype}"
    own = "float64" if first.dtype is torch.float64 else "float32"
    if weights not in (None, own) and (own == "float64" or weights == "float64"):
        return f"weights={weights} of a layer in {own}"
    if any(t.dtype is not first.dtype for t in (head.weight, *([] if embedding is None else [embedding]))):
        return "layer, head and embedding differ in dtype"
    V = layer.input_size if embedding is None else embedding.shape[0]
    if V * first.shape[0] * first.element_size() > LARGEST_TABLE:
        return f"a vocabulary of {V} is too large for a table of first-layer rows"
    return None


class Stepper:
    """N slots of state of a recurrent language model, stepped together or some of them. Not for two threads at once.

    The instruction set is the one chosen when it is made. Nothing is allocated by a step.

    Args:
        layer, head, embedding, weights: see :func:`refusal`.
        slots: N.
    Raises:
        ValueError: what :func:`refusal` says; sizes that disagree.
    """

    def __init__(
        self, layer: Any, head: Any, embedding: Tensor | None = None, *, slots: int = 1, weights: str | None = None
    ) -> None:
        why = refusal(layer, head, embedding, weights)
        if why is not None:
            raise ValueError(f"Stepper: {why}")
        if slots < 1:
            raise ValueError(f"slots={slots}: at least 1")
        self._layer, self._head, self._embedding = layer, head, embedding
        self.dtype: torch.dtype = layer.weight_ih_l0.dtype
        self.layers, self.H, self.slots = int(layer.num_layers), int(layer.hidden_size), slots
        self.ids = int(layer.input_size if embedding is None else embedding.shape[0])
        self.V = int(head.weight.shape[0])
        cell = layer._cell(0)
        self.has_c = "c" in cell.states
        rates = (*layer.zoneout, 0.0)
        kind = core.module().Stepper64 if self.dtype is torch.float64 else core.module().Stepper32
        store = WEIGHTS.index(weights) if weights in WEIGHTS else 0
        self._core = kind(
            CODES.index(cell.name), self.layers, self.ids, self.H, self.V, slots, store, rates[0], rates[1]
        )
        self._logits = torch.zeros((slots, self.V), dtype=self.dtype, device="cpu")
        self._view, self._viewed = self._logits, slots
        self._address = self._logits.data_ptr()
        self._free = list(range(slots))[::-1]
        self.refresh()

    # -- weights -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh(self) -> None:
        """Pack the weights again, after they have changed. States stay.

        Raises:
            ValueError: weights of another dtype or shape than the stepper was made for, or elsewhere than on a CPU.
        """

        def dense(name: str, t: Tensor, *shape: int) -> Tensor:
            made = t.detach().contiguous()
            core.address(name, made, self.dtype, shape)
            return made

        cell = self._layer._cell(0)
        weights: list[Tensor | None] = []  # what is made here must live until it is packed
        for k in range(self.layers):
            w, I = self._layer._weights(k), self.H if k else cell.input_size
            w_ih = dense(f"weight_ih_l{k}", w["weight_ih"], cell.rows, I)
            if k == 0 and self._embedding is not None:
                w_ih = table(dense("embedding", self._embedding, self.ids, I), w_ih, chains=True)
            weights += [w_ih, dense(f"weight_hh_l{k}", w["weight_hh"], cell.rows, self.H)]
            for name in ("bias_ih", "bias_hh"):
                weights.append(dense(f"{name}_l{k}", w[name], cell.rows) if name in w else None)
        weights.append(dense("head.weight", self._head.weight, self.V, self.H))
        weights.append(None if self._head.bias is None else dense("head.bias", self._head.bias, self.V))
        *pointers, head, head_bias = (0 if t is None else t.data_ptr() for t in weights)
        self._core.refresh(pointers, head, head_bias, core.threads())

    # -- slots -------------------------------------------------------------------------------------------------

    def join(self, state: Any = None) -> int:
        """Take a free slot, with a state like the layer's for one row (None: zeros), and make its scores.

        Raises:
            ValueError: no slot is free.
        """
        if not self._free:
            raise ValueError(f"all {self.slots} slots are taken: {_SLOTS_HINT}")
        slot = self._free.pop()
        try:
            self.set_state(slot, state)
        except ValueError:
            self._free.append(slot)
            raise
        self.sampling(slot)
        self.scores([slot])
        return slot

    @property
    def free(self) -> int:
        """How many slots are free."""
        return len(self._free)

    def leave(self, slot: int) -> None:
        """Give a slot back."""
        if slot in self._free or not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot} is not taken")
        self._free.append(slot)

    def set_state(self, slot: int, state: Any = None) -> None:
        """Put a state there: h (L, 1, H), or (h, c); None is zeros. Its scores are made by :meth:`scores`.

        Raises:
            ValueError: another number of tensors, or sizes that disagree. IndexError: no such slot.
        """
        parts = () if state is None else state if isinstance(state, tuple) else (state,)
        if state is not None and len(parts) != 1 + self.has_c:
            raise ValueError(f"state: {len(parts)} tensors, expected {1 + self.has_c}")
        dense = [p.detach().to("cpu", self.dtype).contiguous() for p in parts]
        for name, part in zip("hc", dense, strict=False):
            expect(name, tuple(part.shape), (self.layers, 1, self.H), "(L, 1, H)")
        pointers = [p.data_ptr() for p in dense] + [0, 0]
        self._core.set_state(slot, *pointers[:2])

    def state(self, slot: int) -> Any:
        """A copy of a slot's state: h (L, 1, H), or (h, c)."""
        h, c = (torch.empty((self.layers, 1, self.H), dtype=self.dtype, device="cpu") for _ in range(2))
        self._core.get_state(slot, h.data_ptr(), c.data_ptr() if self.has_c else 0)
        return (h, c) if self.has_c else h

    # -- steps -------------------------------------------------------------------------------------------------

    def step(self, slots: Tensor | Sequence[int], ids: Tensor | Sequence[int]) -> Tensor:
        """Feed one id to each of some slots.

        Args:
            slots, ids: int64 (n,), the slots all different. Two lists are the fastest form for a few streams.
        Returns:
            Scores (n, V), a view of the stepper's own buffer: the next call overwrites it.
        Raises:
            IndexError: an id or a slot out of range. ValueError: sizes that disagree, a slot that stands there twice.
        """
        if type(slots) is list and type(ids) is list:
            self._core.step_listed(slots, ids, self._address, core.threads())
            n = len(ids)
        else:
            slots, ids = _whole("slots", slots), _whole("ids", ids)
            n = slots.numel()
            if n != ids.numel():
                raise ValueError(f"slots has {n} numbers, ids {ids.numel()}")
            self._core.step(n, slots.data_ptr(), ids.data_ptr(), self._address, core.threads())
        if n != self._viewed:
            self._view, self._viewed = self._logits[:n], n
        return self._view

    def scores(self, slots: Tensor | Sequence[int]) -> Tensor:
        """The scores (n, V) of the states as they are; nothing is fed. As :meth:`step`."""
        slots = _whole("slots", slots)
        self._core.step(len(slots), slots.data_ptr(), 0, self._address, core.threads())
        return self._logits[: len(slots)]

    # -- drawing -----------------------------------------------------------------------------------------------

    def sampling(
        self, slot: int, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
        min_p: float | None = None, repetition_penalty: float = 1.0, seed: int = 1, index: int = 0,
        stop: int | None = None, used: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """How units are drawn for a slot, from here on: see :class:`unrolled.decoding.config.SampleConfig`.

        Args:
            index: the number of the sample; it has its own stream of ``seed``.
            stop: a unit that ends :meth:`run` for the slot and is left out. used: units the penalty already acts on.
        """
        mask = (1 << 64) - 1
        self._core.set_sampler(
            slot, temperature, top_k or 0, 1.0 if top_p is None else top_p, -1.0 if min_p is None else min_p,
            repetition_penalty, seed & mask, index & mask, -1 if stop is None else stop,
        )  # fmt: skip
        for unit in used:
            self._core.mark_used(slot, int(unit))

    def run(self, slots: Tensor | Sequence[int], units: int) -> list[Tensor]:
        """Draw up to ``units`` for each slot from its scores, and feed them; calls may follow one another.

        The scores are those of the last step; after :meth:`set_state` or :meth:`refresh` call :meth:`scores` first.

        Returns:
            For each slot the ids (m,), int64; fewer than ``units`` where it ended before its stop unit.
        Raises:
            UserError: scores that are not finite.
        """
        slots = _whole("slots", slots)
        drawn = torch.empty((len(slots), max(0, units)), dtype=torch.int64, device="cpu")
        counts = torch.empty(len(slots), dtype=torch.int64, device="cpu")
        damaged = self._core.run(
            len(slots), slots.data_ptr(), units, drawn.data_ptr(), counts.data_ptr(), core.threads()
        )
        if damaged >= 0:
            raise UserError("the model's scores are not finite, its training has diverged; "
                            "train again with a lower --lr or with --keep best")  # fmt: skip
        return [row[:n] for row, n in zip(drawn, counts.tolist(), strict=True)]


def _whole(name: str, numbers: Tensor | Sequence[int]) -> Tensor:
    t = numbers if isinstance(numbers, Tensor) else torch.tensor(numbers, dtype=torch.int64, device="cpu")
    if t.dtype is torch.int64 and t.dim() == 1 and t.is_cpu:
        return t.contiguous()
    raise TypeError(f"{name}: int64 (n,) on the CPU, not {t.dtype} {tuple(t.shape)} on {t.device}")
