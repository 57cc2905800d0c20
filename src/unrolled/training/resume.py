"""Which settings may differ on resuming, and the tree of values that a checkpoint holds."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.training.average import Average
from unrolled.training.config import TrainConfig
from unrolled.training.rng import rng_state, set_rng_state
from unrolled.training.selection import tensors_of

BUDGETS = ("minutes", "epochs", "steps")
WATCHING = ("sample_every", "sample_length", "checkpoint_every", "watch", "threads", "device")
"""Settings that do not change what is learnt. The last two do so in the last bits: a run goes on to the bit on as many
threads of the same kind of machine."""


def settings_of(config: TrainConfig, task_settings: dict[str, Any], digest: str | None) -> dict[str, Any]:
    """What a resumed run is held to, in plain JSON values: ``{"train", "model", "data", ..., "the data's digest"}``."""
    everything = {"train": to_dict(config), **task_settings, "the data's digest": digest}
    made: dict[str, Any] = json.loads(json.dumps(everything))
    return made


def check_settings(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare a checkpoint's settings with those of the run that wants to go on from it.

    Raises:
        UserError: names the first setting that differs.
    """
    free = {f"train.{name}" for name in (*BUDGETS, *WATCHING)}
    for name, old, new in _differences("", saved, now):
        if name not in free:
            if "digest" in name:
                raise UserError(
                    "cannot resume: this is another text, or it was changed; give the one it was trained on, or start "
                    "a new run with --init-from"
                )
            short = name.removeprefix("train.")
            raise UserError(
                f"cannot resume: {short} was {_short(old)} and is now {_short(new)}; only the budget and what is "
                "watched may change (a new run can start from these weights)"
            )


def _differences(at: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*old, *(k for k in new if k not in old)]:
            found += _differences(f"{at}.{key}" if at else str(key), old.get(key), new.get(key))
        return found
    return [] if old == new else [(at, old, new)]


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Live:
    """What an update changes: weights, optimiser, average, carry, stream, random streams. The guard and the
    checkpoint keep the same tree of it.

    Attributes:
        carry: what the next batch continues from.
    """

    def __init__(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, stream: Any,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.model, self.optimiser, self.average = model, optimiser, average
        self.stream, self.device = stream, device
        self.carry: dict[str, Tensor] = {}

    def tree(self) -> dict[str, Any]:
        """The present values; tensors are the live ones, not copies."""
        tree: dict[str, Any] = {
            "model": tensors_of(self.model),
            "optimiser": self.optimiser.state_dict()["state"],
            "carry": self.carry,
            "stream": self.stream.position(),
            "rng": rng_state(self.device),
        }
        if self.average is not None:
            tree["average"] = {"weights": self.average.weights, "updates": self.average.updates}
        return tree

    @torch.no_grad()
    def restore(self, tree: dict[str, Any]) -> None:
        """Make the values of ``tree`` the present ones. The tree is used up: its tensors may become live.

        Raises:
            UserError: the weights do not fit the model.
        """
        own = tensors_of(self.model)
        if own.keys() != tree["model"].keys() or any(own[n].shape != t.shape for n, t in tree["model"].items()):
            raise UserError("cannot resume: the checkpoint's weights do not fit the model; start a new run")
        for name, tensor in tree["model"].items():
            own[name].copy_(tensor)
        packed = self.optimiser.state_dict()
        packed["state"] = tree["optimiser"]
        self.optimiser.load_state_dict(packed)
        self.carry = {name: tensor.to(self.device) for name, tensor in tree["carry"].items()}
        self.stream.restore(tree["stream"])
        set_rng_state(tree["rng"], self.device)
        if self.average is not None:
            self.average.updates = tree["average"]["updates"]
            for name, tensor in tree["average"]["weights"].items():
                self.average.weights[name].copy_(tensor)
