"""How a model is trained. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

OPTIMISERS = ("adamw", "adam", "rmsprop", "sgd", "adagrad", "min-char-rnn-adagrad")
SCHEDULES = ("constant", "cosine", "plateau")
LONGEST = 10_000_000
"""The largest ``--bptt`` that is a number."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training loop: budget, truncated back-propagation through time, optimiser, guard, watching."""

    # Budget: exactly one of these ends the run.
    minutes: float | None = option(None, "budget in minutes of training wall time", above=0.0)
    epochs: float | None = option(None, "budget in passes over the training part", above=0.0)
    steps: int | None = option(None, "budget in updates", min=1)
    # Truncated BPTT.
    batch: int = option(32, "parallel streams B, or examples in an update", min=1)
    bptt: str = option("64", "steps a gradient reaches back (k2), or full")
    stride: int | None = option(None, "units between updates (k1 <= k2; default: k2)", min=1)
    skip_tail: bool = option(False, "leave out the end of the text that fills no chunk, and its very last unit, as the "
                             "lecture's program does (one stream)")  # fmt: skip
    loss_reduction: str = option("mean", "the loss of a chunk is the mean or the sum over its steps",
                                 choices=("mean", "sum"))  # fmt: skip
    # Optimiser.
    optimiser: str = option("adamw", "optimiser", choices=OPTIMISERS)
    lr: float = option(2e-3, "peak learning rate", above=0.0)
    momentum: float = option(0.0, "momentum of sgd and rmsprop", min=0.0, below=1.0)
    beta1: float = option(0.9, "adam's decay of the first moment", min=0.0, below=1.0)
    beta2: float = option(0.99, "adam's decay of the second moment", min=0.0, below=1.0)
    weight_decay: float = option(0.0, "weight decay", min=0.0)
    clip_norm: float | None = option(1.0, "clip the gradient's norm to this (0: off)", min=0.0)
    clip_value: float | None = option(None, "clip each element of the gradient to +- this", above=0.0)
    schedule: str = option("cosine", "learning rate over the budget", choices=SCHEDULES)
    warmup: int = option(100, "updates over which the rate rises from 0", min=0)
    final_lr: float = option(0.0, "where cosine ends, as a share of --lr", min=0.0, max=1.0)
    patience: int | None = option(None, "stop early after this many evaluations without a better dev loss; for "
                                  "plateau, evaluations before the rate is cut (default 3)", min=1)  # fmt: skip
    plateau_factor: float = option(0.5, "plateau: the rate is multiplied by this", above=0.0, below=1.0)
    average: float = option(0.0, "exponential moving average of the weights: its decay (0: off)", min=0.0, below=1.0)
    keep: str = option("last", "weights to keep: the last, or the best on the dev part", choices=("last", "best"))
    # Guard.
    guard: bool = option(True, "restore the last good step after a NaN or a spike of the loss")
    guard_spike: float = option(3.0, "a spike: nats above the running mean of the loss, from 50 updates on", above=0.0)
    guard_interval: int = option(100, "updates between snapshots", min=1)
    guard_factor: float = option(0.5, "the rate is multiplied by this after a restoration", above=0.0, below=1.0)
    # Watching and keeping.
    eval_every: int | None = option(
        None, "updates between evaluations on the dev part (default: about 20 a run)", min=1
    )
    sample_every: int | None = option(None, "updates between live samples (default: about 6 a run; 0: none)", min=0)
    sample_length: int = option(200, "units in a live sample", min=1)
    checkpoint_every: int | None = option(None, "updates between checkpoints (default: about one a minute)", min=1)
    eval_streams: int = option(16, "streams in which held-out text is read; 1 is the exact single stream", min=1)
    watch: str | None = option(None, "log as well how far the gradient reaches back, at under 5 % of the time",
                               choices=("gradients",))  # fmt: skip
    seed: int = option(1, "seed of everything random", min=0, max=2**63 - 1)
    threads: int | None = option(None, "threads (default: torch's choice)", min=1, max=4096)
    dtype: str = option("float32", "precision of weights and arithmetic", choices=("float32", "float64"))
    device: str = option("cpu", "device: cpu, cuda, mps")

    def __post_init__(self) -> None:
        check(self)
        given = [n for n in ("minutes", "epochs", "steps") if getattr(self, n) is not None]
        if len(given) > 1:
            raise UserError(f"--{given[0]} and --{given[1]}: give one budget")
        if self.bptt != "full":
            digits = self.bptt.lstrip("0") if self.bptt.isdecimal() else ""
            if not digits:
                raise UserError(f"--bptt {self.bptt}: a number of steps of at least 1, or full")
            if len(digits) > 8 or int(digits) > LONGEST:  # int() refuses thousands of digits
                raise UserError(f"--bptt {self.bptt[:20]}: at most {LONGEST} steps, or full")
        if self.stride is not None and (self.bptt == "full" or self.stride > int(self.bptt)):
            raise UserError(f"--stride {self.stride}: must be at most --bptt {self.bptt}, and --bptt a number")
