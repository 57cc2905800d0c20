"""Forecasts of the two series that statsmodels ships, beside seasonal naive and statsmodels' own Holt-Winters.

    python benchmarks/forecast.py [sunspots] [co2] [--seeds 5] [--threads 2]

Needs statsmodels (pip install 'unrolled[quality]'); the data lie in it, both public domain. The last tenth of each
series is held out. From every step of it after which the whole horizon still lies in it (a rolling origin, the same for
all) is forecast; MASE is in units of the seasonal naive forecast's error one season ahead on the training part.

sunspots: yearly, 1700 to 2008, 11 years ahead, season 11 (season 1, the last value, is worse and given too).
co2: Mauna Loa, weekly with 59 weeks missing; monthly means, as is customary, 1958-03 to 2001-12, and the 5 months
without any value on a line through the gap; 12 months ahead, season 12.

Holt-Winters: every variant of trend (none, additive, damped) and season (none, additive, multiplicative), its
parameters fitted on the training part, the values up to each origin filtered through it. "By AIC" is the one of
the lowest AIC on the training part, as one would choose it; "best" is the one that does best on the held-out tenth,
which nobody can know beforehand. Networks: the settings below, found on folds of the training part, trained on all of
it for a fixed number of updates, several seeds. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np

COMMON = [
    "--task", "forecast", "--dev", "0", "--keep", "last", "--bptt", "full", "--warmup", "30", "--weight-decay", "0.01",
    "--sample-every", "0", "--output", "gaussian", "--cell", "gru", "--layers", "1", "--hidden", "64",
]  # fmt: skip
SERIES: dict[str, dict[str, Any]] = {
    "sunspots": {
        "season": 11, "steps": 11, "names": (1, 11),
        "data": ["--steps-ahead", "11", "--season", "11"],
        "model": ["--difference", "none", "--transform", "sqrt", "--harmonics", "0", "--noise", "0.3",
                  "--dropout", "0"],
        "train": ["--steps", "300", "--lr", "2e-3", "--batch", "1"],
    },
    "co2": {
        "season": 12, "steps": 12, "names": (12,),
        "data": ["--frequency", "month", "--missing", "interpolate", "--steps-ahead", "12"],
        "model": ["--difference", "last", "--harmonics", "4", "--noise", "0.1", "--dropout", "0.2"],
        "train": ["--steps", "700", "--lr", "5e-3", "--batch", "4"],
    },
}  # fmt: skip


MEANS = ("smape", "pinball", "coverage", "coverage_plain", "minutes")
"""Figures of which the mean over the seeds is given."""


def write_series(name: str, path: pathlib.Path) -> None:
    from statsmodels.datasets import co2, sunspots

    data = (sunspots if name == "sunspots" else co2).load_pandas().data
    if name == "co2":
        data.index.name = "date"
    data.to_csv(path, index=name == "co2")


def unrolled(*arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout


def train(
    name: str, data: pathlib.Path, run: pathlib.Path, seed: int, threads: int, updates: int | None = None
) -> dict[str, Any]:
    """Figures of one network, and where its forecasts began; ``updates`` in place of its own number."""
    about, begun = SERIES[name], time.monotonic()
    fewer = [] if updates is None else ["--steps", str(updates)]
    unrolled("train", str(data), *COMMON, *about["data"], *about["model"], *about["train"], *fewer, "--seed", str(seed),
             "--threads", str(threads), "--out", str(run))  # fmt: skip
    rows = run / "rows.tsv"
    unrolled("evaluate", str(run), "--predictions", str(rows))
    config = json.loads((run / "config.json").read_text())
    figures = {key: value[0] for key, value in config["result"]["figures"].items()}
    with open(rows, newline="") as file:
        origins = sorted({int(row["origin"]) for row in csv.DictReader(file, delimiter="\t")})
    scale = next(iter(json.loads((run / "tokens.json").read_text())["series"].values()))
    return figures | {
        "origins": origins, "unit": scale["naive"][0], "parameters": config["parameters"],
        "minutes": config["result"]["minutes"], "steps": config["result"]["steps"],
        "command_minutes": (time.monotonic() - begun) / 60,
    }  # fmt: skip


def values_of(name: str) -> np.ndarray[Any, Any]:
    """The series as the networks read it: monthly means, a line through months without a value."""
    from statsmodels.datasets import co2, sunspots

    if name == "sunspots":
        return sunspots.load_pandas().data.SUNACTIVITY.to_numpy()
    return co2.load_pandas().data["co2"].resample("MS").mean().interpolate().to_numpy()


def holt_winters(y: np.ndarray[Any, Any], n: int, season: int, origins: list[int], steps: int) -> list[dict[str, Any]]:
    """Every variant: its AIC on the first ``n`` values and its mean absolute error from the origins."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    found = []
    for trend, damped in ((None, False), ("add", False), ("add", True)):
        for seasonal in (None, "add", "mul"):
            shift = 1.0 if seasonal == "mul" and y.min() <= 0 else 0.0  # multiplicative seasons need values above 0
            kind = {"trend": trend, "damped_trend": damped, "seasonal": seasonal}
            kind["seasonal_periods"] = season if seasonal else None
            fitted = ExponentialSmoothing(y[:n] + shift, **kind, initialization_method="estimated").fit()
            p = fitted.params
            start = {"initial_level": p["initial_level"], "initial_trend": p["initial_trend"] if trend else None,
                     "initial_seasonal": p["initial_seasons"] if seasonal else None}  # fmt: skip
            smoothing = {"smoothing_level": p["smoothing_level"]}
            smoothing |= {"smoothing_trend": p["smoothing_trend"]} if trend else {}
            smoothing |= {"damping_trend": p["damping_trend"]} if damped else {}
            smoothing |= {"smoothing_seasonal": p["smoothing_seasonal"]} if seasonal else {}
            errors = []
            for at in origins:
                again = ExponentialSmoothing(y[:at] + shift, **kind, initialization_method="known", **start)
                ahead = again.fit(optimized=False, **smoothing).forecast(steps) - shift
                errors.append(np.abs(ahead - y[at : at + steps]).mean())
            name = f"trend {'damped' if damped else trend or 'none'}, season {seasonal or 'none'}"
            found.append({"name": name, "aic": float(fitted.aic), "mae": float(np.mean(errors))})
    return found


