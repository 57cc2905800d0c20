"""A wrong result has no speed: the check that stands before every measurement."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LIMITS = {torch.float32: 1e-4, torch.float64: 1e-10}
"""The largest difference allowed, as a share of the tensor's largest element: two orders of summation differ by less
even in a gradient summed over 100,000 terms, and a gate that is wrong by more than this."""


class ParityError(Exception):
    """Two sides that should compute the same do not; the message says where and by how much."""


def check(ours: Mapping[str, Tensor], peer: Mapping[str, Tensor], *, limit: float | None = None) -> None:
    """Compare results by name.

    Args:
        limit: instead of :data:`LIMITS`, by the dtype of the peer's tensor.
    Raises:
        ParityError: names the first tensor that is missing, has another shape, is not finite, or differs.
    """
    if ours.keys() != peer.keys():
        raise ParityError(f"results differ in name: {', '.join(sorted(ours.keys() ^ peer.keys()))}")
    if not peer:
        raise ParityError("nothing was compared")
    for name, theirs in peer.items():
        mine = ours[name].detach()
        theirs = theirs.detach()
        if mine.shape != theirs.shape:
            raise ParityError(f"{name}: shape {tuple(mine.shape)}, the peer's {tuple(theirs.shape)}")
        if not bool(torch.isfinite(mine).all()):
            raise ParityError(f"{name}: not finite")
        allowed = limit if limit is not None else LIMITS[theirs.dtype]
        largest = float(theirs.abs().max()) if theirs.numel() else 0.0
        distance = float((mine.double() - theirs.double()).abs().max()) if theirs.numel() else 0.0
        if not distance <= allowed * max(largest, 1e-30):
            raise ParityError(
                f"{name}: differs from the peer's by {distance:.2g}, its largest element is {largest:.2g} "
                f"(allowed: {allowed:g} of it)"
            )
