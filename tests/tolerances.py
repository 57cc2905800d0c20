"""The one table of tolerances, by dtype. Nothing gets softer anywhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TOLERANCES = {torch.float64: {"rtol": 1e-11, "atol": 1e-12}, torch.float32: {"rtol": 2e-5, "atol": 2e-6}}
"""Outputs and states; gradients, sums of many terms, get ten times as much."""


def assert_close(actual: Any, expected: Any, *, gradient: bool = False, what: str = "") -> None:
    """Compare tensors, or tuples, lists and dicts of them, by the table."""
    if isinstance(actual, Tensor):
        assert actual.shape == expected.shape, f"{what}: {actual.shape} against {expected.shape}"
        table = {k: v * (10 if gradient else 1) for k, v in TOLERANCES[actual.dtype].items()}
        torch.testing.assert_close(actual, expected, **table, msg=lambda m: f"{what}: {m}")
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            assert_close(actual[key], expected[key], gradient=gradient, what=f"{what}.{key}")
    else:
        assert len(actual) == len(expected)
        for k, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_close(a, e, gradient=gradient, what=f"{what}[{k}]")


def assert_same(actual: Any, expected: Any, what: str = "") -> None:
    """Tuples of tensors, equal to the bit; of what differs, how much."""
    for k, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == e.shape, f"{what}[{k}]: {a.shape} against {e.shape}"
        assert torch.equal(a, e), f"{what}[{k}]: {int((a != e).sum())} of {a.numel()} differ, by {(a - e).abs().max()}"
