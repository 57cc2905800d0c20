"""Tasks of independent examples as subjects: a batch of examples of one size, and the loss at the last step of each.

A classifier suffers at its answer, a tagger at the last word, a translator and a captioner at the last unit that they
give (the end); steps of an encoder are counted back from its own last one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.errors import UserError
from unrolled.inspect.subject import Losses

Ints = NDArray[np.int64]

FEWEST = 16
"""A group of examples of one size that is this large is large enough to prefer a longer one to a larger one."""
LONGEST = 1000
"""Steps of an example, at most: every step's state is kept, and its gradient."""


@dataclasses.dataclass(frozen=True)
class ExampleWindows:
    """:data:`unrolled.inspect.subject.Windows` over examples: whole ones, all of one size.

    Attributes:
        sizes: (n, m) the steps of each example in each of the network's m passes over time.
        losses: ``losses(model, rows)`` gives nats (P,) of the examples ``rows`` at their last step.
        where: what messages call the data.
    """

    sizes: Ints
    losses: Callable[[nn.Module, Ints], Tensor]
    where: str
    seed: int = 1

    def __call__(self, model: nn.Module, positions: int, steps: int) -> Losses:
        """See :data:`unrolled.inspect.subject.Windows`; an example is never cut, so ``steps`` is only a wish.

        Raises:
            UserError: every example is longer than can be followed.
        """
        rows = self.rows(positions, steps)
        return lambda: self.losses(model, rows)

    def rows(self, positions: int, steps: int) -> Ints:
        """The examples of one size that are looked at: of the sizes that enough have, the longest up to ``steps``, else
        the shortest above."""
        sizes, group, counts = np.unique(self.sizes, axis=0, return_inverse=True, return_counts=True)
        longest = sizes.max(1)
        fits = (longest <= LONGEST) & (longest > 1)
        if not fits.any():
            raise UserError(
                f"{self.where}: its sequences have {int(longest.min())} steps and more; a gradient is followed through "
                f"2 to {LONGEST}; inspect shorter ones"
            )
        enough = fits & (counts >= min(FEWEST, counts[fits].max()))
        order = np.where(longest <= steps, longest, -longest)
        best = int(np.flatnonzero(enough)[np.argmax(order[enough])])
        members = np.flatnonzero(group.reshape(-1) == best)
        return np.sort(np.random.default_rng(self.seed).permutation(members)[:positions])


def classify_windows(task: Any, part: str) -> ExampleWindows:
    """Of a classifier: the loss of its answer."""
    from unrolled.tasks.classify import scoring

    data = task.parts[part]

    def losses(model: Any, rows: Ints) -> Tensor:
        batch = data.batch(rows)
        scores = scoring.run(model, batch.x, batch.lengths)
        nats: Tensor = task.nats(model, scores, batch.y.to(scores.device))
        return nats

    return ExampleWindows(data.inputs.lengths[:, None], losses, task.label)


def tag_windows(task: Any, part: str) -> ExampleWindows:
    """Of a tagger: the loss of the last word's tag (with a CRF of the whole sentence, which has no other)."""
    from unrolled.tasks.tag.scoring import batch_nats

    data = task.parts[part]

    def losses(model: Any, rows: Ints) -> Tensor:
        batch = data.batch(rows)
        nats = batch_nats(model, model(batch), batch)
        if getattr(model, "crf", None) is not None:
            return nats
        last = np.flatnonzero(batch.places // batch.size == int(data.lengths[rows[0]]) - 1)
        return nats[torch.from_numpy(last)]

    return ExampleWindows(data.lengths[:, None], losses, task.label)


def translate_windows(task: Any, part: str) -> ExampleWindows:
    """Of a translator: the loss of the end after the whole target, which was given."""
    corpus = task.corpus
    sources, targets = corpus.pairs_of(corpus.parts[part])
    sizes = np.stack((corpus.sources.lengths[sources], corpus.targets.lengths[targets] + 1), 1)

    def losses(model: Any, rows: Ints) -> Tensor:
        batch = (*corpus.sources.padded(sources[rows]), *corpus.targets.padded(targets[rows]))
        scores, wanted = model(*(torch.from_numpy(a) for a in batch))
        P = len(rows)  # in the order of time: the last P are the ends
        return F.cross_entropy(scores[-P:], wanted[-P:], reduction="none")

    return ExampleWindows(sizes, losses, task.label)


def caption_windows(task: Any, part: str) -> ExampleWindows:
    """Of a captioner: the loss of the end after the whole caption, which was given."""
    chosen = task.of_part[part]

    def losses(model: Any, rows: Ints) -> Tensor:
        batch = task.batch(chosen[rows])
        scores, wanted = task._scores(model, batch)
        P = len(rows)
        return F.cross_entropy(scores[-P:], wanted[-P:], reduction="none")

    return ExampleWindows(np.asarray(task.steps[chosen])[:, None], losses, task.label)


def forecast_windows(task: Any, part: str, seed: int = 1) -> Any:
    """Of a forecaster, which reads long series: the loss of the value after the last step, the true ones before it
    given."""
    from unrolled.inspect.subjects.streams import Sequence, StreamWindows
    from unrolled.tasks.forecast.model import losses as value_losses

    sequences = []
    for frame in task.frames:
        begin, stop = task.shape.lead, frame.part(part)[1]
        x, y, seen = (
            torch.from_numpy(np.asarray(a[begin:stop])) for a in (task.shape.inputs(frame), frame.d, frame.seen)
        )
        sequences.append(Sequence(x.float(), y.float(), seen.any(-1)))

    def read(model: Any, x: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, Any]:
        output, state = model.rnn(x, state, resets=resets)
        return output, state

    def cost(model: Any, output: Tensor, wanted: Tensor) -> Tensor:
        return value_losses(model.distributions(output), wanted, task.model_config).sum(-1)

    return StreamWindows(sequences, read, cost, task.label, seed)


WINDOWS: dict[str, Callable[[Any, str], Any]] = {
    "classify": classify_windows,
    "tag": tag_windows,
    "translate": translate_windows,
    "caption": caption_windows,
    "forecast": forecast_windows,
}


def windows_for(task: Any) -> tuple[Any, str]:
    """Windows into an opened task's held-out part, and which part that is (the test, the dev, or the training part).

    Raises:
        UserError: no part has an example that can be followed.
    """
    problem: UserError | None = None
    for part in ("test", "dev", "train"):
        try:
            windows = WINDOWS[task.name](task, part)
            if isinstance(windows, ExampleWindows):
                if not len(windows.sizes):
                    continue
                windows.rows(1, 1)
        except UserError as error:
            problem = error
            continue
        return windows, part
    raise problem or UserError(f"{task.label}: no part of it has an example")
