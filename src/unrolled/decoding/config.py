"""How text is drawn from a model, and how its best sequence is searched for. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

WEIGHTS = ("float32", "bf16", "int8")
"""What :class:`unrolled.engines.stepper.Stepper` may keep weights in."""


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Sampling controls, applied in this order: repetition penalty, temperature, top-k, top-p, min-p."""

    length: int = option(500, "units to write at most", min=0)
    stop: str | None = option(None, "end a sample at this text (left out of the result)")
    temperature: float = option(1.0, "0 is greedy", min=0.0)
    top_k: int | None = option(None, "keep the k most probable units", min=1)
    top_p: float | None = option(None, "keep the most probable units that hold this much probability", above=0.0,
                                 max=1.0)  # fmt: skip
    min_p: float | None = option(None, "drop units less probable than this share of the best one", min=0.0, max=1.0)
    repetition_penalty: float = option(1.0, "divide the positive scores of units already used (multiply the "
                                       "negative)", above=0.0)  # fmt: skip
    seed: int = option(1, "seed; sample k of -n uses its own stream of it", min=0)

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """How the best sequence is searched for: see :func:`unrolled.decoding.beam.beam_search`."""

    beam: int = option(1, "hypotheses followed side by side; 1 is greedy", min=1, max=10_000)
    nbest: int = option(1, "results for each input, at most --beam; the first is the same for any number", min=1)
    length_penalty: float = option(0.6, "how much longer results are favoured when a beam is ranked: alpha of Wu et "
                                   "al. 2016, 0 is none", min=0.0, max=10.0)  # fmt: skip
    coverage_penalty: float = option(0.0, "how much a result is marked down for what of the input it did not look at: "
                                     "beta of Wu et al. 2016", min=0.0, max=100.0)  # fmt: skip
    max_length: int | None = option(None, "units of a result at most (default: by the input's length)", min=1)

    def __post_init__(self) -> None:
        check(self)
        if self.nbest > self.beam:
            raise UserError(f"--nbest {self.nbest}: a search with --beam {self.beam} finds {self.beam}; "
                            f"use --beam {self.nbest}")  # fmt: skip
