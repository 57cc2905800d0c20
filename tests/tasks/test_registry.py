"""Which task a file is for: only what is clear is taken, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.errors import UserError
from unrolled.presets import preset_names
from unrolled.tasks import registry
from unrolled.tasks.registry import TASKS, TaskKind, available, find, recognise, suffix


def test_only_what_is_there_is_listed() -> None:
    assert list(TASKS) == ["language", "classify", "tag", "translate", "caption", "forecast"]
    for kind in available():
        assert kind.preset in preset_names()
        assert all(hasattr(config, "__dataclass_fields__") for config in kind.configs())
    with pytest.raises(UserError, match=r"--task nosuch: not one of .*language"):
        find("nosuch")


class Claiming(TaskKind):
    """Claims the files whose names end in ``help``."""

    there = True  # type: ignore[assignment]

    def reason(self, path: Path) -> str | None:
        return f"its ending is {self.help}" if path.name.endswith(self.help) else None


def claims(monkeypatch: pytest.MonkeyPatch, **endings: str) -> None:
    made = {name: Claiming(name, end, "", "", None, "", "", "", None) for name, end in endings.items()}
    monkeypatch.setattr(registry, "TASKS", made)


def test_one_claim_is_taken_two_are_listed_and_a_table_is_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    claims(monkeypatch, classify=".npz", tag=".npz", forecast="s.csv")
    found = recognise(Path("series.csv"))
    assert found is not None
    assert (found[0].name, found[1]) == ("forecast", "its ending is s.csv")
    with pytest.raises(UserError, match=r"^x.npz: which task\? say one: --task classify, --task tag$"):
        recognise(Path("x.npz"))
    with pytest.raises(UserError, match=r"which task.*--task classify, --task tag, --task forecast"):
        recognise(Path("other.CSV.gz"))
    assert recognise(Path("novel.txt")) is None
    assert recognise(Path("folder")) is None


def test_suffix() -> None:
    assert [suffix(Path(p)) for p in ("a.CSV.gz", "b.c.txt", "d", "e.gz")] == [".csv", ".txt", "", ".gz"]
