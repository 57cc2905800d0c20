"""From a file to parts of tokens: exact, cached, the same in whatever blocks it is read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.cache import cache_folder
from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.records import Permutation, RecordIds
from unrolled.data.text import open_source
from unrolled.errors import UserError

KINDS = ("char", "byte", "word", "bpe", "whitespace")
LINES = [f"Zeile {n} größer als {n - 1}, naïve 日本 {'😀' * (n % 3)}\n" for n in range(200)]
TEXT = "".join(LINES)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "t.txt").write_bytes(TEXT.encode())
    return tmp_path / "t.txt"


def load(cache: Path, path: Path, kind: str, **settings: object) -> Corpus:
    config = TextConfig(units=kind, **settings)  # type: ignore[arg-type]
    return load_corpus(open_source([str(path)]), config, cache=cache)


def part_text(corpus: Corpus, name: str) -> str:
    part = corpus.parts[name]
    return corpus.units.decode(corpus.tokens[part.start : part.stop])


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_the_text_with_exact_counts(cache: Path, path: Path, kind: str) -> None:
    corpus = load(cache, path, kind)
    texts = [part_text(corpus, name) for name in ("dev", "train", "test")]
    if kind != "whitespace":  # white space comes back as single spaces there
        assert "".join(texts) == TEXT
        for name, text in zip(("dev", "train", "test"), texts, strict=True):
            assert corpus.parts[name].chars == len(text)
            assert corpus.parts[name].bytes == len(text.encode())
    assert [part.start for part in corpus.parts.values()][1:] == [part.stop for part in corpus.parts.values()][:-1]
    assert corpus.parts["test"].stop == len(corpus.tokens)
    assert corpus.chars == len(TEXT) == sum(part.chars for part in corpus.parts.values())
    assert corpus.bytes == len(TEXT.encode()) == sum(part.bytes for part in corpus.parts.values())
    size = corpus.bytes if kind == "byte" else corpus.chars
    test = corpus.parts["test"].bytes if kind == "byte" else corpus.parts["test"].chars
    assert abs(test - size / 10) <= 30
    if kind == "char":
        assert test == round(size / 10)
        assert corpus.parts["dev"].chars == round((size - test) * 0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("records", [None, "line", "größer"])
def test_blocks_change_nothing(
    cache: Path, path: Path, kind: str, records: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(cache, path, kind, records=records, vocab="train")
    for module in ("decode", "bytefile", "corpus"):
        monkeypatch.setattr(f"unrolled.data.{module}.BLOCK", 700)
    pieces = load(cache.with_name("other"), path, kind, records=records, vocab="train")
    assert pieces.units.to_json() == whole.units.to_json()
    assert (pieces.tokens == whole.tokens).all()
    assert pieces.digest == whole.digest
    if whole.records is None:
        # A cut between words looks ahead within its block only, so that it may lie a word further on.
        assert all(abs(pieces.parts[name].start - whole.parts[name].start) <= 1 for name in whole.parts)
    else:
        assert pieces.records is not None
        assert (pieces.records.rows == whole.records.rows).all()


def test_bytes_of_one_plain_file_are_mapped_not_copied(cache: Path, path: Path, tmp_path: Path) -> None:
    corpus = load(cache, path, "byte")
    assert not list(cache.rglob("tokens.bin"))
    assert corpus.tokens.tobytes() == path.read_bytes()
    packed = tmp_path / "t.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    copied = load(cache, packed, "byte")
    assert list(cache.rglob("tokens.bin"))
    assert (copied.tokens == corpus.tokens).all()
    assert copied.digest == corpus.digest
    assert copied.parts == corpus.parts


def test_bytes_that_are_no_text_count_as_characters(cache: Path, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4
    (tmp_path / "b").write_bytes(data)
    corpus = load(cache, tmp_path / "b", "byte")
    assert corpus.chars == corpus.bytes == len(data)
    assert "not utf-8 text" in corpus.notes[0]
    (tmp_path / "w").write_bytes(("aä😀" * 99).encode("utf-16"))
    assert load(cache, tmp_path / "w", "byte", encoding="utf-16", heldout=0.0, dev=0.0).chars == 297


def test_the_cache_is_used_and_mended(cache: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(cache, path, "char")
    (entry,) = cache.iterdir()
    monkeypatch.setattr("unrolled.data.corpus._build", lambda *_: pytest.fail("built again"))
    second = load(cache, path, "char")
    assert second.digest == first.digest
    assert second.parts == first.parts
    assert (second.tokens == first.tokens).all()
    monkeypatch.undo()
    (entry / "tokens.bin").write_bytes(b"short")
    third = load(cache, path, "char")
    assert len(third.tokens) == len(TEXT)
    assert [one.name for one in cache.iterdir()] == [entry.name]
    assert load(cache, path, "char", heldout=0.2).digest != first.digest
    assert load(cache, path, "char", vocab_size=20).digest != first.digest
    path.write_bytes(b"x" + path.read_bytes()[1:])
    changed = load(cache, path, "char")
    assert changed.digest != first.digest


def test_a_failed_build_leaves_nothing(cache: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unrolled.data.cache._sync", full)
    with pytest.raises(UserError, match=r"No space left on device; make room"):
        load(cache, path, "char")
    assert list(cache.iterdir()) == []


def test_cache_folder_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("UNROLLED_CACHE", raising=False)
    assert cache_folder()[0] == tmp_path / "xdg" / "unrolled"
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "own"))
    assert cache_folder() == (tmp_path / "own", None)
    assert cache_folder(tmp_path / "given")[0] == tmp_path / "given"


def test_unwritable_cache_falls_back_with_a_note(tmp_path: Path, path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    corpus = load(tmp_path / "file", path, "char")
    assert len(corpus.tokens) == len(TEXT)
    assert "a temporary folder stands in" in corpus.notes[0]


def test_given_units_are_used(cache: Path, path: Path, tmp_path: Path) -> None:
    units = load(cache, path, "char").units
    (tmp_path / "new.txt").write_text("Zeile " * 50 + "!")
    source = open_source([str(tmp_path / "new.txt")])
    with pytest.raises(UserError, match=r"character '!' \(U\+0021\) at character 300"):
        load_corpus(source, TextConfig(), units=units, cache=cache)
    corpus = load_corpus(source, TextConfig(unknown="skip", heldout=0.0, dev=0.0), units=units, cache=cache)
    assert part_text(corpus, "train") == "Zeile " * 50
    assert corpus.notes == ["1 unit that the vocabulary lacks was left out (--unknown skip)"]
    assert corpus.units.to_json() == units.to_json()
    with pytest.raises(UserError, match="use --units char"):
        load_corpus(source, TextConfig(units="word"), units=units, cache=cache)
    with pytest.raises(UserError, match="no such record end"):
        load_corpus(source, TextConfig(records="line", unknown="skip", heldout=0.0, dev=0.0), units=units, cache=cache)
    learnt = load(cache, path, "char", vocab="train")
    given = load_corpus(open_source([str(path)]), TextConfig(vocab="train"), units=learnt.units, cache=cache)
    assert given.digest == learnt.digest  # resuming knows its text again


def test_vocabulary_of_the_training_part(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("ab" * 500 + "xyz" * 37)
    assert len(load(cache, tmp_path / "t", "char").units) == 5
    corpus = load(cache, tmp_path / "t", "char", vocab="train", heldout=0.1)
    assert corpus.units.unk == 2
    assert set(corpus.tokens[corpus.parts["test"].start :].tolist()) == {2}


def test_a_text_that_changes_meanwhile_is_noticed(cache: Path, path: Path) -> None:
    source = open_source([str(path)])

    def grow(stage: str, fraction: float) -> None:
        if stage == "reading":
            os.truncate(path, len(TEXT.encode()) - 1)

    with pytest.raises(UserError, match="changed while it was read"):
        load_corpus(source, TextConfig(heldout=0.0, dev=0.0), cache=cache, progress=grow)


def test_progress_reaches_the_end(cache: Path, path: Path) -> None:
    seen: dict[str, float] = {}
    load_corpus(open_source([str(path)]), TextConfig(), cache=cache, progress=lambda s, f: seen.update({s: f}))
    assert seen["encoding"] == 1.0
    assert set(seen) == {"checking", "reading", "encoding"}


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_dealt_to_the_parts_once_each(cache: Path, path: Path, kind: str) -> None:
    corpus = load(cache, path, kind, records="line")
    assert corpus.records is not None
    dealt: list[int] = []
    for name, part in corpus.parts.items():
        ids = part.records[:]  # type: ignore[index]
        dealt += ids.tolist()
        lines = [LINES[number] for number in ids]
        for number, line in zip(ids.tolist(), lines, strict=True):
            start, stop = corpus.records.span(number)
            if kind != "whitespace":
                assert corpus.units.decode(corpus.tokens[start:stop]) + "\n" == line
        assert part.chars == sum(map(len, lines)), name
        assert part.bytes == sum(len(line.encode()) for line in lines)
        assert part.units == sum(np.diff(corpus.records.span(number))[0] + 1 for number in ids.tolist())
    assert sorted(dealt) == list(range(200))
    assert dealt != sorted(dealt)
    assert [len(part.records or ()) for part in corpus.parts.values()] == [4, 176, 20]


def test_records_learn_from_their_training_part(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("".join(f"{chr(0x4E00 + n)}\n" for n in range(100)))
    corpus = load(cache, tmp_path / "t", "char", records="line", vocab="train")
    wanted = {chr(0x4E00 + number) for number in corpus.parts["train"].records[:]}  # type: ignore[index]
    assert set(corpus.units.characters) == wanted | {"\n"}  # type: ignore[attr-defined]


def test_empty_records_are_left_out_with_a_note(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("one\n\ntwo\n\n\nthree")
    for kind in ("char", "byte"):
        corpus = load(cache, tmp_path / "t", kind, records="line", heldout=0.0, dev=0.0)
        assert corpus.notes == ["3 empty records left out"]
        assert len(corpus.records or ()) == 3
        assert corpus.chars == len("one\ntwo\nthree")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65, 1000])
def test_permutation_is_one_and_can_be_undone(n: int) -> None:
    for seed in range(3):
        order = Permutation(n, seed)
        places = order(np.arange(n))
        assert sorted(places.tolist()) == list(range(n))
        assert (order.inverse(places) == np.arange(n)).all()
        assert int(order(n - 1)) == places[-1]
    if n > 60:
        assert (Permutation(n, 0)(np.arange(n)) != Permutation(n, 1)(np.arange(n))).any()
        # No pattern left: neighbours land far apart, and on average no place is preferred.
        assert abs(np.corrcoef(np.arange(n), Permutation(n, 0)(np.arange(n)))[0, 1]) < 0.35
    with pytest.raises(IndexError):
        Permutation(n, 0)(n)


def test_record_ids_index_like_an_array() -> None:
    ids = RecordIds(Permutation(50, 3), 10, 30)
    every = ids[:]
    assert len(ids) == len(every) == 20
    assert ids[4] == every[4]
    assert ids[-1] == every[-1]
    assert (ids[[3, 1]] == every[[3, 1]]).all()
    assert (ids[5:9] == every[5:9]).all()
    with pytest.raises(IndexError):
        ids[20]