def naive(y: np.ndarray[Any, Any], season: int, origins: list[int], steps: int) -> float:
    ahead = np.arange(steps) % season
    return float(np.mean([np.abs(y[at - season + ahead] - y[at : at + steps]).mean() for at in origins]))


def measure(name: str, seeds: int, threads: int, updates: int | None = None) -> dict[str, Any]:
    """The bar of one series: networks, naive forecasts and Holt-Winters from the same origins."""
    about, y = SERIES[name], values_of(name)
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, f"{name}.csv")
        write_series(name, data)
        runs = [train(name, data, pathlib.Path(folder, f"run{s}"), s, threads, updates) for s in range(1, seeds + 1)]
    origins, unit = runs[0]["origins"], runs[0]["unit"]
    n = len(y) - round(len(y) / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        variants = holt_winters(y, n, about["season"], origins, about["steps"])
    scores = [run["mase"] for run in runs]
    chosen, best = min(variants, key=lambda v: v["aic"]), min(variants, key=lambda v: v["mae"])
    return {
        "benchmark": "forecast", "series": name, "origins": len(origins), "steps_ahead": about["steps"],
        "mase": statistics.mean(scores), "spread": statistics.stdev(scores) if len(scores) > 1 else 0.0, "each": scores,
        **{k: statistics.mean(run[k] for run in runs) for k in MEANS},
        "parameters": runs[0]["parameters"], "steps": runs[0]["steps"],
        "naive": {m: naive(y, m, origins, about["steps"]) / unit for m in about["names"]},
        "holt_winters_by_aic": {"name": chosen["name"], "mase": chosen["mae"] / unit},
        "holt_winters_best": {"name": best["name"], "mase": best["mae"] / unit},
    }  # fmt: skip


def tell(found: dict[str, Any], seeds: int) -> None:
    print(f"{found['series']}: MASE over {found['origins']} origins, {found['steps_ahead']} steps ahead")
    print(
        f"  network           {found['mase']:.3f} +- {found['spread']:.3f} ({seeds} seeds: "
        + ", ".join(f"{v:.3f}" for v in found["each"])
        + f"), {found['parameters']:,} parameters, {found['steps']} updates in {60 * found['minutes']:.0f} s"
    )
    for m, value in found["naive"].items():
        print(f"  {'seasonal naive' if m > 1 else 'naive':<17} {value:.3f}" + (f" (season {m})" if m > 1 else ""))
    for key, title in (("holt_winters_by_aic", "Holt-Winters, AIC"), ("holt_winters_best", "Holt-Winters best")):
        print(f"  {title:<17} {found[key]['mase']:.3f} ({found[key]['name']})")
    print(f"  sMAPE {found['smape']:.2f} %, pinball {found['pinball']:.3f}, coverage of the 80 % interval "
          f"{found['coverage']:.0f} % (the network's own: {found['coverage_plain']:.0f} %)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="*", metavar="|".join(SERIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if unknown := set(options.series) - set(SERIES):
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(SERIES)}")
    everything = []
    for name in options.series or SERIES:
        found = measure(name, options.seeds, options.threads)
        tell(found, options.seeds)
        sys.stdout.flush()
        everything.append(found)
    print(json.dumps(everything))


if __name__ == "__main__":
    main()
