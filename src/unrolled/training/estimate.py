"""How long an update takes, tried out on a model of its own."""

from __future__ import annotations

import statistics
import time

import torch

from unrolled.tasks.base import Task
from unrolled.training.config import TrainConfig
from unrolled.training.machine import device_of, memory_errors
from unrolled.training.optimiser import build_optimiser
from unrolled.training.rng import kept_rng

TRIES = 8


def seconds_per_update(task: Task, config: TrainConfig) -> float:
    """Median seconds of an update, the first ones left out. No random stream is disturbed.

    Raises:
        UserError: the device is not there, or its memory is too small.
    """
    device = device_of(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with kept_rng(device), memory_errors():
        model = task.build().to(device=device, dtype=getattr(torch, config.dtype)).train()
        optimiser, stream = build_optimiser(model, config), task.stream()
        carry: dict[str, torch.Tensor] = {}
        times = []
        for _ in range(TRIES):
            begun = time.perf_counter()
            loss = task.loss(model, stream.next(), carry)
            loss.objective.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            carry = loss.carry
            loss.nats.item()
            times.append(time.perf_counter() - begun)
    return statistics.median(times[TRIES // 4 :])
