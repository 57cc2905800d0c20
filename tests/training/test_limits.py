"""Settings out of range, devices that are none, more memory than there is: one line for the user, bugs as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.training.char_task import CharTask, Runner, config
from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError
from unrolled.training.config import TrainConfig
from unrolled.training.estimate import seconds_per_update
from unrolled.training.machine import device_of, memory_errors

HUGE = 10**15


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"minutes": float("inf")}, "--minutes inf"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"clip_norm": float("inf")}, "--clip-norm inf"),
        ({"seed": 2**63}, "--seed 9223372036854775808: must be at most 9223372036854775807"),
        ({"threads": 4097}, "--threads 4097: must be at most 4096"),
        ({"bptt": "10000001"}, "--bptt 10000001: at most 10000000"),
        ({"bptt": "9" * 5000}, "--bptt 9999"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], flag: str) -> None:
    with pytest.raises(UserError) as e:
        TrainConfig(**changes)
    assert str(e.value).startswith(flag)
    assert len(str(e.value)) < 200


def test_the_largest_settings_are_taken() -> None:
    made = TrainConfig(seed=2**63 - 1, threads=4096, bptt="10000000")
    torch.Generator().manual_seed(made.seed)
    assert TrainConfig(bptt="0000000000064").bptt == "0000000000064"


def test_an_infinite_temperature_is_refused() -> None:
    with pytest.raises(UserError, match="--temperature inf: must be finite"):
        SampleConfig(temperature=float("inf"))


@pytest.mark.parametrize("name", ["cpu:x", "foo", "", "cuda:x", "cuda:99", "cpu:-1", "meta", "cpu:1:2"])
def test_a_device_that_is_none_is_refused(run: Runner, name: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: "):
        device_of(name)
    settings = config(steps=1, device=name)
    with pytest.raises(UserError, match="--device"):
        run("run", settings)
    with pytest.raises(UserError, match="--device"):
        seconds_per_update(CharTask(settings), settings)


def test_a_device_that_is_there() -> None:
    assert device_of("cpu") == torch.device("cpu")


# Memory.


class TooLarge(CharTask):
    """Asks for a petabyte while it builds the model, or in an update."""

    where = "build"

    def build(self) -> nn.Module:
        if self.where == "build":
            torch.empty(HUGE)
        return super().build()

    def loss(self, *arguments: Any) -> Any:
        if self.where == "loss":
            torch.empty(HUGE)
        return super().loss(*arguments)


@pytest.mark.parametrize("where", ["build", "loss"])
def test_too_large_a_network_is_one_line(run: Runner, where: str) -> None:
    settings = config(steps=3)
    task = TooLarge(settings)
    task.where = where
    words = r"--hidden/--batch: too large for this machine's memory \(.*\); --dry-run tells what is needed"
    with pytest.raises(UserError, match=words) as e:
        run("run", settings, task=task)
    assert "\n" not in str(e.value)
    assert "4.0 PB" in str(e.value)
    with pytest.raises(UserError, match=words):
        seconds_per_update(task, settings)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
        IndexError("out of range"),
        RuntimeError("a bug"),
    ],
)
def test_a_bug_stays_a_bug(error: Exception) -> None:
    with pytest.raises(type(error)) as e, memory_errors():
        raise error
    assert e.value is error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 80000 bytes."),
        RuntimeError("Storage size calculation overflowed with sizes=[4000000000, 10000000000]"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..."),
        MemoryError(),
    ],
)
def test_the_allocators_words_are_known(error: Exception) -> None:
    with pytest.raises(UserError, match="too large for this machine's memory"), memory_errors():
        raise error
