"""Language models as subjects: a text, its units as they are shown, and windows into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.corpus import Corpus
from unrolled.data.units import Units
from unrolled.errors import UserError
from unrolled.inspect.subject import Subject, Text
from unrolled.inspect.subjects.streams import Sequence, State, StreamWindows
from unrolled.tasks.language.model import LanguageModel

UNIGRAMS = 1_000_000
"""Units of the training text that unigrams are counted on."""


def language_subject(
    name: str, model: LanguageModel, untrained: LanguageModel, corpus: Corpus, part: str, *, chars: int,
    training: Corpus | None = None, run: str | None = None, seed: int = 1,
) -> Subject:  # fmt: skip
    """A language model with a text to read.

    Args:
        part: of ``corpus``, which is read from its beginning.
        chars: how many units of it, at most.
        training: what the model was trained on, for unigrams and unrelated text; None where that is not to be had.
    Raises:
        UserError: an empty part.
    """
    ids, fresh = units_of(corpus, part, chars)
    if len(ids) < 2:
        raise UserError(f"{corpus.label}: the {part} part has {len(ids)} units, and there is nothing to predict in it; "
                        "give a text")  # fmt: skip
    trained = units_of(training or corpus, "train", UNIGRAMS)[0]
    if len(trained) < 2:
        trained = ids
    shown = vocabulary_of(corpus.units)
    text = Text(torch.from_numpy(ids), [shown[k] for k in ids.tolist()], shown, torch.from_numpy(trained),
                None if fresh is None else torch.from_numpy(fresh))  # fmt: skip
    return Subject(name, "language", model, untrained, windows_of(text, corpus.label, seed), text, run)


def windows_of(text: Text, where: str, seed: int = 1) -> StreamWindows:
    """The windows of a text: the loss at the last step is that of the unit after it."""
    fresh = None if text.fresh is None else text.fresh[:-1]
    sequence = Sequence(text.ids[:-1], text.ids[1:], torch.ones(len(text.ids) - 1, dtype=torch.bool), fresh)
    return StreamWindows([sequence], _read, _cost, where, seed)


def _read(model: nn.Module, ids: Tensor, state: State, resets: Tensor | None) -> tuple[Tensor, State]:
    assert isinstance(model, LanguageModel)
    return model.features(ids, state, resets=resets)


def _cost(model: nn.Module, output: Tensor, wanted: Tensor) -> Tensor:
    assert isinstance(model, LanguageModel)
    return F.cross_entropy(model.scores(output), wanted, reduction="none")


def units_of(corpus: Corpus, part: str, most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """The first ``most`` units of a part; records one after another, each begun by the end unit, where its state
    starts anew, and that after the last."""
    where = corpus.parts[part]
    if corpus.records is None or where.records is None:
        return corpus.tokens[where.start : min(where.stop, where.start + most)].astype(np.int64), None
    end, pieces, starts, total = corpus.records.end, [], [], 0
    for k in range(len(where.records)):
        first, stop = corpus.records.span(where.records[k])
        pieces.append(np.concatenate(([end], corpus.tokens[first:stop].astype(np.int64))))
        starts.append(total)
        total += len(pieces[-1])
        if total >= most:
            break
    ids = np.concatenate([*pieces, [end]])[: most + 1] if pieces else np.zeros(0, np.int64)
    fresh = np.zeros(len(ids), np.bool_)
    fresh[starts] = True
    if len(ids):
        fresh[-1] = True  # whatever comes next is another record
    return ids, fresh


def vocabulary_of(units: Units) -> list[str]:
    """What is shown for each unit: itself, bytes that are no text as escapes."""
    shown = []
    for unit in range(len(units)):
        text: Any = units.spell(unit).decode("utf-8", errors="replace")
        plain = text and "�" not in text and all(c.isprintable() or c in "\n\t" for c in text)
        shown.append(text if plain else units.name(unit))
    return shown
