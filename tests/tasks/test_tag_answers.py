"""What a trained tagger answers, and how it is written: from the library and from the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_house import modules_after
from unrolled.cli.main import main
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.tasks.registry import recognise
from unrolled.tasks.tag.config import TagConfig, TagData, TagPredict
from unrolled.tasks.tag.face import TagPredictor, load, open_task
from unrolled.tasks.tag.recognise import recognise as recognised
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

SMALL = TagConfig(hidden=12, embedding=8, letters=6, letter_hidden=5, dropout=0.0, word_dropout=0.0)
WHOLE = TagData(heldout=0.0, dev=0.0)
PAIRS = [("dogs", "NOUN"), ("bark", "VERB"), ("!", "PUNCT")]


def conllu(pairs: Iterable[tuple[str, str]], upos: bool = True) -> str:
    lines = [f"{k}\t{w}\t_\t{t if upos else '_'}\t_\tN=1\t_\t_\t_\tx" for k, (w, t) in enumerate(pairs, 1)]
    return "\n".join(["# sent_id = 1", *lines, ""]) + "\n"


FILES = {
    "a.conllu": conllu(PAIRS),
    "a.tsv": "".join(f"{w}\t{t}\n" for w, t in PAIRS) + "\n",
    "a.jsonl": json.dumps({"tokens": [w for w, _ in PAIRS], "upos": [t for _, t in PAIRS]}) + "\n",
}


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TagPredictor]:
    """A tagger that knows three words by heart, of each kind of file."""
    made = {}
    for name, text in FILES.items():
        folder = tmp_path_factory.mktemp("answers")
        (folder / name).write_text(text * 2, encoding="utf-8")
        settings = TrainConfig(batch=2, steps=40, lr=0.05, warmup=1, threads=1)
        task = open_task([str(folder / name)], WHOLE, SMALL, settings)
        trainer = Trainer(task, settings, folder / "run")
        trainer.train()
        config = {**task.settings(), "text": {"paths": [str(folder / name)]}}
        made[name] = load(config, trainer.model.state_dict(), json.loads(json.dumps(task.tokens())), "run")
    return made


def ask(predictor: TagPredictor, inputs: Iterable[str], **options: Any) -> list[str]:
    return [answer.text for answer in predictor.predict(inputs, TagPredict(**options))]


def test_text_is_answered_as_the_training_data_is_written(predictors: dict[str, TagPredictor]) -> None:
    [text] = ask(predictors["a.conllu"], ["dogs bark!"])
    assert text.startswith("# text = dogs bark!\n1\tdogs\t_\tNOUN\t_\t_\t_")
    assert text.endswith("3\t!\t_\tPUNCT\t_\t_\t_\t_\t_\t_\n")
    assert ask(predictors["a.tsv"], ["dogs bark!"]) == ["dogs\tNOUN\nbark\tVERB\n!\tPUNCT\n"]
    [line] = ask(predictors["a.jsonl"], ["dogs bark!"])
    assert json.loads(line) == {"tokens": ["dogs", "bark", "!"], "upos": ["NOUN", "VERB", "PUNCT"]}


def test_pretokenized_words_are_left_as_they_are(predictors: dict[str, TagPredictor]) -> None:
    ask_for = {"output": "inline"}
    assert ask(predictors["a.tsv"], ["dogs bark!"], **ask_for) == ["dogs/NOUN bark/VERB !/PUNCT"]
    [text] = ask(predictors["a.tsv"], ["dogs bark!"], pretokenized=True, **ask_for)
    assert [pair.split("/")[0] for pair in text.split()] == ["dogs", "bark!"]
    with pytest.raises(UserError, match="--pretokenized"):
        TagPredict(pretokenized=True, input="jsonl")


def test_conllu_is_told_by_its_lines_and_comes_back_with_its_tags(
    predictors: dict[str, TagPredictor],
) -> None:
    empty = conllu(PAIRS, upos=False) * 2
    answers = ask(predictors["a.conllu"], empty.split("\n"))
    assert "\n".join(answers) + "\n" == conllu(PAIRS) * 2
    assert ask(predictors["a.tsv"], empty.split("\n")) == answers  # whatever the model was trained on
    with pytest.raises(UserError, match=r"input:2: 4 columns between tabs, and CoNLL-U has 10"):
        ask(predictors["a.conllu"], [empty.split("\n")[1], "2\tb\t_\t_"])


def test_columns_and_json_come_back_as_they_came(predictors: dict[str, TagPredictor]) -> None:
    assert ask(predictors["a.tsv"], ["dogs", "bark", "", "!"], input="columns") == [
        "dogs\tNOUN\nbark\tVERB\n", "!\tPUNCT\n"
    ]  # fmt: skip
    assert ask(predictors["a.tsv"], ["dogs\t?", "bark\t?"], input="columns") == ["dogs\tNOUN\nbark\tVERB\n"]
    [line] = ask(predictors["a.jsonl"], ['{"id": 7, "tokens": ["bark"]}'], input="jsonl")
    assert json.loads(line) == {"id": 7, "tokens": ["bark"], "upos": ["VERB"]}
    for bad in ("nothing", '{"id": 7}', '{"tokens": "bark"}', '{"tokens": [""]}'):
        with pytest.raises(UserError, match="input:1: "):
            ask(predictors["a.jsonl"], [bad], input="jsonl")


def test_answers_in_json_and_for_an_empty_text(predictors: dict[str, TagPredictor]) -> None:
    two = list(predictors["a.tsv"].predict(["", "bark"], TagPredict()))
    assert two[0].json == {"words": [], "tags": [], "probabilities": []}
    assert two[1].json["tags"] == ["VERB"]
    assert 0.5 < two[1].json["probabilities"][0] <= 1.0


def test_more_sentences_at_once_change_no_answer(predictors: dict[str, TagPredictor]) -> None:
    many = [f"dogs {'bark ' * k}!" for k in range(150)]
    together = ask(predictors["a.tsv"], many, output="inline")
    assert together[:3] == [ask(predictors["a.tsv"], [text], output="inline")[0] for text in many[:3]]
    assert [len(text.split()) for text in together] == [k + 2 for k in range(150)]


def test_evaluate_on_the_part_and_on_other_files(predictors: dict[str, TagPredictor], tmp_path: Path) -> None:
    predictor = predictors["a.conllu"]
    assert predictor.evaluate(None, "train", TagPredict()).figures["accuracy"].value == 1.0
    assert not predictor.evaluate(None, "test", TagPredict()).figures
    (tmp_path / "b.conllu").write_text(conllu([("dogs", "NOUN"), ("cats", "NOUN")]))
    report = predictor.evaluate([str(tmp_path / "b.conllu")], "test", TagPredict())
    assert report.figures["unseen"].value == 0.5
    changed = dict(predictor.config) | {"text": {"paths": [str(tmp_path / "b.conllu")]}}
    other = TagPredictor(predictor.model, predictor.known, predictor.layout, None, "words", WHOLE, changed, "run")
    with pytest.raises(UserError, match=r"the data it was trained on has changed|nothing to learn"):
        other.evaluate(None, "train", TagPredict())


@pytest.mark.parametrize("numbers", [False, True])
def test_sequences_of_numbers(tmp_path: Path, numbers: bool) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5, 2))
    y = x * 10 + 3 if numbers else (x[:, :, 0] > 0).astype(int)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x=x[:2], lengths=[5, 3])
    model = dataclasses.replace(SMALL, layers=1, hidden=20)
    settings = TrainConfig(batch=6, steps=300, lr=0.03, warmup=5, threads=1)
    task = open_task([str(tmp_path / "a.npz")], WHOLE, model, settings)
    trainer = Trainer(task, settings, tmp_path / "run")
    trainer.train()
    predictor = load(task.settings(), trainer.model.state_dict(), json.loads(json.dumps(task.tokens())), "run")
    answers = list(predictor.predict([str(tmp_path / "b.npz")], TagPredict()))
    if numbers:
        assert [len(a.json["values"]) for a in answers] == [5, 3]
        assert np.allclose(answers[0].json["values"], y[0], atol=3.0)
        figures = predictor.evaluate([str(tmp_path / "a.npz")], "test", TagPredict()).figures
        assert list(figures) == ["rmse", "mae", "r2", "nats"]
    else:
        assert [a.text for a in answers] == [" ".join(map(str, y[0])), " ".join(map(str, y[1, :3]))]
    np.savez(tmp_path / "c.npz", x=x[:, :, :1])
    with pytest.raises(UserError, match="1 numbers a step, and the model reads 2"):
        list(predictor.predict([str(tmp_path / "c.npz")], TagPredict()))


def test_configurations_and_recognition_import_no_torch() -> None:
    loaded = modules_after("import unrolled.tasks.tag.config, unrolled.tasks.tag.recognise")
    assert not loaded & {"torch", "numpy"}


def test_files_that_are_clearly_tagged(tmp_path: Path) -> None:
    (tmp_path / "a.conllu.gz").write_bytes(b"")
    assert recognised(tmp_path / "a.conllu.gz") == "the name ends in .conllu"
    (tmp_path / "a.txt").write_text(FILES["a.conllu"])
    assert recognised(tmp_path / "a.txt") == "its lines are CoNLL-U"
    found = recognise(tmp_path / "a.txt")
    assert found is not None
    assert found[0].name == "tag"
    (tmp_path / "b.txt").write_text("# a text\n1 of them\n")
    assert recognised(tmp_path / "b.txt") is None
    assert recognised(tmp_path / "not-there.txt") is None


def test_from_one_command_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.conllu").write_text(FILES["a.conllu"] * 3)
    (tmp_path / "test.conllu").write_text(conllu([("dogs", "NOUN"), ("run", "VERB")]))
    shape = [f"--{k.replace('_', '-')}={v}" for k, v in to_dict(SMALL).items() if isinstance(v, (int, float)) and
             not isinstance(v, bool)]  # fmt: skip

    def unrolled(*arguments: str) -> str:
        code = main(list(arguments))
        text = capsys.readouterr()
        assert not code, text.err
        return text.out

    told = unrolled("train", "train.conllu", "--test-file", "test.conllu", "--dev", "0", "--steps", "40", "--lr",
                    "0.05", "--out", "run", "--threads", "1", *shape)  # fmt: skip
    assert "taken for the task tag, since the name ends in .conllu" in told
    assert "held-out      accuracy" in told
    assert "the most frequent tag of each word" in told
    assert unrolled("predict", "run", "dogs bark!", "--output", "inline") == "dogs/NOUN bark/VERB !/PUNCT\n"
    answers = unrolled("predict", "run", "--file", "test.conllu")
    assert answers.split("\n")[1].startswith("1\tdogs\t_\tNOUN")
    assert json.loads(unrolled("predict", "run", "bark", "--json"))["tags"] == ["VERB"]
    figures = json.loads(unrolled("evaluate", "run", "--json", "--predictions", "out.tsv"))["figures"]
    assert figures["accuracy"] >= 0.5
    assert (tmp_path / "out.tsv").read_text().splitlines()[0] == "input\ttarget\tpredicted\twrong"
    torch.set_num_threads(1)
