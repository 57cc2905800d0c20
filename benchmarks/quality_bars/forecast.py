"""The bars of forecasting: the two series that statsmodels ships, beside seasonal naive and its Holt-Winters.

The settings and the comparison are those of ``benchmarks/forecast.py``, which tells more. Needs statsmodels.
"""

from __future__ import annotations

import forecast
from quality_bars import Options, Row, bar, over

SEEDS = 5
DATA = {
    "sunspots": "sunspots as statsmodels ships them: yearly, 11 ahead, rolling origin over the last tenth",
    "co2": "co2 as statsmodels ships it: monthly means, 12 ahead, rolling origin over the last tenth",
}


def _series(options: Options, name: str) -> Row:
    """MASE of the network; the bar is the better one of the seasonal naive forecast and of Holt-Winters by AIC."""
    seeds = 1 if options.quick else SEEDS
    found = forecast.measure(name, seeds, options.threads, updates=10 if options.quick else None)
    chosen, best = found["holt_winters_by_aic"], found["holt_winters_best"]
    figures = {"mase": over(found["each"])}
    figures |= {n: (found[n], None, None) for n in ("smape", "pinball", "coverage", "coverage_plain")}
    baselines = {f"season {m}, naive" if m > 1 else "naive": {"mase": v} for m, v in found["naive"].items()}
    baselines |= {
        f"Holt-Winters by AIC ({chosen['name']})": {"mase": chosen["mase"]},
        f"Holt-Winters best of nine, in hindsight ({best['name']})": {"mase": best["mase"]},
    }
    least = min(found["naive"][forecast.SERIES[name]["season"]], chosen["mase"])
    return Row(
        name, "forecast", DATA[name], "1 x 64 gru", found["parameters"], found["minutes"], found["steps"], figures,
        baselines, "", {"mase": (least, "max")},
        f"mean of {seeds} seeds, interval over them; the 80 % interval held {found['coverage']:.0f} %",
    )  # fmt: skip


@bar("sunspots")
def sunspots(options: Options) -> Row:
    """Cycles of about 11 years."""
    return _series(options, "sunspots")


@bar("co2")
def co2(options: Options) -> Row:
    """A trend with a yearly season."""
    return _series(options, "co2")
