"""The forecasting task: what the training loop needs to know about it, and nothing of the loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.series import SeriesSet
from unrolled.engines import explain
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.state import detach
from unrolled.tasks import long
from unrolled.tasks.base import Evaluation, Loss, Report
from unrolled.tasks.forecast import figures
from unrolled.tasks.forecast.config import (
    ForecastConfig,
    ForecastData,
    ForecastPredict,
    count_inputs,
    count_parameters,
)
from unrolled.tasks.forecast.model import ForecastModel, first_guess, losses
from unrolled.tasks.forecast.prepared import Shape, find_season, prepare_all
from unrolled.tasks.forecast.streams import Chunk, SeriesStream
from unrolled.tasks.language.model import state_from_dict, state_to_dict


class Training(Protocol):
    """The settings of training that the task reads; the loop's own configuration has them all."""

    @property
    def batch(self) -> int: ...
    @property
    def bptt(self) -> str: ...
    @property
    def loss_reduction(self) -> str: ...
    @property
    def seed(self) -> int: ...


class ForecastTask:
    """Series, the shape of a model, and how it is trained.

    Args:
        found: the series as they were read.
        start_from: weights (a ``state_dict``) of an old model; :meth:`build` copies those of the same shape.

    Attributes:
        frames: the series, ready. shape: what they were prepared by.
        summary, label: for people. notes: what was read, filled and assumed.

    Raises:
        UserError: missing values under ``--missing error``, series too short for what is asked for.
    """

    name = "forecast"
    headline = "mase"

    def __init__(
        self, found: SeriesSet, data: ForecastData, model: ForecastConfig, train: Training, *,
        start_from: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.found, self.data_config, self.model_config, self.train_config = found, data, model, train
        self.start_from = start_from
        season, why = find_season(found, data)
        self.shape = Shape(data, model, season)
        self.frames, notes = prepare_all(found, self.shape)
        self.notes = [*found.notes, *notes]
        self.inputs = count_inputs(model, len(found.targets), len(found.covariates), season, self.shape.mask)
        self.label = found.label
        steps = sum(len(f.y) for f in self.frames)
        self.summary = (
            f"{found.label}: {len(self.frames)} series of {steps:,} steps in all"
            + (f" of one {found.grid.name}" if found.grid.unit != "row" else "")
            + f", {why}; {data.steps_ahead} steps ahead"
        )
        self._check_parts()
        self._stream = self.stream()  # asked for its sizes only, never read

    def _check_parts(self) -> None:
        """Refuse a held-out part in which no forecast fits; say where the dev part is too short for one."""
        H = self.data_config.steps_ahead
        for part, flag in (("test", "--heldout"), ("dev", "--dev")):
            sizes = [f.part(part)[1] - f.part(part)[0] for f in self.frames]
            if not max(sizes):
                continue
            fit = len({o.frame for o in figures.origins(self, part)})
            if fit == 0 and part == "test":
                raise UserError(
                    f"--steps-ahead {H}: the held-out part of the longest series has {max(sizes)} steps; give "
                    f"fewer, or a larger {flag} (0: nothing is held out)"
                )
            if fit == 0:
                self.notes.append(
                    f"the dev part ({max(sizes)} steps) is shorter than --steps-ahead {H}: weights are selected by the "
                    "loss one step ahead"
                )
            elif fit < len(self.frames):
                self.notes.append(f"{part} parts shorter than --steps-ahead {H}, not scored: {len(self.frames) - fit}")

    # -- model and data ----------------------------------------------------------------------------------------

    def build(self) -> nn.Module:
        """A fresh model, drawn from torch's global generator; with ``start_from`` the old weights go over it."""
        model = ForecastModel(self.inputs, len(self.found.targets), self.model_config)
        if self.start_from is not None:
            own = model.state_dict()
            fits = [n for n, t in own.items() if n in self.start_from and self.start_from[n].shape == t.shape]
            with torch.no_grad():
                for name in fits:
                    own[name].copy_(self.start_from[name])
            fresh = [n for n in own if n not in fits]
            self.notes.append(
                f"copied: {', '.join(fits) or 'nothing fits'}" + (f"; new: {', '.join(fresh)}" if fresh else "")
            )
        return model

    def stream(self) -> SeriesStream:
        """The training part as chunks of series, from its start."""
        config = self.train_config
        longest = max(f.ends[0] for f in self.frames)
        bptt = longest if config.bptt == "full" else int(config.bptt)
        model = self.model_config
        copies = max(model.noise, model.dropout, model.recurrent_dropout, model.zoneout) > 0
        return SeriesStream(self.frames, self.shape, batch=config.batch, bptt=bptt, seed=config.seed, copies=copies)

    # -- training ----------------------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: Chunk, carry: Mapping[str, Tensor]) -> Loss:
        """The loss of one chunk under teacher forcing, and the state to carry, cut from the graph.

        Only values that were seen count, so padding and gaps get no gradient.

        Args:
            carry: the ``carry`` of the chunk before; ignored where ``batch.fresh``.
        Returns:
            The objective is the mean over the scored values, or with ``--loss-reduction sum`` their sum, averaged over
            the rows; ``nats`` is in nats for ``--output gaussian``, else the pinball loss.
        """
        assert isinstance(model, ForecastModel)
        like, D = model.head.weight, model.targets
        x, y = (torch.from_numpy(a).to(device=like.device, dtype=like.dtype) for a in (batch.x, batch.y))
        weight = torch.from_numpy(batch.weight).to(like.device)
        if model.training and self.model_config.noise:
            x = torch.cat((x[..., :D] + self.model_config.noise * torch.randn_like(x[..., :D]), x[..., D:]), -1)
        lengths = torch.from_numpy(batch.lengths).to(like.device)
        whole = bool((batch.lengths == len(batch.x)).all())
        state = None if batch.fresh else state_from_dict(carry)
        output, state = long.read(model.rnn, x, None if whole else lengths, state)
        rows = weight.any(-1)  # steps that count: whatever else stands in the batch then changes no bit
        found, y, weight = model.distributions(output[rows]), y[rows], weight[rows]
        each = losses(found, y, self.model_config).masked_fill(~weight, 0.0)
        total, units = each.sum(), int(batch.weight.sum())
        objective = total / (len(batch.lengths) if self.train_config.loss_reduction == "sum" else max(1, units))
        return Loss(objective, total.detach() / max(1, units), units, state_to_dict(detach(state)))

    # -- figures -----------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """The loss one step ahead over a part, and MASE and sMAPE over its rolling origins; MASE selects."""
        assert isinstance(model, ForecastModel)
        return figures.evaluate(self, model, part)

    def report(self, model: nn.Module, part: str, options: ForecastPredict | None = None) -> Report:
        """Figures with their intervals, baselines, tables and a picture."""
        assert isinstance(model, ForecastModel)
        return figures.full_report(self, model, part, options or ForecastPredict())

    def baseline(self) -> tuple[str, float] | None:
        """The loss one step ahead of the seasonal naive forecast with its spread on the training part."""
        return figures.baseline(self)

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """A forecast from the end of the training part beside what came, as little bars."""
        assert isinstance(model, ForecastModel)
        return figures.sketch(self, model, seed)

    # -- what it is --------------------------------------------------------------------------------------------

    def first_loss(self) -> float:
        """The loss of the standardised training part under the standard normal distribution."""
        total, count = 0.0, 0
        guess = first_guess(self.model_config).double()
        for frame in self.frames:
            at = slice(self.shape.lead, frame.ends[0])
            d = torch.from_numpy(frame.d[at][frame.seen[at]])
            total += float(losses(guess.expand(len(d), -1), d, self.model_config).sum())
            count += len(d)
        return total / count if count else math.nan

    def describe(self) -> dict[str, Any]:
        """Sizes, parts and parameters, as JSON values."""
        stream, lead = self._stream, self.shape.lead
        parts = {
            part: int(sum(f.seen[max(lead, f.part(part)[0]) : f.part(part)[1]].sum() for f in self.frames))
            for part in ("train", "dev", "test")
        }
        return {
            "task": self.name,
            "data": self.summary,
            "series": len(self.frames),
            "targets": self.found.targets,
            "covariates": self.found.covariates,
            "frequency": self.found.grid.name,
            "season": self.shape.season,
            "first_loss": self.first_loss(),
            "parts": parts,
            "parameters": count_parameters(self.model_config, self.inputs, len(self.found.targets)),
            "batch": stream.batch,
            "steps_per_epoch": stream.steps_per_epoch,
            "units_per_epoch": stream.units_per_epoch,
            "digest": self.found.digest,
            "card": [("data", self.summary), ("network", self._network())],
        }

    def _network(self) -> str:
        c = self.model_config
        spread = "mean and spread" if c.output == "gaussian" else f"quantiles {c.quantiles}"
        what = {"none": "the value", "last": "the change from the last value", "season": "the change from one season "
                "before", "both": "the change of the change from one season before"}[c.difference]  # fmt: skip
        return f"{c.layers} x {c.hidden} {c.cell}, {self.inputs} inputs, {spread} of {what}"

    def engine(self, model: nn.Module) -> tuple[str, str]:
        """Which engine runs a training chunk of this task, and why the faster ones do not."""
        assert isinstance(model, ForecastModel)
        like = model.head.weight
        x = torch.zeros(2, 1, self.inputs, dtype=like.dtype, device=like.device)
        found = explain(model.rnn, x, lengths=torch.tensor([2]) if len(self.frames) > 1 else None)
        return found.engine, found.reasons.get("aten", "").removeprefix("no: ")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps: the model's and the data's settings, and among the latter the data's digest."""
        data = to_dict(self.data_config) | {"digest": self.found.digest}
        return {"model": to_dict(self.model_config), "data": data}

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps: names, the grid, the season, and each series' scale."""
        return {
            "targets": self.found.targets,
            "covariates": self.found.covariates,
            "grid": dataclasses.asdict(self.found.grid),
            "season": self.shape.season,
            "series": {frame.name: frame.scale.to_json() for frame in self.frames},
        }


def seasonal_residual(task: ForecastTask, k: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(T, D): the seasonal naive forecast's error one step ahead, in units of what the network predicts; NaN where
    there is none or nothing was seen."""
    frame, m = task.frames[k], task.shape.season
    out = np.full_like(frame.z, np.nan)
    out[m:] = (frame.z[m:] - frame.z[:-m]) / frame.scale.spread
    out[~frame.seen] = np.nan
    return out
