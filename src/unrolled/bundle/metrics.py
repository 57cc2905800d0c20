"""``metrics.jsonl``: one JSON object a line, in the order of training. No torch here."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unrolled.bundle.files import disk_errors, replace_file


class MetricsLog:
    """An append-only log; a line is in the file once :meth:`write` returns.

    Args:
        path: made with the first line; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line. A NaN or an infinity becomes null: JSON has neither.

        Raises:
            UserError: the disk is full or the folder not writable; the line is not there, not even in part.
        """
        line = json.dumps(_finite(dict(record)), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        # Opened for each line: 20 microseconds, and no open file to be forgotten.
        with disk_errors(self.path.parent), open(self.path, "ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            try:
                rest = memoryview(line)
                while rest:  # an unbuffered write may take a part only, when the disk is nearly full
                    rest = rest[file.write(rest) :]
            except OSError:
                os.ftruncate(file.fileno(), start)
                raise

    def cut_back(self, step: int, *, lines: int | None = None) -> None:
        """Drop what lies past a checkpoint, and mend a last line that a kill has torn.

        Args:
            step: records whose "step" is larger are dropped; records without one stay.
            lines: keep this many records instead, whatever their steps say (see :meth:`count`).
        Raises:
            UserError: not writable or full; the log is as before.
        """
        if not self.path.exists():
            return
        kept: list[bytes] = []
        for raw, record in self._read():
            past = len(kept) >= lines if lines is not None else _step(record) > step
            if not past:
                kept.append(raw)
        replace_file(self.path, b"".join(kept))

    def count(self) -> int:
        """How many whole records the log holds."""
        return sum(1 for _ in self._read()) if self.path.exists() else 0

    def records(self) -> list[dict[str, Any]]:
        """Every whole record, oldest first; [] where there is no log."""
        return [record for _, record in self._read()] if self.path.exists() else []

    def _read(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        with open(self.path, "rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    continue
                try:
                    record = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield raw, record

    def sync(self) -> None:
        """Wait until the disk has the lines, so that a checkpoint never knows more than its log."""
        if self.path.exists():
            with disk_errors(self.path.parent), open(self.path, "ab") as file:
                os.fsync(file.fileno())


def _step(record: Mapping[str, Any]) -> float:
    step = record.get("step")
    return step if isinstance(step, (int, float)) else -math.inf


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
