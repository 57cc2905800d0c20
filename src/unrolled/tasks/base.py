"""The face of a task: all that the training loop knows of what it trains.

A task brings the model, the stream of batches, the loss and the held-out figures. The loop brings everything else:
optimiser, schedule, budget, checkpoints. Any object with these methods can be trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import torch
    from torch import Tensor, nn


@dataclasses.dataclass
class Loss:
    """The loss of one batch.

    Attributes:
        objective: scalar on which backward runs (a mean or a sum, as the task's settings say).
        nats: detached scalar, the mean over the scored units in nats per unit, whatever ``objective`` is.
        units: scored units in the batch.
        carry: what the next batch continues from (states), detached; ``{}`` where nothing is carried.
    """

    objective: Tensor
    nats: Tensor
    units: int
    carry: dict[str, Tensor]


@dataclasses.dataclass
class Evaluation:
    """The loss over the whole of a held-out part.

    Attributes:
        nats: mean nats per unit (NaN for an empty part).
        units: scored units; 0 says that the part is empty.
        interval: 95 % confidence interval of ``nats``, (low, high).
        score: what weights are selected by, where that is not ``nats``; lower is better. Keyword only.
        figures: further numbers by name, e.g. ``bpc`` (bits per character), ``bpb`` (bits per byte), ``perplexity``.
    """

    nats: float
    units: int
    interval: tuple[float, float]
    score: float | None = dataclasses.field(default=None, kw_only=True)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GuardView:
    """What decides whether an update's loss is wrong: see :class:`unrolled.training.guard.Guard`."""

    spike: float
    mean: float | None
    seen: int
    decay: float
    settled: int


class Made(NamedTuple):
    """What a call of :class:`WholeUpdates` did.

    Attributes:
        done: updates that were applied.
        figures: nats per unit, gradient norm and whether it was clipped, of each update; of one more, which was not
            applied, where the guard's rule refused it.
        carry: what the next batch continues from.
    """

    done: int
    figures: list[tuple[float, float, bool]]
    carry: dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """What an optimiser does with a gradient, and where it keeps its numbers.

    Attributes:
        name: ``sgd``, ``adam``, ``adamw``, ``adagrad``, or ``min-char-rnn-adagrad``, all without momentum.
        first, second: the names of its per-parameter arrays in ``optimiser.state``; None where it has none.
        counts: whether it counts updates, as ``step``.
    """

    name: str
    first: str | None = None
    second: str | None = None
    counts: bool = True


@dataclasses.dataclass(frozen=True)
class Updating:
    """What follows a gradient in the training loop: the optimiser with its rule, and clipping (0: off)."""

    optimiser: torch.optim.Optimizer
    rule: UpdateRule
    clip_norm: float
    clip_value: float


class WholeUpdates(Protocol):
    """Forward, loss, backward, clipping and the optimiser's step outside autograd, several updates in one call.

    A task may offer it by a method ``whole(model, updating)`` that returns one, or None where this run is not for it;
    :meth:`Task.loss` then says what each update does, and must do the same.
    """

    def run(
        self, batches: Sequence[Any], rates: Sequence[float], carry: dict[str, Tensor], guard: GuardView | None
    ) -> Made:
        """One update a batch at these learning rates, up to the first that the guard's rule refuses.

        Args:
            carry: as for :meth:`Task.loss`; left as it is.
            guard: None where there is no guard.
        """
        ...


class Stream(Protocol):
    """Batches without end, from a place that can be named and returned to."""

    def next(self) -> Any:
        """The next batch; the stream moves on."""
        ...

    def position(self) -> dict[str, int]:
        """Where the stream stands: plain numbers, enough for :meth:`restore` to continue with the same batches."""
        ...

    def restore(self, position: dict[str, int]) -> None:
        """Go to a place that :meth:`position` named."""
        ...

    @property
    def epoch(self) -> float:
        """Passes over the training part so far, with the fraction of the current one."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        ...

    @property
    def units_per_epoch(self) -> int:
        """Scored units in one pass."""
        ...


class Task(Protocol):
    """Model, data, loss and figures of one problem."""

    name: str

    def build(self) -> nn.Module:
        """A fresh model, initialised from torch's global generator, on the CPU; the loop moves and casts it."""
        ...

    def stream(self) -> Stream:
        """A stream over the training part, at its beginning."""
        ...

    def loss(self, model: nn.Module, batch: Any, carry: dict[str, Tensor]) -> Loss:
        """The loss of a batch that continues from ``carry`` (``{}`` at the start of training)."""
        ...

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """The loss over all of ``"dev"`` or ``"test"``; ``units == 0`` where the part is empty.

        The loop has put the model into evaluation mode and switched gradients off.
        """
        ...

    def sample(self, model: nn.Module, carry: dict[str, Tensor], length: int, seed: int) -> str | None:
        """Something to look at during training, continuing from ``carry``; None where there is nothing."""
        ...

    def baseline(self) -> tuple[str, float] | None:
        """A name and the nats per unit that something simple reaches on the test part; None where there is none."""
        ...

    def describe(self) -> dict[str, Any]:
        """What was read and built, for people. Four keys, where present, are read by the training loop:

        ``first_loss``: nats per unit of an untrained model (ln V for a language model), where ``smooth_loss`` starts;
        ``parts``: scored units by part, ``{"train": n, "dev": n, "test": n}`` (0: the part is empty);
        ``batch``: streams really read, where a small text made them fewer than the settings say;
        ``digest``: identifies the data; a run is resumed with the same one only.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """``{"model": {...}, "data": {...}}`` in JSON values; a run is resumed with the same ones only."""
        ...

    def tokens(self) -> dict[str, Any] | None:
        """The vocabulary as JSON values; None where there is none."""
        ...

    # Optional, looked for by name:
    #
    #     def report(self, model: nn.Module, part: str) -> Report
    # what to show of a part, with its baselines; the model is in evaluation mode, gradients are off;
    #
    #     def settle(self, model: nn.Module) -> None
    # called once, with the kept weights in evaluation mode, before the final figures: fits on the dev part what belongs
    # to the model and not to training (a temperature), and keeps it in the model's buffers.
    #
    # What ``open_task`` of a task's face returns has, beside these: ``summary`` and ``notes``, lines for people;
    # ``label``, the data's short name; and may have ``headline``, the figure of an evaluation that is shown on the way;
    # ``baseline_seconds``, what :meth:`report`'s baselines take; ``engine(model)``, as the language model's.
    # ``describe()`` may have ``card``: pairs of strings that say in the model card what the data and the network are.


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number that is reported.

    Attributes:
        interval: its 95 % interval, where one is known.
        unit: what stands behind the number: ``""``, ``"%"``, ``"nats per word"``.
        low_is_good: an error rate or a loss, and not a score.
    """

    value: float
    interval: tuple[float, float] | None = None
    unit: str = ""
    low_is_good: bool = False


@dataclasses.dataclass
class Report:
    """What ``evaluate`` and the end of ``train`` show of a part.

    Attributes:
        figures: by name; the first is the headline (``accuracy``, ``wer``, ``token_f1``, ``mase``, ...).
        baselines: name and figures (names as above) of what something simple reaches on the same part.
        tables: title and plain text: a confusion matrix, scores by tag, the surest errors.
        rows: one an example, for ``--predictions``: ``input``, ``target``, ``predicted``, ...; the same keys in each.
        pictures: file name to a function that draws it there (it imports matplotlib when it is called).
    """

    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    baselines: list[tuple[str, dict[str, float]]] = dataclasses.field(default_factory=list)
    tables: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pictures: dict[str, Callable[[Path], None]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Prediction:
    """What a model says of one input: one line for people, and JSON values."""

    text: str
    json: dict[str, Any]


class Predictor(Protocol):
    """A trained model that answers. ``options`` is the task's ``<Task>Predict``."""

    model: nn.Module

    def predict(self, inputs: Iterable[str], options: Any) -> Iterator[Prediction]:
        """One prediction an input, in order. Inputs are literal; a path where the task's inputs are files."""
        ...

    def evaluate(self, paths: list[str] | None, part: str, options: Any) -> Report:
        """The report of ``part`` of the data that the model was trained on, or of all of ``paths``.

        Raises:
            UserError: the data is not to be had, or has changed.
        """
        ...
