"""A linear-chain conditional random field over the steps of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CRF(nn.Module):
    """Scores of whole tag sequences, where each tag also depends on the one before it.

    ::

        score(y) = start[y_0] + sum_t emissions[t, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_last]
        p(y)     = exp(score(y)) / Z,    Z = the sum of exp(score) over all V^T sequences

    (Lafferty, McCallum & Pereira 2001; over a recurrent network: Huang, Xu & Yu 2015, arXiv:1508.01991.) All transition
    scores start at 0: an untrained layer says what the emissions alone say.

    Everywhere ``lengths`` (B,) says how many steps of each sequence are real, 0 included. What stands behind changes
    no bit and gets exactly zero gradient. Work is done in the emissions' dtype, step after step.

    Args:
        V: number of tags.

    Attributes:
        start, end: (V,). transitions: (V, V), from the row's tag to the column's.
    """

    def __init__(self, V: int) -> None:
        super().__init__()
        self.start, self.end = nn.Parameter(torch.zeros(V)), nn.Parameter(torch.zeros(V))
        self.transitions = nn.Parameter(torch.zeros(V, V))

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Minus log p of the tags, in nats: emissions (T, B, V) and int64 tags (T, B) to (B,); 0 for length 0.

        Tags in the padding may be anything from 0 to V-1.
        """
        return self.log_partition(emissions, lengths) - self.score(emissions, tags, lengths)

    def score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """The score of the sequences ``tags`` (T, B), to (B,); 0 for length 0."""
        T, B, _ = emissions.shape
        total = emissions.new_zeros(B)
        picked = emissions.gather(2, tags[..., None])[..., 0]
        for t in range(T):  # summed step by step, so that the padding's length moves no rounding
            joined = self.start[tags[0]] if t == 0 else self.transitions[tags[t - 1], tags[t]]
            total = torch.where(t < lengths, total + picked[t] + joined, total)
        return torch.where(lengths > 0, total + self.end[_last(tags, lengths)], total) if T else total

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """log Z: (T, B, V) to (B,); 0 for length 0."""
        T, B, _ = emissions.shape
        if T == 0:
            return emissions.new_zeros(B)
        alpha = self.start + emissions[0]  # (B, V): log of the summed exp(score) of all beginnings that end in a tag
        for t in range(1, T):
            longer = torch.logsumexp(alpha[:, :, None] + self.transitions, 1) + emissions[t]
            alpha = torch.where((t < lengths)[:, None], longer, alpha)
        total = torch.logsumexp(alpha + self.end, 1)
        return torch.where(lengths > 0, total, torch.zeros_like(total))

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The best sequence of each row (Viterbi 1967).

        Of sequences that score the same, the one whose last differing tag is lowest is taken.

        Returns:
            int64 tags (T, B), 0 in the padding, and their scores (B,).
        """
        T, B, _ = emissions.shape
        tags = lengths.new_zeros(T, B, dtype=torch.int64)
        if T == 0:
            return tags, emissions.new_zeros(B)
        best = self.start + emissions[0]
        came_from: list[Tensor] = []
        for t in range(1, T):
            value, previous = (best[:, :, None] + self.transitions).max(1)
            best = torch.where((t < lengths)[:, None], value + emissions[t], best)
            came_from.append(previous)
        score, tag = (best + self.end).max(1)
        for t in range(T - 1, -1, -1):
            tags[t] = torch.where(t < lengths, tag, 0)
            if t > 0:  # in the padding the row still waits at its last tag
                tag = torch.where(t < lengths, came_from[t - 1].gather(1, tag[:, None])[:, 0], tag)
        return tags, torch.where(lengths > 0, score, torch.zeros_like(score))

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """p(y_t = tag), given everything: (T, B, V), 0 in the padding. It is the gradient of log Z."""
        with torch.enable_grad():
            leaf = emissions.detach().requires_grad_()
            total = self.log_partition(leaf, lengths).sum()
            return torch.autograd.grad(total, leaf)[0] if total.requires_grad else torch.zeros_like(leaf)


def _last(tags: Tensor, lengths: Tensor) -> Tensor:
    """The tag (B,) of each row's last step; for length 0 that of its first."""
    return tags.gather(0, (lengths - 1).clamp_min(0)[None])[0]
