"""Named tensors to bytes and back, in the safetensors format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unrolled.bundle.manifest import AGAIN
from unrolled.errors import UserError

_ALIASES = "aliases"  # one metadata key: safetensors does not keep the order of several, and equal states
#                       must give equal files


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise; a tensor that stands under two names (tied weights) is stored once.

    Args:
        tensors: dense tensors of any shape, dtype and device.
    """
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[Any, str] = {}
    storages: set[int] = set()
    for name, given in tensors.items():
        tensor = given.detach()
        if tensor.numel():
            key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            first = seen.setdefault(key, name)
            if first != name:
                aliases[name] = first
                continue
        tensor = tensor.cpu().contiguous()
        # Another view of memory that is stored already becomes a tensor of its own; safetensors refuses shared memory.
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    metadata = {_ALIASES: json.dumps(aliases, sort_keys=True)} if aliases else None
    return safetensors.torch.save(stored, metadata=metadata)


def from_bytes(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors, on the CPU, in memory of their own (no open file); aliases are the same tensor again.

    Args:
        path: where ``data`` came from, for the message.
    Raises:
        UserError: not safetensors.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        aliases = json.loads(header.get("__metadata__", {}).get(_ALIASES, "{}"))
        tensors.update({name: tensors[first] for name, first in aliases.items()})
    except (safetensors.SafetensorError, ValueError, KeyError, AttributeError) as e:
        raise UserError(f"{path}: altered (not a safetensors file); {AGAIN}") from e
    return tensors


def equal(a: Tensor, b: Tensor) -> bool:
    """Same dtype, shape and bits (a NaN equals itself)."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
