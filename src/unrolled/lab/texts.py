"""Language models small enough for an experiment, and the text that lies on every machine to train them on."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.stdlib import stdlib_source
from unrolled.errors import UserError
from unrolled.layers import LSTM
from unrolled.state import detach
from unrolled.training.clipping import clip_norm, total_norm

WORD = re.compile(r"[A-Za-z_]+|[0-9]+|[^A-Za-z_0-9\s]|\n")
Ids = tuple[list[int], int]
"""A text as numbers, and how many different ones there are."""


def read(characters: int) -> str:
    """The first so many characters of the standard library's modules, those of packages left out; ASCII.

    Raises:
        UserError: this Python keeps no sources, or too few.
    """
    parts, length = [], 0
    for item in stdlib_source().items:
        if item.path is None or length >= characters:
            continue
        text = item.path.read_text(encoding="utf-8").encode("ascii", "ignore").decode("ascii")
        parts.append(text)
        length += len(text)
    if length < characters:
        raise UserError(f"the standard library here has {length} characters, {characters} are needed; use --quick")
    return "".join(parts)[:characters]


def by_character(text: str) -> Ids:
    """Characters, numbered by code."""
    known = {c: k for k, c in enumerate(sorted(set(text)))}
    return [known[c] for c in text], len(known)


def by_word(text: str, most: int) -> Ids:
    """Words, numbers, signs and line ends; the ``most - 1`` most frequent ones, and 0 for all others."""
    words = WORD.findall(text)
    known = {
        w: k for k, (w, _) in enumerate(sorted(Counter(words).items(), key=lambda p: (-p[1], p[0]))[: most - 1], 1)
    }
    return [known.get(w, 0) for w in words], len(known) + 1


def streams(ids: Sequence[int], B: int) -> Tensor:
    """(N // B, B): column b is the b-th piece of the text."""
    T = len(ids) // B
    return torch.tensor(ids[: T * B]).reshape(B, T).t().contiguous()


class LanguageModel(nn.Module):
    """An LSTM over ids: one-hot (the lookup that W_xh times one-hot is), or through an embedding of E numbers."""

    def __init__(self, V: int, H: int, E: int | None = None) -> None:
        super().__init__()
        self.embedding = None if E is None else nn.Embedding(V, E)
        self.layer = LSTM(V if E is None else E, H, forget_bias=1.0)
        self.answer = nn.Linear(H, V)

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """ids (T, B) to logits (T, B, V) and the state."""
        x = ids if self.embedding is None else self.embedding(ids)
        h, state = self.layer(x, state)
        assert state is not None
        return self.answer(h), state


def parameters(V: int, H: int, E: int | None) -> int:
    """4H (I + H + 2) + V (H + 1), and V E for an embedding; I is E, or V without one."""
    return 4 * H * ((V if E is None else E) + H + 2) + V * (H + 1) + (0 if E is None else V * E)


def update(
    model: LanguageModel, optimiser: torch.optim.Optimizer, chunk: Tensor, state: tuple[Tensor, Tensor] | None
) -> tuple[float, tuple[Tensor, Tensor]]:
    """One update on ids (k+1, B), whose gradient ends at the chunk's beginning; its loss, and the state to carry on."""
    logits, state = model(chunk[:-1], state)
    loss = F.cross_entropy(logits.flatten(0, 1), chunk[1:].flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    clip_norm(grads, 1.0, float(total_norm(grads)))
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach()), detach(state)


def train(
    model: LanguageModel, ids: Tensor, k: int, steps: int, lr: float, follow: Callable[[int], None] | None = None
) -> tuple[list[float], float]:
    """Truncated back-propagation through time over ids (T+1, B), pass after pass, until ``steps`` steps were read.

    Args:
        k: steps between updates, and steps that a gradient reaches back; T is the whole.
    Returns:
        The loss of every update, and the median seconds of one.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses: list[float] = []
    times: list[float] = []
    T, done = len(ids) - 1, 0
    state: tuple[Tensor, Tensor] | None = None
    while done < steps:
        place = done % T
        state = None if place == 0 else state
        chunk = ids[place : min(place + k, T, place + steps - done) + 1]
        begun = time.perf_counter()
        loss, state = update(model, optimiser, chunk, state)
        times.append(time.perf_counter() - begun)
        losses.append(loss)
        done += len(chunk) - 1
        if follow is not None:
            follow(done)
    return losses, sorted(times)[len(times) // 2]


@torch.no_grad()
def measure(model: LanguageModel, ids: Tensor) -> float:
    """Nats a unit on ids (T+1, B), the state carried from the beginning."""
    logits, _ = model(ids[:-1])
    return float(F.cross_entropy(logits.flatten(0, 1), ids[1:].flatten()))
