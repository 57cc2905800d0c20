"""``unrolled bench``: how fast this is, beside what a user would otherwise take."""

from __future__ import annotations

from typing import Annotated

import typer

from unrolled.bench.cases import CASES, run
from unrolled.bench.config import BenchConfig
from unrolled.cli.options import Given, options

_NAMES = "; ".join(f"{name}: {line}" for name, line in CASES.items())


@options(BenchConfig)
def bench(
    given: Given,
    names: Annotated[
        list[str] | None, typer.Argument(help=f"cases, all of them by default. {_NAMES}", metavar="[NAME]...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="only the JSON line of each case, no table")] = False,
) -> None:
    """Measure speed and memory against torch.nn and other peers, in interleaved pairs.

    Results are compared before they are timed; one that is wrong gets no speed, and the exit code is 1.
    """
    code = run(names or list(CASES), given.build(BenchConfig), as_json=as_json)
    if code:
        raise typer.Exit(code)
