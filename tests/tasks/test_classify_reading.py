"""Labelled examples from tables, files and folders, and what is said of bad ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data.examples import Ragged
from unrolled.errors import UserError
from unrolled.tasks.classify.coder import Coder
from unrolled.tasks.classify.config import ClassifyData
from unrolled.tasks.classify.parts import split
from unrolled.tasks.classify.reading import Examples, read
from unrolled.tasks.classify.recognise import recognise


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def pairs(found: Examples) -> list[tuple[str, Any]]:
    assert found.texts is not None
    return list(zip(found.texts, found.labels, strict=True))


def test_tables_named_and_guessed(tmp_path: Path) -> None:
    named = write(tmp_path / "a.csv", "id,review,stars\n1,good film,5\n2,bad film,1\n3,bad film,1\n")
    found = read([named], ClassifyData())
    assert pairs(found) == [("good film", "5"), ("bad film", "1"), ("bad film", "1")]
    assert found.where[1].endswith("a.csv:3")
    assert "text is column review, label is column stars" in found.notes[0]
    bare = write(tmp_path / "b.tsv", "pos\tone\nneg\ttwo\npos\tthree\nneg\tfour\n")
    assert pairs(read([bare], ClassifyData())) == [("one", "pos"), ("two", "neg"), ("three", "pos"), ("four", "neg")]
    lines = write(tmp_path / "c.jsonl", '{"q": "x", "k": true}\n{"q": "y", "k": 2}\n')
    data = ClassifyData(text_column="q", label_column="k")
    assert pairs(read([lines], data)) == [("x", "True"), ("y", "2")]
    with pytest.raises(UserError, match=r"c.jsonl: --text and --label both name"):
        read([lines], ClassifyData(text_column="q", label_column="q"))
    wide = write(tmp_path / "d.csv", "u,v,w\na,b,c\n")
    with pytest.raises(UserError, match=r"d.csv: which column\? name it with --text"):
        read([wide], ClassifyData(header="yes"))


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,labels\none,"b, a"\ntwo,\nthree,a\n')
    assert read([path], ClassifyData(target="several")).labels == [["a", "b"], [], ["a"]]
    path = write(tmp_path / "b.csv", "text,y\none,1.5\ntwo,-2\n")
    assert read([path], ClassifyData(target="number")).labels == [1.5, -2.0]
    path = write(tmp_path / "c.csv", "text,y\none,1.5\ntwo,nan\n")
    with pytest.raises(UserError, match=r"c.csv:3: 'nan' is not a finite number; .*--bad skip"):
        read([path], ClassifyData(target="number"))


def test_rows_without_text_or_label(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\none,a\n ,b\nthree,\nfour,b\n")
    with pytest.raises(UserError, match=r"a.csv:3: no text; correct it, or leave such rows out with --bad skip"):
        read([path], ClassifyData())
    found = read([path], ClassifyData(bad="skip"))
    assert pairs(found) == [("one", "a"), ("four", "b")]
    assert any(note.startswith("2 rows skipped, the first: ") for note in found.notes)


def test_repeated_examples_are_counted_once_where_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\none,a\none,a\none,b\ntwo,b\n")
    assert len(read([path], ClassifyData())) == 4
    found = read([path], ClassifyData(repeats="once"))
    assert pairs(found) == [("one", "a"), ("one", "b"), ("two", "b")]
    assert "1 repeated example left out (--repeats)" in found.notes


def test_a_class_seen_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\none,a\ntwo,a\nthree,b\n")
    assert any("a single example in 1 of 2 classes (b; " in n for n in read([path], ClassifyData()).notes)
    with pytest.raises(UserError, match=r"a single example .*a.csv:4"):
        read([path], ClassifyData(rare="error"))
    with pytest.raises(UserError, match="every example is 'a'"):
        read([path], ClassifyData(rare="skip"))


def test_a_file_for_each_class(tmp_path: Path) -> None:
    for name, content in (("fr.txt", "é\n\nb\r\n"), ("de.txt", "c\n"), ("README.txt", "read me"), ("LICENSE", "mine")):
        write(tmp_path / "names" / name, content)
    found = read([str(tmp_path / "names")], ClassifyData())
    assert pairs(found) == [("c", "de"), ("é", "fr"), ("b", "fr")]
    assert found.where == ["de.txt:1", "fr.txt:1", "fr.txt:3"]
    assert found.notes[0] == "not read as classes: LICENSE, README.txt (--glob chooses)"
    assert "1 blank line skipped" in found.notes
    for name in ("rt.neg", "rt.pos"):
        write(tmp_path / "rt" / name, "x y\nz\n")
    write(tmp_path / "rt" / "README.txt", "about")
    assert read([str(tmp_path / "rt")], ClassifyData()).labels == ["neg", "neg", "pos", "pos"]
    files = [str(tmp_path / "rt" / "rt.neg"), str(tmp_path / "names" / "de.txt")]
    assert read(files, ClassifyData()).labels == ["rt", "rt", "de"]
    with pytest.raises(UserError, match="which classes"):
        read(files[:1], ClassifyData())
    with pytest.raises(UserError, match="0 files of a class each"):
        read([str(tmp_path / "names")], ClassifyData(glob="*.none"))


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name, content in (("pos/1.txt", "good\nfilm"), ("neg/1.txt", "bad"), ("neg/2.txt", ""), ("README", "x")):
        write(tmp_path / "docs" / name, content)
    found = read([str(tmp_path / "docs")], ClassifyData())
    assert pairs(found) == [("bad", "neg"), ("good\nfilm", "pos")]
    assert found.where == ["neg/1.txt", "pos/1.txt"]
    assert "1 empty file skipped" in found.notes


def test_arrays(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([1, 0, 1]), lengths=np.array([4, 0, 2]))
    found = read([str(tmp_path / "a.npz")], ClassifyData())
    assert found.numbers is not None
    assert [len(found.numbers[k]) for k in range(3)] == [4, 0, 2]
    assert found.numbers[2].tolist() == x[2, :2].tolist()
    assert found.labels == ["1", "0", "1"]
    np.savez(tmp_path / "r.npz", x=x.reshape(12, 2), y=["u", "v"], lengths=np.array([5, 7]))
    ragged = read([str(tmp_path / "r.npz")], ClassifyData())
    assert (ragged.labels, ragged.numbers is not None and ragged.numbers.lengths.tolist()) == (["u", "v"], [5, 7])
    np.save(tmp_path / "x.npy", x[:, :, 0])
    np.save(tmp_path / "y.npy", np.array([0.5, 1.0, 2.0]))
    pair = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    assert read(pair, ClassifyData(target="number")).labels == [0.5, 1.0, 2.0]
    np.savez(tmp_path / "m.npz", x=x, y=np.array([[1, 0], [1, 1], [0, 0]]))
    assert read([str(tmp_path / "m.npz")], ClassifyData(target="several")).labels == [["0"], ["0", "1"], []]
    x[1, 2, 0] = np.nan
    for content, words in (
        ({"x": x, "y": [1, 0, 1]}, r"bad.npz\[1\]: not a finite number at step 2"),
        ({"x": x[:1], "y": [1, 0, 1]}, "1 sequences and 3 labels"),
        ({"x": x}, "no array named y"),
        ({"x": np.array(["a"]), "y": [1]}, "not numbers"),
        ({"x": x[0, 0], "y": [1]}, "sequences are"),
        ({"x": np.array([{}], object), "y": [1]}, "cannot be read as .npz"),
    ):
        np.savez(tmp_path / "bad.npz", **content)
        with pytest.raises(UserError, match=words):
            read([str(tmp_path / "bad.npz")], ClassifyData())
    with pytest.raises(UserError, match=r"two .npy files"):
        read(pair[:1], ClassifyData())


def idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(np.uint8).tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)


def test_idx_files_with_their_own_test_part(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 256, (20, 3, 2)), rng.integers(0, 256, (5, 3, 2))
    idx(folder / "train-images-idx3-ubyte.gz", train)
    idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)
    idx(folder / "t10k-images-idx3-ubyte", test)
    idx(folder / "t10k-labels-idx1-ubyte", np.arange(5))
    assert recognise(folder) == "it holds idx files (t10k-images-idx3-ubyte)"
    found = read([str(folder)], ClassifyData())
    assert found.numbers is not None
    assert found.numbers.values.shape == (25 * 6, 1)
    assert found.numbers[20][:, 0] * 255 == pytest.approx(test[0].reshape(-1))
    parts = split(found, ClassifyData(dev=0.2))
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "train": list(range(16)), "dev": list(range(16, 20)), "test": list(range(20, 25)),
    }  # fmt: skip
    coder = Coder.learn(found, parts["train"], ClassifyData(permute=3))
    again = Coder.from_json(coder.to_json(), "tokens.json")
    assert again.order is not None
    assert again.inputs_of(found)[4][:, 0].tolist() == found.numbers[4][again.order, 0].tolist()
    assert sorted(again.order) == list(range(6))
    alone = read([str(folder / "train-images-idx3-ubyte.gz")], ClassifyData())  # its labels lie beside it
    assert alone.labels == [str(k % 10) for k in range(20)]
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x20abc"))
    with pytest.raises(UserError, match="truncated: its head promises 32 values"):
        read([str(folder)], ClassifyData())
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="its labels train-labels-idx1-ubyte are not there"):
        read([str(folder / "train-images-idx3-ubyte.gz")], ClassifyData())


def test_the_split_keeps_equal_inputs_together() -> None:
    texts = [f"t{k % 50}" for k in range(200)]
    examples = Examples(texts, None, ["a", "b"] * 100, [""] * 200, "e")
    parts = split(examples, ClassifyData())
    assert not {texts[k] for k in parts["test"]} & {texts[k] for k in [*parts["train"], *parts["dev"]]}
    with pytest.raises(UserError, match="leave none for the"):
        split(Examples(["x", "y"], None, ["a", "b"], ["", ""], "e"), ClassifyData())
    with pytest.raises(UserError, match=r"--fold 10: --heldout 0.1 has the folds 0 to 9"):
        ClassifyData(fold=10)


def test_units_and_classes() -> None:
    texts = ["Ab b", "b!", "zz"]
    examples = Examples(texts, None, ["10", "9", "9"], ["", "", ""], "e")
    coder = Coder.learn(examples, np.array([0, 1]), ClassifyData(units="char", lower=True))
    assert coder.classes == ["9", "10"]
    assert coder.counts == [1, 1]
    v = coder.vocabulary
    assert v is not None
    encoded = coder.encode(["bA~"])[0].tolist()
    assert v.decode(encoded) == ["<s>", "b", "a", "<unk>", "</s>"]
    words = Coder.learn(examples, np.array([0, 1]), ClassifyData(units="word", longest=1))
    assert words.vocabulary is not None
    assert words.vocabulary.decode(words.encode(["b ! Ab"])[0]) == ["b"]
    with pytest.raises(UserError, match="the model has no class 'c'; it knows 9, 10"):
        coder.targets_of(Examples(["x"], None, ["c"], ["f:1"], "e"), "class")
    with pytest.raises(UserError, match=r"trained on texts"):
        coder.inputs_of(Examples(None, Ragged(np.zeros((1, 1)), [1]), ["9"], [""], "e"))
    long = Examples(["one two three four"] * 3, None, ["a", "b", "b"], [""] * 3, "e")
    assert Coder.learn(long, np.arange(3), ClassifyData()).kind == "word"


def test_what_is_clearly_for_classification(tmp_path: Path) -> None:
    assert recognise(Path(write(tmp_path / "a.csv", "Text,Label\nx,y\n"))) == "it has columns text and label"
    assert recognise(Path(write(tmp_path / "b.jsonl", '{"sentence": "x", "sentiment": 1}\n'))) is not None
    assert recognise(Path(write(tmp_path / "c.csv", "date,value\n1,2\n"))) is None
    assert recognise(Path(write(tmp_path / "d.tsv", "hello\tbonjour\n"))) is None
    assert recognise(Path(write(tmp_path / "e.txt", "text,label\n"))) is None
