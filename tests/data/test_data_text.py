"""What can be read, how it is decoded, and what bad input gets."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zstandard

from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.decode import BLOCK, TextReader, record_groups, whole_units
from unrolled.data.detect import guess
from unrolled.data.stdlib import stdlib_source
from unrolled.data.text import Source, open_source
from unrolled.errors import UserError

WHOLE = {"heldout": 0.0, "dev": 0.0}


def source(*paths: Path | str) -> Source:
    return open_source([str(path) for path in paths])


def contents(one: Source, size: int = 7) -> bytes:
    return b"".join(one.blocks(size))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def load(cache: Path, path: Path, **settings: object) -> Corpus:
    return load_corpus(source(path), TextConfig(**settings), cache=cache)  # type: ignore[arg-type]


def refused(cache: Path, path: Path, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        load(cache, path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.txt", lambda data: data),
        ("a.txt.gz", gzip.compress),
        ("a.txt.xz", lzma.compress),
        ("a.txt.zst", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_compressed_files_read_as_their_contents(tmp_path: Path, name: str, pack: object) -> None:
    data = "naïve text\n".encode() * 50
    one = source(write(tmp_path / name, pack(data)))  # type: ignore[operator]
    assert contents(one) == contents(one) == data
    assert one.place.fraction == 1.0
    assert one.total_bytes == (len(data) if name == "a.txt" else None)
    assert one.label == f"{tmp_path.name}/{name}"


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_damaged_archives_are_named(tmp_path: Path, suffix: str) -> None:
    pack = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}[suffix]
    whole = pack(os.urandom(5000))
    with pytest.raises(UserError, match=r"a\.\w+: damaged"):
        contents(source(write(tmp_path / f"a.{suffix}", b"not an archive at all")))
    if suffix != "zst":  # a zstd stream cut short reads as far as it goes
        with pytest.raises(UserError, match="damaged"):
            contents(source(write(tmp_path / f"a.{suffix}", whole[:-20])))


def test_folder_is_read_sorted_without_hidden_and_binary_files(tmp_path: Path) -> None:
    write(tmp_path / "b" / "2.txt", b"three ")
    write(tmp_path / "a.txt", b"one ")
    write(tmp_path / "b" / "10.txt", b"two ")
    write(tmp_path / "utf16.txt", b"\xff\xfea\0")
    for name, data in ((".hidden", b"x"), (".git/config", b"x"), ("p.png", b"\x89PNG\0"), ("empty", b"")):
        write(tmp_path / name, data)
    one = source(tmp_path)
    assert [Path(name).name for name in one.names] == ["a.txt", "10.txt", "2.txt", "utf16.txt"]
    assert contents(one) == b"one two three \xff\xfea\0"
    assert len(one.notes) == 1
    assert "3 hidden, empty or binary files skipped" in one.notes[0]
    assert "p.png" in one.notes[0]
    write(tmp_path / "only" / ".x", b"x")
    with pytest.raises(UserError, match="no text file"):
        source(tmp_path / "only")


def test_globs_and_several_files(tmp_path: Path) -> None:
    for name in ("c.txt", "a.txt", "b.txt", "d.md"):
        write(tmp_path / name, name[0].encode())
    assert contents(source(tmp_path / "*.txt")) == b"abc"
    assert contents(source(tmp_path / "d.md", tmp_path / "a.txt")) == b"da"
    write(tmp_path / "odd[1].txt", b"odd")  # a name that looks like a pattern
    assert contents(source(tmp_path / "odd[1].txt")) == b"odd"
    with pytest.raises(UserError, match="no file matches"):
        source(tmp_path / "*.nope")


def test_nothing_named_missing_and_unreadable() -> None:
    with pytest.raises(UserError, match="no text named"):
        open_source([])
    with pytest.raises(UserError, match=r"gone\.txt: no such file"):
        open_source(["gone.txt"])


def test_standard_input_and_pipes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"piped text, long enough to be split in three. " * 5
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    one = open_source(["-"], cache=tmp_path)
    assert contents(one) == contents(one) == data
    assert one.names == ["standard input"]
    byte = load_corpus(one, TextConfig(units="byte"), cache=tmp_path)
    assert byte.tokens.tobytes() == data
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    two = open_source([str(pipe)], cache=tmp_path)
    writer.join()
    assert contents(two) == contents(two) == data
    assert two.place.total == len(data)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []  # no spool is left lying about


def test_standard_library_without_tests() -> None:
    one = stdlib_source()
    names = [Path(name) for name in one.names]
    assert any(name.name == "argparse.py" for name in names)
    assert not any({"test", "tests", "site-packages", "idle_test"} & set(name.parts[-4:-1]) for name in names)
    assert one.total_bytes is not None
    assert one.total_bytes > 1_000_000
    assert "standard library" in one.label


def test_no_standard_library_names_the_alternative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.data.stdlib.sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match="unrolled train FILE"):
        stdlib_source()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1", "shift_jis", "gb18030"])
def test_decoding_block_by_block_is_exact(tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"latin-1": "Käse und Öl\r\n"}.get(encoding, "日本 text\r\n" if encoding[0] in "sg" else "Kä日😀\r\nx") * 9
    path = write(tmp_path / "t", text.encode(encoding))
    for size in (1, 2, 3, 5, 1 << 20):
        monkeypatch.setattr("unrolled.data.decode.BLOCK", size)
        reader = TextReader(source(path), encoding)
        blocks = list(reader.blocks())
        assert "".join(block.text for block in blocks) == text
        mark = {"utf-16": 2, "utf-32": 4}.get(encoding, 0)
        assert sum(block.bytes for block in blocks) == path.stat().st_size - mark
        for block in blocks:
            assert block.bytes_before(len(block.text)) == block.bytes or len(block.text) == 0


def test_byte_order_marks_are_dropped_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", b"\xef\xbb\xbf" + b"hello there, world")
    corpus = load(tmp_path / "cache", path)
    assert "\ufeff" not in corpus.units.decode(corpus.tokens)
    assert corpus.notes == ["a byte-order mark was dropped"]
    assert corpus.bytes == 18


def test_undecodable_bytes_are_placed_and_a_working_encoding_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    german = ("Grüße aus Köln. " * 20).encode("latin-1")
    message = refused(cache, write(tmp_path / "l.txt", german))
    assert "byte 2 does not decode as utf-8" in message
    assert "--encoding latin-1" in message
    assert "--units byte" in message
    assert load(cache, tmp_path / "l.txt", encoding="latin-1").chars == len(german)
    curly = ("She said “no” — twice. " * 20).encode("cp1252")
    assert "--encoding cp1252" in refused(cache, write(tmp_path / "c.txt", curly))
    wide = "plain words\n" * 20
    assert "--encoding utf-16" in refused(cache, write(tmp_path / "w.txt", wide.encode("utf-16")))
    assert "--encoding utf-16-le" in refused(cache, write(tmp_path / "v.txt", wide.encode("utf-16-le")))
    assert "--encoding utf-8" in refused(cache, write(tmp_path / "u.txt", "naïve".encode() * 9), encoding="ascii")
    assert "byte 9 does not" in refused(cache, write(tmp_path / "cut.txt", b"cut short\xe6\x97"))


def test_offset_is_that_of_the_file_and_of_the_second_block(tmp_path: Path) -> None:
    good = write(tmp_path / "1.txt", "ä".encode() * 100)
    bad = write(tmp_path / "2.txt", b"a" * (BLOCK - 1) + "ä".encode() + b"b\xff")
    with pytest.raises(UserError, match=rf"2\.txt: byte {BLOCK + 2} "):
        load_corpus(source(good, bad), TextConfig(), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Все счастливые семьи похожи друг на друга. "),
        ("koi8-r", "Все счастливые семьи похожи друг на друга. "),
        ("shift_jis", "吾輩は猫である。名前はまだ無い。"),
        ("gb18030", "我们在这里不是一个人。他的书是中国的。"),
        ("euc_kr", "동해물과 백두산이 마르고 닳도록. "),
    ],
)
def test_guessing_other_scripts(tmp_path: Path, encoding: str, text: str) -> None:
    item = source(write(tmp_path / "t", (text * 20).encode(encoding))).items[0]
    assert guess(item, "utf-8") == encoding


def test_binary_data_is_refused_for_text_but_not_for_bytes(tmp_path: Path) -> None:
    data = b"text " * 10 + b"\0\1\2" + b"more" * 10
    path = write(tmp_path / "p.bin", data)
    message = refused(tmp_path / "cache", path)
    assert "binary data (a NUL byte at byte 50)" in message
    assert "--units byte" in message
    assert load(tmp_path / "cache", path, units="byte").tokens.tobytes() == data
    noise = bytes(range(1, 32)) * 20
    assert "many control characters at byte 0" in refused(tmp_path / "cache", write(tmp_path / "n.bin", noise))
    page = b"page one\n\f" * 9 + b"\x1b[1mbold\x1b[0m"
    assert load(tmp_path / "cache", write(tmp_path / "page.txt", page)).chars == len(page)


def test_unknown_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t", b"some text to read here")
    for name in ("klingon", "base64", "rot13"):
        assert f"--encoding {name}" in refused(tmp_path / "cache", path, encoding=name)


def test_empty_and_too_short_texts(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for units in ("char", "byte", "word", "int"):
        assert "the text is empty" in refused(cache, write(tmp_path / "e.txt", b""), units=units)
        assert "too short to train on" in refused(cache, write(tmp_path / "one.txt", b"1"), units=units, **WHOLE)
        assert "too short to split" in refused(cache, write(tmp_path / "two.txt", b"123"), units=units)
    assert "units in this text" in refused(cache, write(tmp_path / "w.txt", b"   " * 20), units="int", **WHOLE)
    assert load(cache, write(tmp_path / "hello", b"hello"), **WHOLE).parts["train"].units == 5


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("delimiter", ["\n", "\n\n", "<>", "aba"])
def test_records_come_out_whole_wherever_blocks_end(
    tmp_path: Path, size: int, delimiter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.data.decode.BLOCK", size)
    text = "one<>two\n\nthré\n\n\nababa<><>four\nfive<"
    reader = TextReader(source(write(tmp_path / "1", text.encode()), write(tmp_path / "2", b"six\n\n")), "utf-8")
    groups = list(record_groups(reader.blocks(), delimiter))
    wanted = [piece for piece in text.split(delimiter) + "six\n\n".split(delimiter) if piece]
    assert [record for group in groups for record in group.records] == wanted
    assert [group.first for group in groups] == [
        sum(len(earlier.records) for earlier in groups[:place]) for place in range(len(groups))
    ]
    dropped = sum(group.empty for group in groups) * len(delimiter)
    assert sum(sum(group.chars) for group in groups) + dropped == len(text) + 5
    assert sum(sum(group.bytes) for group in groups) + dropped == len(text.encode()) + 5


def test_whole_units_cut_only_before_white_space() -> None:
    text = "some words  and\n\nlines with\ttabs  \n and more"
    for size in (1, 2, 3, 5, 50):
        pieces = list(whole_units(text[at : at + size] for at in range(0, len(text), size)))
        assert "".join(pieces) == text
        for before, after in itertools.pairwise(pieces):
            assert not before[-1].isspace()
            assert after[0] in " \n"


def test_package_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, unrolled.data, unrolled.data.config; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    code = "import sys, unrolled.data as d; [getattr(d, n) for n in d.__all__]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
