"""How series are read, what forecasts them, and how a forecast is asked for. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option
from unrolled.tasks.language.config import CELLS, INITS
from unrolled.tasks.language.sizes import recurrent_parameters

FREQUENCIES = ("auto", "rows", "minute", "hour", "day", "week", "month", "quarter", "year")
DIFFERENCES = ("none", "last", "season", "both")
MOST_STEPS = 100_000


@dataclasses.dataclass(frozen=True)
class ForecastData:
    """Reading and splitting series (see :mod:`unrolled.data.series`)."""

    time: str | None = option(None, "column of the time, by name or number (default: guessed from its name)")
    target: str | None = option(None, "column that is forecast; several with commas are forecast together")
    covariates: str | None = option(None, "columns that help, with commas")
    series: str | None = option(None, "column that names the series a row belongs to (default: guessed from its name)")
    split_targets: bool = option(False, "each target column is a series of its own, all in one model")
    covariates_ahead: str = option(
        "given", "covariates of the steps to forecast: given in the file, in rows behind the last target, or held at "
        "their last value", choices=("given", "held"),
    )  # fmt: skip
    time_format: str | None = option(None, "how a time is written, as strptime says it: %d/%m/%Y")
    frequency: str = option("auto", "length of a step: inferred, or named (rows of one step are averaged), or each row "
                            "is a step", choices=FREQUENCIES)  # fmt: skip
    unsorted: str = option("error", "times out of order are refused, or sorted and said", choices=("error", "sort"))
    missing: str = option(
        "error", "missing values are refused, repeat the last value, lie on a line through the gap, or are masked: "
        "the network is told, and they count nowhere", choices=("error", "forward", "interpolate", "mask"),
    )  # fmt: skip
    bad: str = option("error", "rows of another width are refused, or skipped and counted", choices=("error", "skip"))
    header: str = option("auto", "whether the first row names the columns", choices=("auto", "yes", "no"))
    encoding: str = option("utf-8", "encoding of the file")
    steps_ahead: int = option(12, "steps to forecast: the horizon of figures and forecasts", min=1, max=MOST_STEPS)
    season: int | None = option(None, "steps after which the series repeats; 1: never (default: from the frequency, "
                                "else the highest autocorrelation)", min=1, max=MOST_STEPS)  # fmt: skip
    heldout: float = option(0.1, "share of each series, at its end, held out for the final figures", min=0.0, below=1.0)
    dev: float = option(0.1, "share of the rest, at its end, to watch and select on", min=0.0, below=1.0)
    origins: int = option(100, "places in a part of each series from which is forecast, evenly spread, at most", min=1)

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class ForecastConfig:
    """A recurrent forecaster: the values so far in, a distribution over the next one out."""

    cell: str = option("gru", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", min=1, max=1000)
    hidden: int = option(64, "hidden units a layer", min=1, max=10**8)
    output: str = option("gaussian", "what comes out: mean and spread, or quantiles",
                         choices=("gaussian", "quantile"))  # fmt: skip
    quantiles: str = option(
        "0.05,0.1,0.25,0.5,0.75,0.9,0.95", "levels of --output quantile, with commas; 0.5 among them"
    )
    difference: str = option(
        "season", "what the network predicts: the value, or its change from the last one, from one season before, or "
        "the change of that change", choices=DIFFERENCES,
    )  # fmt: skip
    transform: str = option("none", "applied to the values first", choices=("none", "log", "sqrt"))
    harmonics: int = option(4, "waves of the season that the network sees (0: none)", min=0, max=1000)
    level: bool = option(False, "where changes are predicted, let the network see the value as well")
    noise: float = option(
        0.0, "noise on the values read in training, in standard deviations of what is predicted", min=0.0
    )
    dropout: float = option(0.0, "dropout between layers and before the output", min=0.0, below=1.0)
    recurrent_dropout: float = option(0.0, "dropout of the recurrent state, one mask a chunk", min=0.0, below=1.0)
    zoneout: float = option(0.0, "probability that a unit keeps its previous state", min=0.0, below=1.0)
    layer_norm: bool = option(False, "layer normalisation inside the cell")
    init: str = option("torch", "initialisation", choices=INITS)
    forget_bias: float | None = option(None, "initial forget bias of an LSTM")
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        if self.forget_bias is not None and self.cell != "lstm":
            raise UserError(f"--forget-bias: only --cell lstm has a forget gate, not {self.cell}")
        if self.init == "identity" and not self.cell.startswith("rnn"):
            raise UserError(f"--init identity: meant for --cell rnn-relu, not {self.cell}")
        if self.init == "chrono" and self.cell not in ("lstm", "gru"):
            raise UserError(f"--init chrono: sets gate biases, which --cell {self.cell} lacks")
        levels = self.levels
        if 0.5 not in levels or levels != sorted(set(levels)) or levels[0] <= 0 or levels[-1] >= 1:
            raise UserError(f"--quantiles {self.quantiles}: rising numbers between 0 and 1, 0.5 among them")

    @property
    def levels(self) -> list[float]:
        """The quantiles' levels, rising."""
        try:
            return [float(q) for q in self.quantiles.split(",")]
        except ValueError:
            raise UserError(f"--quantiles {self.quantiles}: numbers with commas between them, as 0.1,0.5,0.9") from None

    @property
    def outputs(self) -> int:
        """Numbers that describe the distribution of one value: mean and log spread, or the quantiles."""
        return 2 if self.output == "gaussian" else len(self.levels)


@dataclasses.dataclass(frozen=True)
class ForecastPredict:
    """How a forecast is asked for."""

    steps_ahead: int | None = option(None, "steps to forecast (default: as trained)", min=1, max=MOST_STEPS)
    interval: float = option(0.8, "share of the outcomes that the interval is to hold", above=0.0, below=1.0)
    samples: int = option(200, "sampled paths from which the interval comes; 0: only the central forecast, and the "
                        "spread of each single step", min=0, max=10**6)  # fmt: skip
    calibrate: int = option(24, "earlier forecasts, whose outcome was known, by whose misses the interval is stretched "
                            "(0: the network's own interval)", min=0, max=MOST_STEPS)  # fmt: skip
    seed: int = option(1, "seed of the sampled paths", min=0, max=2**63 - 1)
    picture: str | None = option(None, "draw history, forecast and interval into this file (.png, .svg, .pdf)")

    def __post_init__(self) -> None:
        check(self)
        if self.picture is not None and not self.picture.lower().endswith((".png", ".svg", ".pdf")):
            raise UserError(f"--picture {self.picture}: name a file that ends in .png, .svg or .pdf")


def count_inputs(config: ForecastConfig, targets: int, covariates: int, season: int, mask: bool) -> int:
    """Numbers that enter at each step."""
    level = targets if config.level and config.difference != "none" else 0
    return targets * (2 if mask else 1) + level + 2 * harmonics_of(config, season) + covariates


def harmonics_of(config: ForecastConfig, season: int) -> int:
    """Waves shown to the network: at most half the season's steps, of which a shorter wave would tell nothing more."""
    return min(config.harmonics, season // 2)


def count_parameters(config: ForecastConfig, inputs: int, targets: int) -> int:
    """Trained parameters: a layer with G gates, input I and width H has G*H*(I + H) weights and 2*G*H biases (with
    layer norm 2*G*H gains, and for an LSTM 2*H more of its c); the head D*K*(H + 1)."""
    total = recurrent_parameters(config.cell, inputs, config.hidden, config.layers, layer_norm=config.layer_norm)
    return total + targets * config.outputs * (config.hidden + 1)
