"""The tagging task under the laws of the house, and what it says of itself."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tolerances import assert_close, assert_same
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.tasks import long
from unrolled.tasks.tag.config import TagConfig, TagData, TagPredict
from unrolled.tasks.tag.encoding import Batch
from unrolled.tasks.tag.face import load, open_task
from unrolled.tasks.tag.model import Tagger, over_time
from unrolled.tasks.tag.report import BASELINE
from unrolled.tasks.tag.scoring import batch_nats, read_part
from unrolled.tasks.tag.task import TagTask
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

SMALL = TagConfig(hidden=12, embedding=8, letters=6, letter_hidden=5, dropout=0.0, word_dropout=0.0)
WHOLE = TagData(heldout=0.0, dev=0.0)
SENTENCES = [
    "The/DET old/ADJ man/NOUN boats/VERB ./PUNCT",
    "Boats/NOUN sail/VERB",
    "She/PRON saw/VERB the/DET saw/NOUN ,/PUNCT and/CCONJ fled/VERB !/PUNCT",
    "Old/ADJ saws/NOUN rust/VERB",
    "Rust/NOUN never/ADV sleeps/VERB",
    "I/PRON book/VERB a/DET book/NOUN",
    "a/DET",
    "Flies/NOUN like/VERB honey/NOUN",
    "Time/NOUN flies/VERB like/ADP an/DET arrow/NOUN",
    "So/ADV it/PRON goes/VERB",
]


def columns(sentences: list[str]) -> str:
    return "".join("\n".join(pair.replace("/", "\t") for pair in s.split()) + "\n\n" for s in sentences)


def make(
    tmp_path: Path, sentences: list[str] = SENTENCES, model: TagConfig = SMALL, data: TagData = WHOLE, **train: Any
) -> TagTask:
    path = tmp_path / "train.tsv"
    path.write_text(columns(sentences), encoding="utf-8")
    return open_task([str(path)], data, model, TrainConfig(**{"batch": 4, "steps": 1, "threads": 1, **train}))


def arrays(tmp_path: Path, numbers: bool = False, model: TagConfig = SMALL, **train: Any) -> TagTask:
    """Running parities of random bits, or their running sums."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (10, 8, 1)).astype(float)
    y = x[:, :, 0].cumsum(1) if numbers else x[:, :, 0].cumsum(1).astype(int) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y, lengths=rng.integers(1, 9, 10))
    return open_task([str(tmp_path / "a.npz")], WHOLE, model, TrainConfig(**{"batch": 5, "steps": 1, **train}))


def built(task: TagTask, dtype: torch.dtype = torch.float64, seed: int = 3) -> Tagger:
    torch.manual_seed(seed)
    model = task.build().to(dtype).eval()
    assert isinstance(model, Tagger)
    with torch.no_grad():
        model.head.weight.mul_(50.0)
    return model


def padded(batch: Batch, more: int = 3) -> Batch:
    """The same batch with more steps and more letters."""
    longer = copy.copy(batch)
    longer.steps = batch.steps + more
    if batch.letters is not None:
        longer.letters = [(np.concatenate((ids, np.full((more, ids.shape[1]), 1))), n) for ids, n in batch.letters]
    return longer


