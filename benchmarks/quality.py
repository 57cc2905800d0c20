"""What the tasks reach on real data, beside what something simple reaches and what was published.

    python benchmarks/quality.py NAME... --data DIR [--threads 2] [--quick] [--keep DIR]

NAME is one of the bars (without any, they are listed); DIR holds the data sets, each in a folder of its own. Prints a
table, then one JSON line; the exit code is 1 where a bar is not reached. Minutes are of the training alone, on as many
threads as given, and depend on the load of the machine; steps do not.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from quality_bars import Options, Row, load_all

HEAD = ("bar", "task", "data", "cell", "parameters", "minutes", "steps", "figure", "baseline", "published", "bars")


def number(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4f}" + ("" if low is None or high is None else f" ({low:.4f} to {high:.4f})")


def cells(row: Row, judged: bool) -> tuple[str, ...]:
    figures = [f"{name} {number(*row.figures[name])}" for name in (row.bars or row.figures)]
    baselines = [
        f"{title}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items()) for title, values in row.baselines.items()
    ]
    bars = [f"{name} {'>=' if how == 'min' else '<='} {limit:g}" for name, (limit, how) in row.bars.items()]
    verdict = ("reached: " if row.passed() else "NOT REACHED: ") if judged else "not judged: "
    verdict = verdict if bars else "reported, no bar"
    return (row.name, row.task, row.data, row.cell, f"{row.parameters:,}", f"{row.minutes:.2f}", f"{row.steps:,}",
            ", ".join(figures), "; ".join(baselines), row.published, verdict + ", ".join(bars))  # fmt: skip


def main() -> None:
    bars = load_all()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(sorted(bars))}")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="prove the pipeline on little data; nothing is judged")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in bars]
    if unknown or not given.names:
        parser.exit(2, f"{', '.join(unknown) or 'no bar named'}: the bars are {', '.join(sorted(bars))}\n")
    options = Options(given.data, given.threads, given.quick, given.keep)
    rows = [bars[name](options) for name in given.names]
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for row in rows:
        print("| " + " | ".join(cells(row, not options.quick)) + " |")
        if row.note:
            print(f"  {row.note}")
    found = [dataclasses.asdict(row) | {"passed": None if options.quick else row.passed()} for row in rows]
    print(json.dumps({"benchmark": "quality", "threads": options.threads, "rows": found}))
    sys.exit(0 if options.quick or all(row.passed() for row in rows) else 1)


if __name__ == "__main__":
    main()
