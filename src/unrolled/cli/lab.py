"""``unrolled lab``: the lecture's claims as experiments that anybody can rerun."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.options import Given, options
from unrolled.lab.config import EXPERIMENTS, LabConfig

if TYPE_CHECKING:
    from unrolled.lab.report import Report

PLAIN_EVERY = 10.0
"""Seconds between lines of progress where nobody watches."""


@options(LabConfig)
def lab(
    given: Given,
    name: Annotated[
        str | None, typer.Argument(help="experiment; without one they are listed", metavar="[NAME]")
    ] = None,
) -> None:  # fmt: skip
    """Rerun the lecture's claims as experiments: trained ones over lengths, cells and seeds, and measured ones.

    Tables are printed; numbers (results.json), pictures (PNG and SVG) and a page (report.md) go into --out. Trained
    grids keep one JSON line a trial in results.jsonl: the same command goes on where it was stopped.
    """
    config = given.build(LabConfig)
    if name is None:
        _list()
        return
    config.check_for(name)
    from unrolled.lab.report import folder

    out = folder(config.out, f"lab/{name}-quick" if config.quick else f"lab/{name}")
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    watch = _Terminal()
    begun = time.monotonic()
    try:
        report = _run(name, config, out, watch)
    finally:
        watch.close()
    print(f"\n{report.plain()}\n")
    files = report.write(out)
    print(f"{time.monotonic() - begun:.0f} s; written: {', '.join(str(f) for f in files)}")


def _run(name: str, config: LabConfig, out: Any, watch: _Terminal) -> Report:
    import importlib

    from unrolled.lab.config import TRAINED
    from unrolled.training.machine import memory_errors

    with memory_errors():
        if name in TRAINED:
            from unrolled.lab.trained import run

            return run(name, config, out, watch)
        report: Report = importlib.import_module(f"unrolled.lab.{name}").run(config, out, watch)
        return report


def _list() -> None:
    width = max(len(name) for name in EXPERIMENTS)
    for name, line in EXPERIMENTS.items():
        print(f"{name:<{width}}  {line}")
    print("\nunrolled lab NAME --quick takes at most five minutes; unrolled lab NAME is the full version.")


class _Terminal:
    """Progress on one line that is overwritten where a person watches; a line now and then where none does."""

    def __init__(self) -> None:
        self.fancy, self._last, self._shown = sys.stderr.isatty(), time.monotonic(), False

    def note(self, line: str) -> None:
        self.close()
        print(line, flush=True)

    def stage(self, what: str, share: float) -> None:
        now = time.monotonic()
        if self.fancy and now - self._last > 0.1:
            print(f"\r\x1b[K{100 * share:3.0f}%  {what}"[:160], end="", file=sys.stderr, flush=True)
            self._shown, self._last = True, now
        elif not self.fancy and now - self._last > PLAIN_EVERY:
            print(f"{100 * share:3.0f}%  {what}", flush=True)
            self._last = now

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False
