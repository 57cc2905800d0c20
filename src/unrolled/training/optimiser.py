"""Optimisers: torch's own, and the Adagrad of the 112-line character model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.tasks.base import UpdateRule
from unrolled.training.config import TrainConfig


class MinCharRnnAdagrad(torch.optim.Optimizer):
    """Adagrad with epsilon inside the root, as in Karpathy's ``min-char-rnn.py``::

        mem += g * g;  p -= lr * g / sqrt(mem + eps)

    ``torch.optim.Adagrad`` divides by ``sqrt(mem) + 1e-10``. With a first gradient of 1e-5 the two differ tenfold:
    here the step is ``lr / 10``, there ``lr``.

    Args:
        params: parameters or groups, as for any torch optimiser.
        lr: learning rate.
        eps: added to the memory under the root.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.1, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update. ``closure``, where given, computes the loss anew; its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Tensor] = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["mem"] = torch.zeros_like(p)
            memories = [self.state[p]["mem"] for p in params]
            torch._foreach_addcmul_(memories, grads, grads)
            roots = torch._foreach_add(memories, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(params, grads, roots, -group["lr"])
        return loss


def build_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that ``config`` names, over the parameters of ``model`` that are trained.

    Weight decay reaches matrices only: pulling biases and gains towards 0 would undo a forget bias.

    On the CPU and on CUDA the fused kernels run where torch has one. They equal the plain loop up to the last bit of
    rounding, do the same in every run, and take a half to a quarter of its time at 0.5 M parameters.

    Raises:
        UserError: when the settings contradict each other.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    kind, decay = config.optimiser, config.weight_decay
    if config.momentum and kind not in ("sgd", "rmsprop"):
        raise UserError(f"--momentum {config.momentum:g}: --optimiser {kind} takes none; use sgd or rmsprop")
    if kind == "min-char-rnn-adagrad":
        if decay:
            raise UserError(f"--weight-decay {decay:g}: --optimiser {kind} has none; use adagrad")
        return MinCharRnnAdagrad(params, lr=config.lr)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]
    if not decay:
        groups = [{"params": params, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for p in params)
    betas = (config.beta1, config.beta2)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=fused)
    if kind == "adam":
        return torch.optim.Adam(groups, lr=config.lr, betas=betas, fused=fused)
    if kind == "rmsprop":
        return torch.optim.RMSprop(groups, lr=config.lr, alpha=config.beta2, momentum=config.momentum)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    # Adagrad's fused kernel exists for the CPU alone.
    return torch.optim.Adagrad(groups, lr=config.lr, fused=all(p.device.type == "cpu" for p in params))


_RULES: dict[type[torch.optim.Optimizer], UpdateRule] = {
    torch.optim.SGD: UpdateRule("sgd", counts=False),
    torch.optim.Adam: UpdateRule("adam", "exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: UpdateRule("adamw", "exp_avg", "exp_avg_sq"),
    torch.optim.Adagrad: UpdateRule("adagrad", None, "sum"),
    MinCharRnnAdagrad: UpdateRule("min-char-rnn-adagrad", None, "mem", counts=False),
}


def update_rule(optimiser: torch.optim.Optimizer) -> UpdateRule | None:
    """What the optimiser does, for those who do it in its place; None where it is more than a rule here can say."""
    if any(group.get("momentum") for group in optimiser.param_groups):
        return None
    return _RULES.get(type(optimiser))
