"""The picture of ratios."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.bench.figures import SUMMARY, Bar, Row, figure
from unrolled.bench.picture import MANY, draw
from unrolled.cli import main as cli
from unrolled.errors import UserError


def ratios(*values: float, bar: Bar | None = None) -> dict[str, object]:
    return {"ratio": figure(list(values), "x", bar), "ours": figure([3.0], "ms")}


def test_rows_with_a_ratio_of_speeds_are_drawn_and_no_others(tmp_path: Path) -> None:
    many = [*(Row(f"cell {k}", ratios(1 + k / 10)) for k in range(MANY + 1)), Row(SUMMARY, ratios(2.5))]
    one = [Row("fast", ratios(2.0, 2.5, 3.0)), Row("slow", ratios(0.8)), Row("refused", refused="wrong")]
    memory = [Row("smaller", ratios(0.55, bar=Bar(0.6, below=True)))]
    draw(tmp_path / "a.svg", [("grid", many), ("one", one), ("memory", memory)], "two threads")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    named = [line for line in text.splitlines() if line.lstrip().startswith("<!--")]
    words = " ".join(named)
    for expected in (f"grid: {MANY + 1} rows", "one: fast", "one: slow", "2.50", "0.80", "two threads"):
        assert expected in words
    for other in ("refused", "smaller", "cell 3", "0.55"):
        assert other not in words
    with pytest.raises(UserError, match="--plot: memory has no ratio"):
        draw(tmp_path / "b.png", [("memory", memory)], "")
    (tmp_path / "c.png").mkdir()
    with pytest.raises(UserError, match=r"c\.png: Is a directory; name another file"):
        draw(tmp_path / "c.png", [("one", one)], "")


def test_the_verb_draws(tmp_path: Path) -> None:
    given = ["bench", "grid", "--pairs", "1", "--threads", "1", "--only", "RNN B1 T1 H32 ", "--plot"]
    assert cli.main([*given, str(tmp_path / "speed.png")]) == 0
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
