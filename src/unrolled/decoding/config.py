"""How text is drawn from a model. No torch here."""

from __future__ import annotations

import dataclasses

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
