"""What a digest tells apart, and how the cache stays small."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from unrolled.data import cache as module
from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.text import open_source


def load(tmp_path: Path, text: str) -> Corpus:
    path = tmp_path / "t.txt"
    path.write_text(text)
    return load_corpus(open_source([str(path)]), TextConfig(), cache=tmp_path / "cache")


def entries(tmp_path: Path) -> set[str]:
    return {one.name for one in (tmp_path / "cache").iterdir()}


def age(entry: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(entry, (then, then))


@pytest.mark.parametrize("rule", ["SPLIT_RULE", "FORMAT"])
def test_another_rule_of_splitting_is_another_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    before = load(tmp_path, "some text " * 20)
    monkeypatch.setattr(f"unrolled.data.corpus.{rule}", 99)
    assert load(tmp_path, "some text " * 20).digest != before.digest
    assert len(entries(tmp_path)) == 2


def test_old_entries_go_when_a_new_one_is_made(tmp_path: Path) -> None:
    load(tmp_path, "first text " * 20)
    load(tmp_path, "second text " * 20)
    for name in entries(tmp_path):
        age(tmp_path / "cache" / name, 91)
    (tmp_path / "cache" / "notes").mkdir()  # not ours
    age(tmp_path / "cache" / "notes", 500)
    load(tmp_path, "first text " * 20)  # opened, so it is young again
    assert len(entries(tmp_path)) == 3
    load(tmp_path, "third text " * 20)
    assert len(entries(tmp_path)) == 3
    assert "notes" in entries(tmp_path)
    kept = entries(tmp_path)
    load(tmp_path, "first text " * 20)
    assert entries(tmp_path) == kept


def test_the_least_recently_used_go_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for n in range(3):
        before = entries(tmp_path) if n else set()
        load(tmp_path, f"text number {n} " * 20)
        names += entries(tmp_path) - before
    for days, name in zip((3, 1, 2), names, strict=True):
        age(tmp_path / "cache" / name, days)
    size = sum(one.stat().st_size for one in (tmp_path / "cache" / names[0]).iterdir())
    monkeypatch.setattr(module, "MOST_BYTES", int(2.5 * size))
    load(tmp_path, "text number 4 " * 20)
    left = entries(tmp_path)
    assert names[1] in left
    assert len(left) == 2
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    load(tmp_path, "text number 5 " * 20)  # larger than all that is allowed, and kept
    assert entries(tmp_path) >= left - {names[1]}  # just made, perhaps by a process that is about to open it
    assert len(entries(tmp_path)) == 2


def test_what_cannot_be_dropped_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise PermissionError("in use")

    load(tmp_path, "first text " * 20)
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    monkeypatch.setattr(module, "FRESH", -1)
    monkeypatch.setattr(module.os, "utime", busy)
    monkeypatch.setattr(module, "_drop", busy)
    assert load(tmp_path, "second text " * 20).chars == 240
    assert len(entries(tmp_path)) == 2
    shutil.rmtree(tmp_path / "cache")
    assert load(tmp_path, "second text " * 20).chars == 240
