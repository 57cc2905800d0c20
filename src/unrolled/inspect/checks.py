"""What every instrument asks of a model first."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from unrolled.errors import UserError

M = TypeVar("M", bound=nn.Module)


def check_finite(model: nn.Module) -> None:
    """Raises UserError, naming the tensor, where a weight or buffer is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            kind = "NaN" if bool(tensor.isnan().any()) else "infinity"
            raise UserError(
                f"{name}: {bad} of {tensor.numel()} values are not finite ({kind}): nothing can be measured; "
                "take an earlier checkpoint, or train again with a lower rate"
            )


def double(model: M) -> M:
    """A float64 copy on the CPU, in evaluation mode, for :func:`unrolled.inspect.gradient_flow` and the like.

    Raises:
        UserError: a weight is NaN or infinite; the tensor is named.
    """
    check_finite(model)
    return copy.deepcopy(model).cpu().double().eval()
