"""Nested values to JSON and tensors and back; tensors to bytes and back."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.bundle.tensors import equal, from_bytes, to_bytes
from unrolled.bundle.tree import flatten, unflatten
from unrolled.errors import UserError

HERE = Path("somewhere")


def there_and_back(value: Any) -> Any:
    tree, tensors = flatten(value)
    return unflatten(json.loads(json.dumps(tree, allow_nan=False)), from_bytes(to_bytes(tensors), HERE))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and [type(k) for k in a] == [type(k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b) and math.copysign(1, a or 0) == math.copysign(1, b or 0) if isinstance(a, float) else a == b


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        (),
        {"a": [1, (2.5, None, True, "x"), {}], "b": ((),)},
        {0: "int key", "0": "string key", None: 1, (1, 2): 3, 1.5: 4, True: 5},
        [math.inf, -math.inf, math.nan, -0.0, 5e-324, 0.1, 1 << 200],
        {"$tuple": [1]},  # our own marks as ordinary keys
        {"$float": "inf"},
        {"$tensor": "a", "b": 2},
        [{"$dict": {"$tuple": ()}}],
        {"a/b": torch.ones(2), "a": {"b": torch.zeros(2)}, 1: torch.ones(1), "1": torch.zeros(1)},
        [torch.tensor(3), torch.zeros(0, 4), torch.tensor([True, False]), torch.tensor([math.nan, math.inf])],
        torch.arange(3),
        "ünïcode \ud7ff \x00",
    ],
)
def test_comes_back_as_it_was(value: Any) -> None:
    assert same(value, there_and_back(value))


def test_an_optimisers_state_and_the_random_states_come_back() -> None:
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = {"optimiser": optimiser.state_dict(), "torch": torch.get_rng_state(), "python": random.getstate()}
    back = there_and_back(state)
    assert same(state, back)
    assert list(back["optimiser"]["state"]) == [0, 1]
    random.setstate(back["python"])


@pytest.mark.parametrize("value", [object(), {"a": [{1, 2}]}, b"bytes", torch.Size([1]), 1j])
def test_what_cannot_be_saved_is_refused_with_its_path(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be saved"):
        flatten(value)
    with pytest.raises(TypeError, match="x/a/0: a set"):
        flatten({"x": {"a": [{1}]}})


def test_tied_weights_are_stored_once_and_tied_again() -> None:
    weight = torch.randn(100, 10, generator=torch.Generator().manual_seed(1))
    tied = to_bytes({"a": weight, "b": torch.nn.Parameter(weight), "c": weight + 1})
    assert len(tied) < 2.2 * weight.nbytes
    back = from_bytes(tied, HERE)
    assert back["b"] is back["a"]
    assert equal(back["c"], weight + 1)
    assert set(back) == {"a", "b", "c"}


def test_parts_of_one_buffer_are_stored_apart() -> None:
    flat = torch.arange(12.0)
    parts = {
        "a": flat[:6].view(2, 3),
        "b": flat[6:],
        "t": flat[:6].view(2, 3).t(),
        "overlap": flat[3:9],
        "whole": flat,
        "folded": flat.view(3, 4),
    }
    data = to_bytes(parts)
    back = from_bytes(data, HERE)
    for name, part in parts.items():
        assert equal(back[name], part), name
    assert back["a"].untyped_storage().nbytes() == 24  # and not the whole buffer


def test_equal_states_give_equal_bytes() -> None:
    def state() -> dict[str, torch.Tensor]:
        w = torch.ones(3)
        return {"a": w, "b": w, "c": torch.zeros(2), "d": w}

    assert to_bytes(state()) == to_bytes(state())


def test_loaded_tensors_can_be_written_to() -> None:
    back = from_bytes(to_bytes({"a": torch.zeros(2)}), HERE)
    back["a"].add_(1)
    assert back["a"].tolist() == [1, 1]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 64, to_bytes({"a": torch.ones(4)})[:-1]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="somewhere: altered"):
        from_bytes(data, HERE)
