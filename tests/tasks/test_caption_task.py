"""The captioning task: reading and its messages, parts, the stream, reports, a bundle and back."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.tasks.caption_cases import corpus_of, small, task_of
from unrolled.errors import UserError
from unrolled.tasks.caption import face, pictures
from unrolled.tasks.caption.baselines import constant, nearest
from unrolled.tasks.caption.config import CaptionConfig, CaptionData, CaptionPredict
from unrolled.tasks.caption.reading import read_corpus
from unrolled.tasks.caption.recognise import recognise
from unrolled.tasks.caption.report import ALIKE, judge
from unrolled.tasks.caption.task import IGNORED
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}


@pytest.fixture
def photos(tmp_path):
    """Twelve plain pictures in ``images/`` and a table about them; ``photos(bad rows)`` gives its path."""
    (tmp_path / "images").mkdir()

    def make(*more, count=12):
        lines = ["image,caption"]
        for k in range(count):
            name = list(COLOURS)[k % 3]
            Image.new("RGB", (20 + k, 16), COLOURS[name]).save(tmp_path / "images" / f"{k}.png")
            lines += [f"{k}.png,a {name} thing", f"{k}.png,something {name}"]
        path = tmp_path / "captions.csv"
        path.write_text("\n".join([*lines, *more]) + "\n")
        return str(path)

    return make


def test_reading_finds_pictures_and_draws_parts_by_image(photos):
    corpus = read_corpus([photos()], CaptionData(image_size=8, heldout=0.3, dev=0.3))
    assert sorted(np.concatenate(list(corpus.parts.values())).tolist()) == list(range(12))
    assert all(len(rows) for rows in corpus.parts.values())
    assert corpus.units[1] == [["a", "green", "thing"], ["something", "green"]]
    assert corpus.pictures.batch([0, 2]).pixels.shape == (2, 8, 8, 3)
    assert "12 images, 24 captions" in corpus.summary
    again = read_corpus([photos()], CaptionData(image_size=8, heldout=0.3, dev=0.3))
    assert again.digest() == corpus.digest()
    assert read_corpus([photos()], CaptionData(image_size=9, heldout=0.3, dev=0.3)).digest() != corpus.digest()


def test_bad_images_are_counted_named_and_skipped_or_refused(photos, tmp_path):
    path = photos("gone.png,a lost thing", "text.png,no picture")
    (tmp_path / "images" / "text.png").write_text("text")
    with pytest.raises(UserError, match=r"2 images of 14 cannot be used: gone.png: missing \(named at .*csv:26\)"):
        read_corpus([path], CaptionData(image_size=8))
    corpus = read_corpus([path], CaptionData(image_size=8, bad="skip"))
    assert len(corpus.names) == 12
    assert "left out: 2 images of 14" in corpus.notes[0]
    with pytest.raises(UserError, match=r"--images nowhere: no such folder"):
        read_corpus([path], CaptionData(images="nowhere"))
    with pytest.raises(UserError, match="none is left"):
        read_corpus([path], CaptionData(images=str(tmp_path), bad="skip"))
    Image.new("1", (3000, 2000)).save(tmp_path / "images" / "text.png")
    with pytest.raises(UserError, match=r"text.png: 3000 x 2000 pixels, above the limit of 5 megapixels"):
        read_corpus([photos("text.png,large")], CaptionData(image_size=8, megapixels=5.0))


def test_what_was_done_to_images_is_counted(photos, tmp_path):
    path = photos()
    for k in range(2):
        Image.new("CMYK", (9, 9)).save(tmp_path / "images" / f"{k}.png", "TIFF")
    corpus = read_corpus([path], CaptionData(image_size=8))
    assert "2 images: is CMYK, converted to RGB" in corpus.notes


def test_empty_and_long_captions(photos):
    with pytest.raises(UserError, match=r"captions.csv:26: an empty caption \(1 in all\)"):
        read_corpus([photos("1.png,")], CaptionData(image_size=8))
    corpus = read_corpus([photos("1.png,", "1.png,one two three four five")],
                         CaptionData(image_size=8, bad="skip", longest=4))  # fmt: skip
    assert len(corpus.units[1]) == 2
    assert "1 empty caption left out" in corpus.notes[0]
    assert "1 caption of more than 4 units left out" in corpus.notes[1]


def test_restval_must_be_said(tmp_path):
    records = []
    for k, split in enumerate(["train", "restval", "restval", "val", "test"]):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{k}.png")
        records.append({"filename": f"{k}.png", "filepath": "val2014", "split": split, "sentences": [{"raw": "x"}]})
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": records}))
    with pytest.raises(UserError, match="2 images in the part restval: say --restval train"):
        read_corpus([str(path)], CaptionData(image_size=4))
    found = {rest: read_corpus([str(path)], CaptionData(image_size=4, restval=rest)) for rest in ("train", "leave-out")}
    assert [len(found["train"].parts[p]) for p in ("train", "dev", "test")] == [3, 1, 1]
    assert [len(found["leave-out"].parts[p]) for p in ("train", "dev", "test")] == [1, 1, 1]


def test_lists_of_parts_and_groups(photos, tmp_path):
    (tmp_path / "test.txt").write_text("3.png\n4.png\n")
    corpus = read_corpus(
        [photos()], CaptionData(image_size=8, test_list=str(tmp_path / "test.txt"), dev=0.0, heldout=0.9)
    )
    assert corpus.parts["test"].tolist() == [3, 4]
    (tmp_path / "bad.txt").write_text("x\n")
    with pytest.raises(UserError, match="names no image that has a caption"):
        read_corpus([photos()], CaptionData(image_size=8, test_list=str(tmp_path / "bad.txt")))
    for seed in range(4):
        corpus = read_corpus([photos()], CaptionData(image_size=8, group_until=" thing", heldout=0.4, split_seed=seed))
        for rows in corpus.parts.values():
            assert len(rows) % 4 == 0  # four pictures share "a red"


def test_arrays_go_by_order_or_name(tmp_path):
    np.savez(tmp_path / "i.npz", images=np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4))
    path = tmp_path / "t.tsv"
    path.write_text("caption\na\nb\nc\n")
    data = CaptionData(image_size=4, images=str(tmp_path / "i.npz"), heldout=0.0, dev=0.0)
    corpus = read_corpus([str(path)], data)
    assert corpus.pictures[1][0, 0, 0] == 16
    path.write_text("caption\na\nb\n")
    with pytest.raises(UserError, match="3 images, and the captions are of 2"):
        read_corpus([str(path)], data)
    with pytest.raises(UserError, match=r"names no image; give the images in order with --images"):
        read_corpus([str(path)], CaptionData())
    np.savez(tmp_path / "i.npz", images=np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4), ids=[7, 8, 9])
    path.write_text("image,caption\n000008.jpg,b\n7.jpg,a\n".replace(",", "\t"))
    assert read_corpus([str(path)], data).pictures[0][0, 0, 0] == 16


def test_the_stream_gives_every_caption_once_with_its_picture():
    task = task_of(corpus_of())
    stream, seen = task.stream(), []
    for _ in range(stream.steps_per_epoch):
        batch = stream.next()
        for k, row in enumerate(batch.rows):
            n = batch.lengths[k]
            words = task.vocabulary.decode(batch.ids[1:n, k])
            assert words in task.corpus.units[row]
            assert batch.ids[0, k] == task.vocabulary.start
            assert batch.targets[n - 1, k] == task.vocabulary.end
            assert np.array_equal(batch.targets[: n - 1, k], batch.ids[1:n, k])
            assert (batch.targets[n:, k] == IGNORED).all()
            seen.append((int(row), tuple(words)))
    assert len(seen) == len(set(seen)) == len(task.of_part["train"])
    assert task.describe()["parts"]["train"] == stream.units_per_epoch


def test_loss_is_nats_a_word_and_smoothing_is_of_the_objective_alone():
    corpus = corpus_of()
    task, smooth = task_of(corpus), task_of(corpus, small(smoothing=0.2))
    torch.manual_seed(0)
    model = task.build().double().eval()
    batch = task.stream().next()
    loss = task.loss(model, batch, {})
    scene = task.scene(model, batch.rows)
    scores = model(torch.from_numpy(batch.ids), scene).log_softmax(-1)
    total = sum(-scores[t, k, batch.targets[t, k]] for k in range(len(batch.rows)) for t in range(batch.lengths[k]))
    assert loss.units == batch.lengths.sum()
    assert loss.nats.item() == pytest.approx(total.item() / loss.units)
    assert loss.objective.item() == pytest.approx(loss.nats.item())
    other = smooth.loss(model, batch, {})
    assert other.nats.item() == pytest.approx(loss.nats.item())
    assert other.objective.item() != pytest.approx(loss.nats.item())


def test_pictures_move_in_training_alone():
    task = task_of(corpus_of(), shift=3, flip=True)
    model = task.build().double().eval()
    rows = task.corpus.parts["train"][:4]
    assert torch.equal(task.scene(model, rows).seen.memory, task.scene(model, rows).seen.memory)
    torch.manual_seed(1)
    first = task.scene(model.train(), rows).seen.memory
    assert not torch.equal(first, task.scene(model, rows).seen.memory)
    torch.manual_seed(1)
    assert torch.equal(first, task.scene(model, rows).seen.memory)


def test_evaluation_and_report():
    task = task_of(corpus_of())
    torch.manual_seed(0)
    model = task.build().eval()
    with torch.no_grad():
        found = task.evaluate(model, "dev")
        report = task.report(model, "test")
    assert found.units == task.describe()["parts"]["dev"]
    assert found.interval[0] < found.nats < found.interval[1]
    assert {"token_f1", "exact", "bleu4", "cider", "distinct"} <= set(found.figures)
    assert next(iter(report.figures)) == "token_f1"
    assert [set(figures) for _, figures in report.baselines] == [set(report.figures)] * 2
    assert len(report.rows) == len(task.corpus.parts["test"])
    assert len({tuple(row) for row in report.rows}) == 1
    assert task.sample(model, {}, 20, 1).count("said by people") == 3


def test_equal_captions_are_warned_of():
    task = task_of(corpus_of())
    model = task.build().eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[task.vocabulary.encode(["red"])] = 5.0
    report = task.report(model, "test", CaptionPredict(max_length=2))
    assert report.figures["distinct"].value == 1
    assert ("warning", ALIKE) in report.tables


def test_figures_of_characters_count_edits():
    found = judge([list("abc"), list("x y")], [[list("abd"), list("zzz")], [list("x y")]], "char")
    assert found["edit"].value == pytest.approx(1 / 6)
    assert found["edit"].low_is_good
    assert found["exact"].value == 0.5
    assert found["token_f1"].value == 0.5
    found = judge([list("abc"), list("xyz" * 9)], [[list("abcd" * 9)], [list("x")]], "char")
    assert found["edit"].value == pytest.approx((33 + 26) / (36 + 1))
    low, high = found["edit"].interval
    assert (low + high) / 2 == pytest.approx(found["edit"].value)  # of the figure, not of a mean over captions


def test_marks_count_for_token_f1_alone():
    found = judge([["woman", ":", "tall"]], [[["man", ":", "tall"]]], "word")
    assert found["token_f1"].value == pytest.approx(2 / 3)
    assert found["bleu1"].value == 0.5


def test_baselines():
    corpus = corpus_of()
    train, test = corpus.parts["train"], corpus.parts["test"]
    found = nearest(corpus.pictures, train, test, block=3)
    pixels = [corpus.pictures[k].astype(float).ravel() for k in range(len(corpus.names))]
    for k, near in zip(test, found, strict=True):
        assert near == min(train, key=lambda j: ((pixels[k] - pixels[j]) ** 2).sum())
    assert constant([[["a"]], [["a", "b"]], [["a", "c"]], [["a"]]], np.arange(4)) == ["a"]


def width(path):
    with Image.open(path) as drawn:
        return drawn.size[0]


@pytest.mark.parametrize("image_as", ["attend", "first"])
def test_a_bundle_answers_as_the_task_did(photos, tmp_path, image_as):
    path = photos()
    data = CaptionData(image_size=8, heldout=0.3, dev=0.3)
    task = face.open_task([path], data, small(image_as=image_as), TrainConfig(batch=4))
    torch.manual_seed(0)
    model = task.build().eval()
    config = json.loads(json.dumps({**task.settings(), "text": {"paths": [path]}}))
    tokens = json.loads(json.dumps(task.tokens()))
    loaded = face.load(config, model.state_dict(), tokens, "RUN")
    with torch.no_grad():
        before = task.report(model, "test")
    after = loaded.evaluate(None, "test", CaptionPredict())
    assert after.figures == before.figures
    assert after.rows == before.rows
    inputs = [str(tmp_path / "images" / f"{k}.png") for k in task.corpus.parts["test"]]
    answers = list(loaded.predict(inputs, CaptionPredict(beam=2, nbest=2)))
    assert [a.json["input"] for a in answers] == inputs
    assert all(len(a.json["captions"]) == 2 for a in answers)
    greedy = list(loaded.predict(inputs, CaptionPredict()))
    assert [a.json["caption"] for a in greedy] == [row["predicted"] for row in after.rows]
    whole = loaded.evaluate([path], "test", CaptionPredict())
    assert len(whole.rows) == 12
    if image_as == "attend":
        drawn = next(loaded.predict(inputs[:1], CaptionPredict(draw=str(tmp_path / "drawn")))).json["attention"]
        assert width(drawn) > 50
        after.pictures["attention.png"](tmp_path / "attention.png")
        after.pictures["captions.png"](tmp_path / "captions.png")
        assert width(tmp_path / "captions.png") > 50
    else:
        with pytest.raises(UserError, match="no attention over an image"):
            next(loaded.predict(inputs[:1], CaptionPredict(draw=str(tmp_path / "drawn"))))
    with pytest.raises(UserError, match=r"nowhere.png: not there"):
        next(loaded.predict(["nowhere.png"], CaptionPredict()))
    (tmp_path / "captions.csv").write_text("image,caption\n1.png,changed\n2.png,x\n3.png,z\n")
    with pytest.raises(UserError, match="has changed"):
        loaded.evaluate(None, "test", CaptionPredict())


def test_damaged_bundles_are_told():
    task = task_of(corpus_of())
    model, tokens = task.build(), task.tokens()
    config = task.settings()
    with pytest.raises(UserError, match="do not fit"):
        face.load(config | {"model": config["model"] | {"hidden": 9}}, model.state_dict(), tokens, "RUN")
    with pytest.raises(UserError, match="damaged"):
        face.load(config, model.state_dict(), {k: v for k, v in tokens.items() if k != "inputs"}, "RUN")


def test_a_model_starts_from_an_older_one(photos):
    path = photos()
    old = task_of(corpus_of())
    torch.manual_seed(0)
    weights = old.build().state_dict()
    data = CaptionData(image_size=16, heldout=0.0)
    task = face.open_task([path], data, small(), TrainConfig(batch=4), start_from=(weights, old.tokens()))
    model = task.build()
    assert torch.equal(model.rnn.weight_hh_l0, weights["rnn.weight_hh_l0"])
    mine, theirs = task.vocabulary.encode(["red"])[0], old.vocabulary.encode(["red"])[0]
    assert torch.equal(model.embedding.weight[mine], weights["embedding.weight"][theirs])
    assert any("units kept" in note for note in task.notes)


def test_precomputed_features(photos, tmp_path):
    np.savez(tmp_path / "f.npz", features=np.random.default_rng(0).normal(size=(12, 2, 2, 5)).astype(np.float32),
             names=[f"{k}.png" for k in range(12)])  # fmt: skip
    data = CaptionData(features=str(tmp_path / "f.npz"))
    task = face.open_task([photos()], data, CaptionConfig(hidden=8, memory=8, embedding=4), TrainConfig(batch=4))
    assert task.model_config.encoder == "features"
    model = task.build().eval()
    with torch.no_grad():
        assert task.evaluate(model, "train").units == task.describe()["parts"]["train"]
    config = {**task.settings(), "text": {"paths": [str(tmp_path / "captions.csv")]}}
    loaded = face.load(config, model.state_dict(), json.loads(json.dumps(task.tokens())), "RUN")
    answers = list(loaded.predict([str(tmp_path / "f.npz")], CaptionPredict()))
    assert [a.json["input"] for a in answers] == [f"{k}.png" for k in range(12)]
    with pytest.raises(UserError, match="--encoder features: needs --features"):
        face.open_task([], CaptionData(), CaptionConfig(encoder="features"), TrainConfig())
    with pytest.raises(UserError, match="give one of the two"):
        face.open_task([], data, CaptionConfig(encoder="timm:x"), TrainConfig())


class StubBackbone(nn.Module):
    """What timm gives, as far as it is used."""

    num_features, num_prefix_tokens = 6, 1

    def __init__(self, tokens):
        super().__init__()
        self.conv, self.tokens, self.calls = nn.Conv2d(3, 6, 4, 4), tokens, 0

    def forward_features(self, x):
        self.calls += 1
        found = self.conv(x)
        if not self.tokens:
            return found
        return torch.cat((found.mean((2, 3))[:, None], found.flatten(2).transpose(1, 2)), 1)


@pytest.fixture
def timm(monkeypatch):
    made = []

    def create_model(name, *, pretrained, num_classes):
        if name == "nothing":
            raise RuntimeError(f"Unknown model ({name})\nmore")
        torch.manual_seed(0)
        made.append((name, pretrained, StubBackbone(name == "vit")))
        return made[-1][2]

    stub, sub = types.ModuleType("timm"), types.ModuleType("timm.data")
    stub.create_model, stub.__version__, stub.data = create_model, "1.2.3", sub
    known = {"input_size": (3, 8, 8), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    sub.resolve_model_data_config = lambda model: known
    monkeypatch.setitem(sys.modules, "timm", stub)
    monkeypatch.setitem(sys.modules, "timm.data", sub)
    return made


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_timm_encoder_is_run_once_for_each_picture(photos, timm, name, tmp_path, monkeypatch):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    shape = small(encoder=f"timm:{name}")
    path = photos()
    task = face.open_task([path], CaptionData(), shape, TrainConfig(batch=4))
    assert (timm[0][0], timm[0][1]) == (name, True)
    assert task.data.image_size == 8
    model = task.build().eval()
    assert model.encoder is None
    assert task.corpus.pictures.grid == (2, 2)
    pixels = torch.full((1, 8, 8, 3), 0.0) + torch.tensor(COLOURS["red"])
    scaled = ((pixels / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
    expected = timm[0][2].conv(scaled).flatten(2)[0].t()
    torch.testing.assert_close(torch.from_numpy(task.corpus.pictures[0]), expected, rtol=1e-4, atol=1e-4)
    again = face.open_task([path], CaptionData(), shape, TrainConfig(batch=4))
    assert any("0 computed, 12 known already" in note for note in again.notes)
    config = {**task.settings(), "text": {"paths": [path]}}
    loaded = face.load(config, model.state_dict(), json.loads(json.dumps(task.tokens())), "RUN")
    answer = next(loaded.predict([str(tmp_path / "images" / "1.png")], CaptionPredict()))
    assert answer.json["caption"]


def test_a_timm_encoder_may_be_trained_along(photos, timm):
    shape = small(encoder="timm:resnet", train_encoder=True)
    task = face.open_task([photos()], CaptionData(image_size=8), shape, TrainConfig(batch=4))
    model = task.build()
    task.loss(model, task.stream().next(), {}).objective.backward()
    assert model.encoder.model.conv.weight.grad.abs().max() > 0
    loaded = face.load(task.settings(), model.state_dict(), task.tokens(), "RUN")
    assert timm[-1][1] is False
    assert torch.equal(loaded.model.encoder.model.conv.weight, model.encoder.model.conv.weight)


def test_timm_that_is_missing_or_does_not_know_a_name(monkeypatch, timm):
    with pytest.raises(UserError, match=r"timm:nothing: timm cannot make it \(Unknown model"):
        face.open_task([], CaptionData(), CaptionConfig(encoder="timm:nothing"), TrainConfig())
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm is not installed .* pip install timm, or use --encoder small"):
        face.open_task([], CaptionData(), CaptionConfig(encoder="timm:resnet18"), TrainConfig())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"images": "a", "features": "b"}, "--images and --features"), ({"features": "b", "flip": True}, "--shift and"),
     ({"fit": "keep", "shift": 2}, "--shift and --flip: need"), ({"shift": 64}, "--shift 64: must be below"),
     ({"group_until": ""}, "--group-until"), ({"fit": "x"}, "--fit x: not one of")],
)  # fmt: skip
def test_settings_of_data_that_contradict_each_other(settings, said):
    with pytest.raises(UserError, match=said):
        CaptionData(**settings)


def test_settings_of_models_and_answers_that_contradict_each_other():
    for settings, said in (
        ({"encoder": "resnet"}, "not one of small, features, timm:NAME"), ({"encoder": "timm:"}, "--encoder timm:"),
        ({"attention": "dot", "memory": 3}, "--attention dot"), ({"train_encoder": True}, "--train-encoder"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            CaptionConfig(**settings)
    with pytest.raises(UserError, match=r"--nbest 3: a search with --beam 2"):
        CaptionPredict(beam=2, nbest=3)


def test_files_are_recognised_by_their_head(tmp_path):
    cases = {
        "coco.json": '{"annotations": [{"image_id": 1, "caption": "x"}]}',
        "dataset_flickr8k.json": '{"images": [{"sentences": [], "filename": "a.jpg"}]}',
        "list.json": '[{"file_name": "a", "captions": []}]',
        "token.txt": "a.jpg#0\tx\n",
        "captions.csv": "image,caption\n",
    }
    for name, head in cases.items():
        (tmp_path / name).write_text(head)
        assert recognise(tmp_path / name), name
    for name, head in {"a.txt": "plain text", "b.json": '{"a": 1}', "c.csv": "text,label\n", "d.npz": "PK"}.items():
        (tmp_path / name).write_text(head)
        assert recognise(tmp_path / name) is None, name
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_text("")
    assert recognise(tmp_path / "f") is None
    (tmp_path / "f" / "captions.txt").write_text("")
    assert recognise(tmp_path / "f")
    assert recognise(tmp_path / "nowhere") is None


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    """Law 7, with what draws from the random stream: moves, mirrors, dropout, hidden words; and with the running
    averages of the normalisation."""
    settings = TrainConfig(batch=8, bptt="full", steps=6, threads=1, checkpoint_every=2, eval_every=3, sample_every=0)
    shape = small(dropout=0.3, word_dropout=0.3)

    def task():
        return task_of(corpus_of(), shape, shift=2, flip=True)

    whole = Trainer(task(), settings, tmp_path / "whole")
    whole.train()
    cut = task()
    loss, count = cut.loss, []

    def ends(*arguments):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return loss(*arguments)

    cut.loss = ends
    with pytest.raises(KeyboardInterrupt):
        Trainer(cut, settings, tmp_path / "cut").train()
    resumed = Trainer(task(), settings, tmp_path / "cut", resume=True)
    resumed.train()
    after = resumed.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in whole.model.state_dict().items())


def test_the_grid_is_green_where_any_of_a_pictures_captions_says_the_same(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: drawn.append(figure))
    corpus = corpus_of()
    rows = corpus.parts["test"][:3]
    targets = [["a dog", "A Cat"], ["a dog", "a cow"], ["a cat"]]
    pictures.grid(corpus.pictures, rows, ["a cat"] * 3, targets)(tmp_path / "x.png")
    axes = drawn[0].axes
    assert [axis.title.get_color() for axis in axes] == ["#117733", "black", "#117733"]
    assert [[text.get_text() for text in axis.texts] for axis in axes] == [[], ["a dog"], []]
