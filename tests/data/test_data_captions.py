"""Every form that captions come in, read to the same thing; bad ones named with file and line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unrolled.data.caption_units import caption_text, caption_units
from unrolled.data.captioned import Columns
from unrolled.data.captions import read_captions
from unrolled.data.shapes import COLOURS, SHAPES, generate_shapes
from unrolled.errors import UserError

SAID = [("a.png", ["a cat", "one cat"]), ("b.png", ["a dog"])]


def read(path, **columns):
    return read_captions(str(path), Columns(**columns))


def plain(file):
    return [(e.image, e.captions) for e in file.entries]


def put(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
    "annotations": [{"image_id": 7, "caption": "a cat"}, {"image_id": 9, "caption": "a dog"},
                    {"image_id": 7, "caption": "one cat"}],
}  # fmt: skip
KARPATHY = {"images": [
    {"filename": "a.png", "split": "restval", "filepath": "val2014",
     "sentences": [{"raw": "a cat"}, {"raw": "one cat"}]},
    {"filename": "b.png", "split": "test", "sentences": [{"raw": "a dog", "tokens": ["a", "dog"]}]},
], "dataset": "coco"}  # fmt: skip
FORMS = {
    "coco.json": COCO,
    "list.json": [{"file_name": name, "captions": said} for name, said in SAID],
    "single.jsonl": "\n".join(json.dumps({"image": n, "caption": c}) for n, said in SAID for c in said),
    "many.jsonl": "\n".join(json.dumps({"file_name": n, "captions": said}) for n, said in SAID),
    "Flickr8k.token.txt": "a.png#0\ta cat\na.png#1\tone cat\r\n\nb.png#0\ta dog\n",
    "captions.txt": "image,caption\na.png,a cat\na.png,one cat\nb.png,a dog\n",
    "table.csv": 'image,caption\na.png,"a cat"\na.png,one cat\nb.png,a dog\n',
    "table.tsv": "comment\timage_name\na cat\ta.png\none cat\ta.png\na dog\tb.png\n",
    "bare.tsv": "a.png\ta cat\na.png\tone cat\nb.png\ta dog\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same(tmp_path, name):
    found = read(put(tmp_path / name, FORMS[name]))
    assert plain(found) == SAID
    assert all(e.folder == tmp_path and name in e.where for e in found.entries)


def test_karpathys_split(tmp_path):
    found = read(put(tmp_path / "dataset_coco.json", KARPATHY))
    assert [(e.image, e.captions, e.part) for e in found.entries] == [
        ("val2014/a.png", ["a cat", "one cat"], "restval"),
        ("b.png", ["a dog"], "test"),
    ]


def test_folders(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    put(tmp_path / "README.txt", "about this")
    put(tmp_path / "captions.csv", FORMS["table.csv"])
    assert plain(read(tmp_path)) == SAID
    (tmp_path / "captions.csv").unlink()
    put(tmp_path / "a.txt", "a cat\none cat\n")
    with pytest.raises(UserError, match=r"1 image without a caption \(b.png\)"):
        read(tmp_path)
    assert "left out: b.png" in read(tmp_path, bad="skip").notes[0]
    put(tmp_path / "b.txt", "a dog")
    assert plain(read(tmp_path)) == SAID
    put(tmp_path / "more.json", "[]")
    with pytest.raises(UserError, match="which file holds the captions"):
        read(tmp_path)


def test_columns_may_be_named_and_parts_given(tmp_path):
    path = put(tmp_path / "t.tsv", "set\tpic\tname\ttext\nvalidate\tx\ta\tone\ntrain\ty\tb\ttwo\n")
    found = read(path, caption="text", image="pic", part="set")
    assert [(e.image, e.captions, e.part) for e in found.entries] == [("x", ["one"], "dev"), ("y", ["two"], "train")]
    assert [e.captions for e in read(path, caption="name").entries] == [["a"], ["b"]]
    assert [e.image for e in read(path).entries] == [None, None]
    with pytest.raises(UserError, match=r"--caption-column nothing: .* set, pic, name, text"):
        read(path, caption="nothing")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("x.json", "{", "x.json: not JSON"), ("x.json", {"a": 1}, "neither COCO captions"),
     ("x.json", [3], "record 0: not an object"), ("x.json", [{"file_name": "a"}], "record 0: needs"),
     ("x.json", {"images": [{"id": 1}], "annotations": []}, "image 0: has no id and file_name"),
     ("x.json", COCO | {"annotations": [{"image_id": 1, "caption": "x"}]}, "annotation 0"),
     ("x.csv", "image,caption\na,b,c\n", "x.csv:2: 3 columns where the file has 2"),
     ("x.txt", "a.png#0\tone\nnothing here\n", "x.txt:2: no image name"),
     ("x.tsv", "image\tcaption\tsplit\na\tb\tfoo\n", "x.tsv:2: part 'foo'"),
     ("x.tsv", "image\tcaption\tsplit\na\tb\ttest\na\tc\ttrain\n", "x.tsv:3: a is in part 'train' here and 'test'"),
     ("x.csv", "first,second,third\na,b,c\n", "--caption-column: one of")],
)  # fmt: skip
def test_bad_captions_are_told_with_file_and_line(tmp_path, name, content, said):
    with pytest.raises(UserError, match=said) as caught:
        read(put(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_bad_lines_may_be_skipped_and_are_counted(tmp_path):
    found = read(put(tmp_path / "x.txt", "a.png#0\tone\nnothing\nnothing\nb.png#0\ttwo\n"), bad="skip")
    assert plain(found) == [("a.png", ["one"]), ("b.png", ["two"])]
    assert found.notes == [f"2 lines skipped, the first: {tmp_path / 'x.txt'}:2: no image name and caption with a tab "
                           "between them"]  # fmt: skip
    astray = COCO | {"annotations": [{"image_id": 1, "caption": "x"}, *COCO["annotations"]]}
    found = read(put(tmp_path / "x.json", astray), bad="skip")
    assert plain(found) == SAID
    assert "1 annotation skipped" in found.notes[0]


def test_captions_in_words_and_back():
    text = "  A man's  T-shirt, (red): 50% off! "
    words = caption_units(text, "word", True)
    assert words == ["a", "man's", "t-shirt", ",", "(", "red", ")", ":", "50", "%", "off", "!"]
    assert caption_text(words, "word") == "a man's t-shirt, (red): 50% off!"
    assert caption_units("A cat.", "word", False) == ["A", "cat"]
    assert caption_units("e\u0301 x", "char", False) == ["é", " ", "x"]
    assert caption_text(["a", "b"], "char") == "ab"
    assert caption_units("  ", "word", True) == []


def test_shapes_keep_their_combinations_to_their_parts():
    made = generate_shapes(400, 24, heldout=0.1, dev=0.1)
    assert made.images.shape == (400, 24, 24, 3)
    assert [made.parts.count(p) for p in ("train", "dev", "test")] == [324, 36, 40]
    for k, part in enumerate(made.parts):
        looks = [" ".join(caption.split()[1:4]) for caption in made.captions[k]]
        for other, kept in made.heldout.items():
            assert len(kept) == 4
            assert bool(set(looks) & set(kept)) == (part == other), (part, looks)
    said = [c for captions, p in zip(made.captions, made.parts, strict=True) if p == "train" for c in captions]
    trained = [" ".join(caption.split()[1:4]) for caption in said]
    for look in made.heldout["dev"] + made.heldout["test"]:
        size, colour, kind = look.split()
        for pair in ({size, colour}, {size, kind}, {colour, kind}):
            assert any(pair <= set(other.split()) for other in trained), pair
    words = set(" ".join(said).split())
    assert words >= {*COLOURS, *SHAPES}
    again = generate_shapes(400, 24, heldout=0.1, dev=0.1)
    assert np.array_equal(made.images, again.images)
    assert made.captions == again.captions


def test_both_sentences_about_shapes_are_true():
    """The two shapes lie where each sentence says: told apart by where the picture has which colour."""
    made = generate_shapes(200, 48, heldout=0.0, dev=0.0, seed=3)
    seen = 0
    for image, said in zip(made.images.astype(int), made.captions, strict=True):
        first, second = said[0].split(), said[1].split()
        colours = [np.array(COLOURS[w[2]]) for w in (first, second)]
        if first[2] == second[2] or np.abs(colours[0] - colours[1]).sum() < 250:
            continue
        seen += 1
        spots = [np.argwhere(np.abs(image - c).sum(-1) < 75).mean(0) for c in colours]
        (y0, x0), (y1, x1) = spots
        true = {"above": y0 < y1, "below": y0 > y1, "left": x0 < x1, "right": x0 > x1}
        back = {"above": "below", "below": "above", "left": "right", "right": "left"}
        assert true[first[4]], said
        assert second[4] == back[first[4]]
    assert seen > 80
