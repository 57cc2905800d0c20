"""A run on the terminal: a progress bar and live samples where a person watches, plain lines where none does."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

LN2 = math.log(2.0)
SURE_STEPS, SURE_SHARE = 10, 0.02
"""Updates, or the share of the run, after one of which the time left is told."""
KINDS = {
    "char": ("character", "chars"),
    "byte": ("byte", "bytes"),
    "word": ("word", "words"),
    "bpe": ("bpe unit", "bpe units"),
    "whitespace": ("token", "tokens"),
    "int": ("number", "numbers"),
}
"""What one unit of each kind is called, and many of them."""
PLAIN_EVERY = 10.0
"""Seconds between lines where nobody watches."""


def unit_name(kind: str) -> str:
    """One unit: for "nats per ..."."""
    return KINDS[kind][0] if kind in KINDS else kind


def units_name(kind: str) -> str:
    """Many units, briefly: for ".../s"."""
    return KINDS[kind][1] if kind in KINDS else f"{kind}s"


def duration(seconds: float) -> str:
    """1:05, or 2:03:04."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return (f"{hours}:{rest // 60:02d}" if hours else f"{rest // 60}") + f":{rest % 60:02d}"


class Console:
    """A watcher of the training loop that writes to the terminal.

    Args:
        kind: kind of units, a key of :data:`KINDS` or what one is called.
        units_per_char: units a character, to turn nats per unit into bpc; None without characters.
        headline: the figure of an evaluation that is shown beside the dev loss, ``accuracy`` say.
    """

    def __init__(self, kind: str, units_per_char: float | None, headline: str | None = None) -> None:
        self.kind, self.units_per_char, self.headline = kind, units_per_char, headline
        self._figure: float | None = None
        self.fancy = sys.stdout.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0
        self._dev: float | None = None

    # -- what the loop calls -----------------------------------------------------------------------------------

    def on_start(self, info: dict[str, Any]) -> None:
        """Open the bar."""
        if not self.fancy:
            return
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(TextColumn("{task.percentage:3.0f}%"), BarColumn(24), TextColumn("{task.description}"))
        share = info["step"] / info["total"] if info["total"] else 0.0
        self._task = self._bar.add_task("first update ...", total=1.0, completed=share)
        self._bar.start()

    def on_step(self, record: dict[str, Any]) -> None:
        """Loss, bits per character, speed, time left."""
        now = time.monotonic()
        done = record["step"] == record["total"]
        if not self.fancy and now - self._last < PLAIN_EVERY and record["step"] > 1 and not done:
            return
        self._last = now
        share = record["step"] / record["total"] if record["total"] else 0.0
        words = self._words(record, share)
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=words)
        else:
            of = f"/{record['total']}" if record["total"] else ""
            print(f"step {record['step']}{of}  {words}", flush=True)

    def _words(self, record: dict[str, Any], share: float) -> str:
        loss = record["loss_smoothed"]
        parts = [f"loss {loss:.3f} nats"]
        if self.units_per_char is not None:
            parts.append(f"{loss * self.units_per_char / LN2:.3f} bpc")
        if "smooth_loss" in record:
            parts.append(f"smooth_loss {record['smooth_loss']:.2f} nats a chunk")
        if self._dev is not None:
            parts.append(f"dev {self._dev:.3f}")
        if self._figure is not None:
            parts.append(f"{self.headline} {self._figure:.4f}")
        parts.append(f"{record['units_per_second']:,.0f} {units_name(self.kind)}/s")
        if record["total"] is None:
            parts.append("measuring this machine ...")
        elif record["step"] >= SURE_STEPS or share >= SURE_SHARE:
            parts.append(f"{duration(60 * record['minutes'] * (1 / share - 1))} left")
        return "  ".join(parts)

    def on_evaluation(self, record: dict[str, Any]) -> None:
        """Remember the dev loss for the next line."""
        self._dev = record.get("dev_loss", self._dev)
        if self.headline is not None:
            self._figure = record.get(f"dev_{self.headline}", self._figure)

    def on_sample(self, text: str, record: dict[str, Any]) -> None:
        """Show what the model writes now."""
        self._print(
            f"---- step {record['step']} {'writes' if self.headline is None else 'says'}:\n{text}\n----", style="dim"
        )

    def on_message(self, text: str) -> None:
        """Show a message of the loop."""
        self._print(text, style="yellow")

    def on_checkpoint(self, step: int) -> None:
        """Nothing to show."""

    def on_end(self, result: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # -- writing -----------------------------------------------------------------------------------------------

    def _print(self, text: str, style: str) -> None:
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)


def printable(text: str) -> str:
    """Text for stdout: unaltered for a file or a pipe, but for what its encoding cannot take (a lone surrogate).

    A terminal shows it and does not obey it: control characters (a model of bytes writes them) become escapes.
    """
    terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding, "strict" if terminal else sys.stdout.errors or "strict")
    except UnicodeEncodeError:
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    if not terminal:
        return text
    return "".join(c if c in "\n\t" or c.isprintable() or not _control(c) else f"\\x{ord(c):02x}" for c in text)


def _control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


class Stages:
    """Progress of reading a text, on one line that is overwritten; silent where nobody watches or it is quick."""

    def __init__(self) -> None:
        self.begun, self.shown = time.monotonic(), False

    def __call__(self, stage: str, share: float) -> None:
        if sys.stderr.isatty() and (self.shown or time.monotonic() - self.begun > 0.5):
            print(f"\r\x1b[K{stage} {100 * share:.0f}%", end="", file=sys.stderr, flush=True)
            self.shown = True

    def close(self) -> None:
        """Clear the line."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
