"""Nested values with tensors in them <-> JSON and named tensors. What pickle would be used for, without it.

JSON has no tuples, no keys but strings, no infinities. Those are written as an object with one key:
``{"$tuple": [...]}``, ``{"$dict": [[key, value], ...]}``, ``{"$float": "inf"}``, ``{"$tensor": "name"}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MARKS = ("$tuple", "$dict", "$float", "$tensor")


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested dicts, lists, tuples, scalars, None and tensors into JSON and tensors.

    Returns:
        ``(json, tensors)``: what ``json.dumps(allow_nan=False)`` takes, and the tensors named by their path
        (``optimiser/state/0/exp_avg``).
    Raises:
        TypeError: a value of another kind; names its path.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(value, "", tensors), tensors


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, Tensor):
        return {"$tensor": _name(path or "value", value, tensors)}
    if type(value) in (list, tuple):
        items = [_flatten(v, f"{path}/{i}" if path else str(i), tensors) for i, v in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    if isinstance(value, dict):
        pairs = [(k, _flatten(v, f"{path}/{k}" if path else str(k), tensors)) for k, v in value.items()]
        if all(type(k) is str for k, _ in pairs) and not (len(pairs) == 1 and pairs[0][0] in _MARKS):
            return dict(pairs)
        return {"$dict": [[_flatten(k, f"{path}/key", tensors), v] for k, v in pairs]}
    raise TypeError(f"{path or 'value'}: a {type(value).__name__} cannot be saved; only nested dicts, lists, tuples, "
                    "numbers, strings, None and tensors")  # fmt: skip


def _name(path: str, tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    name, n = path, 1
    while name in tensors:  # {1: a, "1": b} gives two tensors one path
        n += 1
        name = f"{path}~{n}"
    tensors[name] = tensor
    return name


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put back together what :func:`flatten` took apart.

    Raises:
        KeyError: the JSON names a tensor that is not there.
    """
    if isinstance(tree, list):
        return [unflatten(v, tensors) for v in tree]
    if not isinstance(tree, dict):
        return tree
    mark = next(iter(tree)) if len(tree) == 1 else None
    if mark == "$tensor":
        return tensors[tree[mark]]
    if mark == "$float":
        return float(tree[mark])
    if mark == "$tuple":
        return tuple(unflatten(v, tensors) for v in tree[mark])
    if mark == "$dict":
        return {unflatten(k, tensors): unflatten(v, tensors) for k, v in tree[mark]}
    return {k: unflatten(v, tensors) for k, v in tree.items()}
