"""Initialising the parameters of a module, parametrised ones too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unrolled.cells import Cell, initialise


@torch.no_grad()
def reinitialise(
    module: nn.Module,
    cell: Cell,
    names: Sequence[tuple[str, str]],
    scheme: str,
    forget_bias: float | None,
    t_max: int | None,
) -> None:
    """Fill a cell's parameters by ``scheme``; ``names`` are pairs (in the cell, in the module).

    A parametrised weight is drawn like the others and handed to its parametrisation, which finds the originals.

    Raises:
        ValueError: a weight that is made from others (parametrised without ``right_inverse``, pruned, or under the old
            ``torch.nn.utils.weight_norm``) and that can therefore not be set; nothing is changed then.
    """
    w: dict[str, Tensor] = {}
    made = [full for _, full in names if full not in module._parameters]
    for name in made:
        if not parametrize.is_parametrized(module, name):
            raise ValueError(f"reset_parameters: {name} is computed from other tensors, so it cannot be set")
        for step in module.parametrizations[name]:  # type: ignore[index]
            if not hasattr(step, "right_inverse"):
                raise ValueError(
                    f"reset_parameters: {name} is parametrised by {type(step).__name__}, which has no right_inverse"
                )
    for name, full in names:
        w[name] = getattr(module, full)
        if full in made:
            w[name] = torch.empty_like(w[name])
    initialise(cell, w, scheme, forget_bias, t_max)
    for name, full in names:
        if full in made:
            setattr(module, full, w[name])