def test_a_long_sequence_in_pieces_has_the_same_gradient_and_truncation_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grads = []
    for limit, bptt in ((1 << 28, "full"), (1000, "full"), (1 << 28, "2")):
        monkeypatch.setattr(long, "LIMIT", limit)
        task = arrays(tmp_path, model=dataclasses.replace(SMALL, layers=2), bptt=bptt)
        torch.manual_seed(1)
        model = task.build().double()
        assert ("piece by piece" in " ".join(task.notes)) == (limit == 1000)
        assert ("cut every 2 steps, in 7 of 10 sequences" in " ".join(task.notes)) == (bptt == "2")
        task.loss(model, task.stream().next(), {}).objective.backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(grads[0], grads[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not any(torch.equal(a, b) for a, b in zip(grads[0][:2], grads[2][:2], strict=True))


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", ["reference", "native"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_law_4_more_padding_changes_no_bit(
    tmp_path: Path, cell: str, engine: str, dtype: torch.dtype, crf: bool
) -> None:
    task = make(tmp_path, model=TagConfig(**{**to_dict(SMALL), "cell": cell, "engine": engine, "crf": crf}))
    model, batch = built(task, dtype), task.stream().next()
    results = []
    for one in (batch, padded(batch)):
        scores = model(one)
        nats = batch_nats(model, scores, one)
        results.append((scores, nats, *torch.autograd.grad(nats.sum(), list(model.parameters()))))
    assert_same(results[1], results[0])


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_law_4_padding_gets_exactly_zero_gradient(tmp_path: Path, engine: str) -> None:
    task = make(tmp_path, model=TagConfig(**{**to_dict(SMALL), "engine": engine}))
    model, batch = built(task), task.stream().next()
    real = np.isin(np.arange(batch.steps * batch.size), batch.places)
    assert not real.all()
    clean = batch_nats(model, model(batch), batch).sum()
    seen: list[torch.Tensor] = []

    def watch(module: Any, args: tuple[torch.Tensor, ...], kwargs: Any) -> Any:
        x = args[0].detach().clone()
        x.view(-1, x.shape[-1])[~real] = 7.0
        seen.append(x.requires_grad_())
        return (x, *args[1:]), kwargs

    model.rnn.register_forward_pre_hook(watch, with_kwargs=True)
    loss = batch_nats(model, model(batch), batch).sum()
    assert_close(loss, clean)  # whatever stands in the padding
    gradient = torch.autograd.grad(loss, seen[0])[0].flatten(0, 1)
    assert torch.count_nonzero(gradient[~real]) == 0
    assert (gradient[real] != 0).any(1).all()


@pytest.mark.parametrize("crf", [False, True])
def test_law_4_no_sentence_hears_of_another(tmp_path: Path, crf: bool) -> None:
    task = make(tmp_path, model=TagConfig(**{**to_dict(SMALL), "engine": "native", "crf": crf}))
    model, part = built(task), task.parts["train"]
    together = read_part(model, part)
    alone = [read_part(model, part.take([k])) for k in range(len(SENTENCES))]  # type: ignore[attr-defined]
    assert np.array_equal(together.predicted, np.concatenate([one.predicted for one in alone]))
    nats = np.concatenate([one.nats for one in alone])
    # The head's product and a CRF's sums run over all words at once, which rounds otherwise than over a few.
    assert np.allclose(together.nats, nats, rtol=1e-12, atol=0)
    assert not np.allclose(nats[0], nats[8], rtol=1e-3)


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh", "rnn-relu"])
def test_law_6_the_first_loss_is_ln_v_and_parameters_follow_a_formula(tmp_path: Path, cell: str, crf: bool) -> None:
    model = TagConfig(cell=cell, hidden=32, embedding=16, letters=10, letter_hidden=8, crf=crf)
    task = make(tmp_path, model=model, batch=10)
    torch.manual_seed(1)
    fresh = task.build()
    loss = task.loss(fresh, task.stream().next(), {})
    assert loss.units == sum(len(s.split()) for s in SENTENCES)
    assert float(loss.nats) == pytest.approx(math.log(9), rel=0.03)
    assert task.describe()["first_loss"] == pytest.approx(math.log(9))
    assert sum(p.numel() for p in fresh.parameters()) == task.describe()["parameters"]


@pytest.mark.parametrize(
    "changes",
    [{"layer_norm": True, "letter_layers": 2}, {"bidirectional": False, "letters": 0}, {"embedding": 0, "cell": "gru"}],
)
def test_law_6_parameters_of_other_shapes(tmp_path: Path, changes: dict[str, Any]) -> None:
    task = make(tmp_path, model=TagConfig(**{**to_dict(SMALL), **changes}))
    assert sum(p.numel() for p in task.build().parameters()) == task.describe()["parameters"]


@pytest.mark.parametrize("crf", [False, True])
def test_law_6_ten_sentences_are_learnt_without_error(tmp_path: Path, crf: bool) -> None:
    task = make(tmp_path, model=TagConfig(**{**to_dict(SMALL), "crf": crf}), batch=10, steps=80, lr=0.03, warmup=5)
    result = Trainer(task, task.train_config, tmp_path / "run").train()
    assert result.stopped_by == "budget"
    found = task.evaluate(result_model(task, tmp_path), "train")
    assert found.figures["accuracy"] == 1.0
    assert found.nats < 0.1


def result_model(task: TagTask, tmp_path: Path) -> Tagger:
    """The weights that a run of a task kept: trained again, which gives the same ones."""
    trainer = Trainer(task, task.train_config, tmp_path / "again")
    trainer.train()
    assert isinstance(trainer.model, Tagger)
    return trainer.model


@pytest.mark.parametrize("numbers", [False, True])
def test_law_6_ten_sequences_of_numbers_are_learnt(tmp_path: Path, numbers: bool) -> None:
    small = TagConfig(**{**to_dict(SMALL), "layers": 1, "hidden": 16})
    task = arrays(tmp_path, numbers, small, batch=10, steps=250, lr=0.03, warmup=5)
    trainer = Trainer(task, task.train_config, tmp_path / "run")
    trainer.train()
    found = task.evaluate(trainer.model, "train").figures
    assert found["rmse"] < 0.1 if numbers else found["accuracy"] == 1.0


def test_law_8_the_best_sequence_is_the_best_of_all(tmp_path: Path) -> None:
    task = make(tmp_path, SENTENCES[5:7], TagConfig(**{**to_dict(SMALL), "crf": True}))
    model, part = built(task), task.parts["train"]
    assert model.crf is not None
    with torch.no_grad():
        for parameter in model.crf.parameters():
            parameter.normal_()
    batch = part.batch([0])
    T, V = batch.steps, model.outputs
    every = torch.tensor(list(itertools.product(range(V), repeat=T))).T.contiguous()
    emissions, _ = over_time(model(batch), batch)
    scores = model.crf.score(emissions.expand(T, every.shape[1], V), every, torch.full((every.shape[1],), T))
    assert read_part(model, part.take([0])).predicted.tolist() == every[:, scores.argmax()].tolist()  # type: ignore[attr-defined]


def test_words_are_dropped_in_training_alone_and_rare_ones_most(tmp_path: Path) -> None:
    often = ["word/N " * 20 + "rare/V"] * 1
    task = make(tmp_path, often, TagConfig(**{**to_dict(SMALL), "word_dropout": 1.0, "letters": 0}))
    model, batch = built(task), task.stream().next()
    assert batch.counts is not None
    assert sorted(set(batch.counts.tolist())) == [1, 20]
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert model.word is not None
    seen: list[torch.Tensor] = []
    model.word.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    torch.manual_seed(0)
    for _ in range(400):
        model(batch)
    dropped = (torch.stack(seen) == 0).double().mean(0)
    rare = torch.from_numpy(batch.counts == 1)
    assert dropped[rare].item() == pytest.approx(1 / 2, abs=0.08)
    assert dropped[~rare].mean().item() == pytest.approx(1 / 21, abs=0.02)


def test_the_baseline_is_each_words_most_frequent_tag(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text(columns(["saw/NOUN saw/VERB flies/VERB new/ADJ"]), encoding="utf-8")
    more = [*SENTENCES, "saw/NOUN saw/NOUN"]
    task = make(tmp_path, more, data=TagData(dev=0.0, test_file=str(tmp_path / "test.tsv")))
    report = task.report(built(task), "test")
    [(name, figures)] = report.baselines
    assert name == BASELINE
    assert figures["accuracy"] == 0.5  # saw: NOUN; flies: VERB; new, unseen: NOUN, the most frequent
    assert figures["unseen_accuracy"] == 0.0
    assert report.figures["unseen"].value == 0.25
    baseline = task.baseline()
    assert baseline is not None
    assert 0.5 < baseline[1] < 2.0
    assert [row["target"] for row in report.rows] == ["NOUN VERB VERB ADJ"]
    assert [title for title, _ in report.tables] == ["by tag", "confusions"]


def test_tags_that_training_lacks_are_told_and_always_wrong(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text(columns(["Boats/NOUN sail/X", "a/DET"]), encoding="utf-8")
    for crf in (False, True):
        model = TagConfig(**{**to_dict(SMALL), "crf": crf})
        task = make(tmp_path, model=model, data=TagData(dev=0.0, test_file=str(tmp_path / "test.tsv")))
        assert any("test: 1 word with tags that are not trained on count as wrong: X (" in n for n in task.notes)
        assert any("seen once in training: " in note for note in task.notes)
        found = task.evaluate(built(task), "test")
        assert found.units == 3
        assert math.isfinite(found.nats)
        assert found.figures["accuracy"] <= 2 / 3


def test_parts_hold_whole_sentences_and_equal_ones_together(tmp_path: Path) -> None:
    many = [f"{a}/N {b}/V" for a in "abcdefgh" for b in "stuvwxyz"] * 2
    task = make(tmp_path, many, data=TagData(heldout=0.2, dev=0.2))
    texts = {part: {row["input"] for row in task.report(built(task), part).rows} for part in ("train", "dev", "test")}
    assert all(texts.values())
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["dev"]
    assert sum(len(t) for t in texts.values()) == 64


@pytest.mark.parametrize(
    ("sentences", "data", "words"),
    [
        (["a/X b/X"], WHOLE, "every unit has the tag 'X'; there is nothing to learn"),
        (["a/X b/Y"], TagData(heldout=0.999), "nothing is left to train on; use --heldout 0 --dev 0"),
    ],
)
def test_nothing_to_learn_is_said_at_the_start(tmp_path: Path, sentences: list[str], data: TagData, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(tmp_path, sentences, data=data)


def test_spans_are_learnt_in_one_scheme_and_answered_in_the_files(tmp_path: Path) -> None:
    lines = ["John/I-PER Smith/I-PER Ann/B-PER came/O", "to/O Rome/I-LOC"]
    task = make(tmp_path, lines, batch=2, steps=60, lr=0.03, warmup=5)
    assert task.known.tags is not None
    assert set(task.known.tags.items) == {"B-PER", "I-PER", "B-LOC", "O"}
    assert task.headline == "span_f1"
    trainer = Trainer(task, task.train_config, tmp_path / "run")
    trainer.train()
    found = task.evaluate(trainer.model, "train").figures
    assert list(found)[:2] == ["span_f1", "accuracy"]
    assert found["span_f1"] == 1.0
    predictor = loaded(task, trainer.model)  # type: ignore[arg-type]
    [answer] = predictor.predict(["John Smith Ann came"], TagPredict(pretokenized=True, output="inline"))
    assert answer.text == "John/I-PER Smith/I-PER Ann/B-PER came/O"
    assert answer.json["spans"][0] == {"start": 0, "end": 2, "type": "PER", "text": "John Smith"}


def loaded(task: TagTask, model: Tagger, paths: list[str] | None = None) -> Any:
    """The model as it comes back from its folder."""
    config = {**task.settings(), "task": "tag", "text": {"paths": paths or []}}
    saved = json.loads(json.dumps([config, task.tokens()]))
    return load(saved[0], model.state_dict(), saved[1], "run")


def test_init_from_copies_by_name(tmp_path: Path) -> None:
    old = make(tmp_path)
    weights = built(old, torch.float32).state_dict()
    path = tmp_path / "new.tsv"
    path.write_text(columns([*SENTENCES[2:], "brand/NEW new/ADJ words/NOUN"]), encoding="utf-8")
    new = open_task([str(path)], WHOLE, SMALL, old.train_config, start_from=(weights, old.tokens() or {}))
    model = new.build()
    place, before = new.known.words.index, old.known.words.index  # type: ignore[union-attr]
    assert torch.equal(model.word.weight[place["saw"]], weights["word.weight"][before["saw"]])  # type: ignore[union-attr, index]
    assert torch.equal(model.rnn.weight_hh_l0, weights["rnn.weight_hh_l0"])  # type: ignore[union-attr]
    assert any(note.startswith("tags: 9 units kept, 1 new: NEW") for note in new.notes)


def test_settings_and_vocabulary_are_plain_and_a_changed_folder_is_refused(tmp_path: Path) -> None:
    task = make(tmp_path)
    model = built(task, torch.float32)
    assert loaded(task, model).known.tags.items == task.known.tags.items  # type: ignore[union-attr]
    config = {**task.settings(), "text": {"paths": []}}
    for tokens in ({}, {"layout": {}, "known": {}, "scheme": None, "cut": "words"}):
        with pytest.raises(UserError, match="run: "):
            load(config, model.state_dict(), tokens, "run")
    with pytest.raises(UserError, match="the weights do not fit"):
        load(config | {"model": to_dict(TagConfig())}, model.state_dict(), task.tokens(), "run")


def test_settings_that_contradict_each_other() -> None:
    for changes, words in (
        ({"embedding": 0, "letters": 0}, "nothing of a word would be read"),
        ({"cell": "gru", "forget_bias": 1.0}, "only --cell lstm"),
        ({"init": "identity"}, "rnn-relu"),
    ):
        with pytest.raises(UserError, match=words):
            TagConfig(**changes)  # type: ignore[arg-type]


def test_a_crf_on_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--crf: scores sequences of tags"):
        arrays(tmp_path, True, TagConfig(crf=True))


def test_the_embedded_default_is_python(tmp_path: Path) -> None:
    task = open_task([], TagData(), SMALL, TrainConfig(steps=1))
    assert "Python's standard library" in task.summary
    assert all(n > 1000 for n in task.describe()["parts"].values())
    [answer] = loaded(task, built(task, torch.float32)).predict(["x = f(a[0])"], TagPredict(output="inline"))
    assert answer.json["words"] == ["x", "=", "f", "(", "a", "[", "0", "]", ")"]
    sample = task.sample(built(task, torch.float32), {}, 30, 5)
    assert sample is not None
    assert "/" in sample


def test_law_7_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """With everything random at once: order, dropout, dropped words."""
    model = TagConfig(**{**to_dict(SMALL), "dropout": 0.4, "word_dropout": 1.0})

    def run(name: str, steps: int, resume: bool = False) -> dict[str, torch.Tensor]:
        task = make(tmp_path, model=model, steps=steps, schedule="constant", lr=0.01, average=0.9)
        trainer = Trainer(task, task.train_config, tmp_path / name, resume=resume)
        trainer.train()
        return trainer.model.state_dict()

    run("cut", 5)
    resumed, whole = run("cut", 9, resume=True), run("whole", 9)
    assert_same(list(resumed.values()), list(whole.values()))
