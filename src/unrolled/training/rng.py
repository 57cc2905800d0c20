"""Torch's random streams, taken and put back.

Training draws from torch's global generators (dropout masks, zoneout). Whatever is done between two updates for the
sake of watching must leave them as they were, or watching would change the result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that a run on ``device`` draws from, as ``uint8`` tensors on the CPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`rng_state` took. A state of another kind of device is left out: it means nothing here."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def kept_rng(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the random streams go on afterwards as if nothing had been."""
    states = rng_state(device)
    try:
        yield
    finally:
        set_rng_state(states, device)
