"""Places of a text that the network finds alike: the nearest states by cosine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ROWS_AT_ONCE = 512


def similar(states: NDArray[Any], *, count: int = 5, apart: int = 25) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each position the others whose hidden state has the largest cosine with its own.

    The text is cut into stretches of ``apart`` positions, and of each stretch only the nearest one counts: neighbours
    are alike without meaning anything. Positions nearer than ``apart`` to the one asked for are left out.

    Args:
        states: (N, H). count: how many; fewer where the text has no more stretches.
    Returns:
        (N, count) positions, best first, -1 where there is none; and the cosines, 0 there.
    """
    unit = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(states, dtype=np.float32)), dim=1)
    N = len(unit)
    stretches = -(-N // apart)
    count = min(count, stretches)
    where, cosines = [], []
    column = torch.arange(stretches * apart)
    padded = torch.nn.functional.pad(unit, (0, 0, 0, stretches * apart - N))
    for at in range(0, N, _ROWS_AT_ONCE):
        rows = torch.arange(at, min(at + _ROWS_AT_ONCE, N))
        cosine = unit[rows] @ padded.t()
        cosine[:, N:] = -torch.inf
        near = rows[:, None] + torch.arange(1 - apart, apart)
        cosine.scatter_(1, near.clamp(0, N - 1), -torch.inf)
        best = cosine.view(len(rows), stretches, apart).max(-1)
        found = best.values.topk(count, 1)
        positions = column.view(stretches, apart)[:, 0][found.indices] + best.indices.gather(1, found.indices)
        none = found.values == -torch.inf
        where.append(positions.masked_fill(none, -1))
        cosines.append(found.values.masked_fill(none, 0.0))
    return torch.cat(where).numpy(), torch.cat(cosines).numpy()
