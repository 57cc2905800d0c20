"""What a run shows on the terminal, and text that is shown or written."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from unrolled.cli.console import Console, printable, unit_name, units_name

RECORD: dict[str, Any] = {
    "step": 1, "total": 1000, "loss_smoothed": 3.2, "units_per_second": 12345.6, "minutes": 0.01,
}  # fmt: skip
START: dict[str, Any] = {"run": "run", "step": 0, "total": 1000, "minutes": None, "resumed": False}


class Terminal(io.TextIOWrapper):
    """A stdout of any encoding, watched by a person or not."""

    def __init__(self, tty: bool, encoding: str = "utf-8", errors: str = "strict") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors=errors, newline="")
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty

    @property
    def written(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding, "replace")


def put(monkeypatch: pytest.MonkeyPatch, *args: Any) -> Terminal:
    terminal = Terminal(*args)
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def test_before_the_first_record_the_bar_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for total in (1000, None):
        terminal = put(monkeypatch, True)
        monkeypatch.setenv("TERM", "xterm")
        console = Console("char", 1.0)
        console.on_start(START | {"total": total})
        console.on_end(None)
        assert "first update ..." in terminal.written


def test_a_resumed_bar_starts_where_the_run_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put(monkeypatch, True)
    console = Console("char", 1.0)
    console.on_start(START | {"step": 500, "resumed": True})
    console.on_end(None)
    assert "50%" in terminal.written


def line(step: int, total: int | None, unit: str = "char") -> str:
    console = Console(unit, 1.0)
    return console._words(RECORD | {"step": step, "total": total}, step / total if total else 0.0)


def test_the_time_left_is_told_once_it_is_known() -> None:
    assert "left" not in line(1, 1000)
    assert "left" not in line(9, 1000)
    assert "left" in line(10, 1000)
    assert "left" in line(2, 100)
    assert "left" not in line(15, None)


@pytest.mark.parametrize(
    ("kind", "one", "many"),
    [
        ("char", "character", "chars"),
        ("byte", "byte", "bytes"),
        ("word", "word", "words"),
        ("bpe", "bpe unit", "bpe units"),
        ("whitespace", "token", "tokens"),
        ("int", "number", "numbers"),
    ],
)
def test_units_have_names(kind: str, one: str, many: str) -> None:
    assert (unit_name(kind), units_name(kind)) == (one, many)
    assert f"12,346 {many}/s" in line(1, 1000, kind)


WILD = "a\x1b[2Jb\r\n\tü\x85\x00"


def test_a_file_gets_the_text_unaltered(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, False)
    assert printable(WILD) == WILD


def test_a_terminal_gets_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, True)
    assert printable(WILD) == "a\\x1b[2Jb\\x0d\n\tü\\x85\\x00"


@pytest.mark.parametrize("tty", [True, False])
def test_what_the_stream_cannot_take_is_escaped(monkeypatch: pytest.MonkeyPatch, tty: bool) -> None:
    terminal = put(monkeypatch, tty, "utf-8")
    assert printable("a\ud800ü") == "a\\ud800ü"
    terminal = put(monkeypatch, tty, "ascii")
    print(printable("aüb"), end="", file=terminal)
    assert terminal.written == "a\\xfcb"
    put(monkeypatch, tty, "utf-16")
    assert printable("aüb") == "aüb"


def test_bytes_that_came_in_go_out_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, False, "utf-8", "surrogateescape")
    assert printable("a\udc85") == "a\udc85"
    put(monkeypatch, True, "utf-8", "surrogateescape")
    assert printable("a\udc85") == "a\\udc85"
