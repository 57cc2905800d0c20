"""The task as the training loop and the command line see it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.char_task import Runner, metrics, same
from unrolled.cli.main import main
from unrolled.cli.tasks import task_of_training
from unrolled.data.reading import split_key
from unrolled.errors import UserError
from unrolled.tasks.translate.config import TranslateConfig, TranslateData
from unrolled.tasks.translate.corpus import open_corpus
from unrolled.tasks.translate.decode import Decoder
from unrolled.tasks.translate.face import load, open_task
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.recognise import recognise
from unrolled.tasks.translate.task import TranslateTask
from unrolled.training.config import TrainConfig

LETTERS = "abcdefg"
SMALL: dict[str, Any] = {"hidden": 16, "embedding": 8}
FLAGS = ["--hidden", "16", "--embedding", "8", "--batch", "16", "--threads", "1"]


def reversed_words(n: int = 300, seed: int = 0) -> str:
    """Words and the same backwards, some with a second way to write them."""
    rng = random.Random(seed)
    words = dict.fromkeys("".join(rng.choices(LETTERS, k=rng.randint(2, 6))) for _ in range(n))
    rows = [f"{word}\t{word[::-1]}" for word in words]
    return "\n".join(rows + [f"{word}\t{word[::-1].upper()}" for word in [*words][::7]]) + "\n"


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.tsv"
    path.write_text(reversed_words())
    return str(path)


def opened(path: str, model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **train: Any) -> Any:
    config = TrainConfig(**({"steps": 8, "batch": 16, "bptt": "full", "threads": 1} | train))
    return open_task([path], TranslateData(**(data or {})), TranslateConfig(**(SMALL | (model or {}))), config), config


# -- data ------------------------------------------------------------------------------------------------------


def test_a_source_is_in_one_part_with_all_its_targets(pairs: str) -> None:
    corpus = open_corpus([pairs], TranslateData())
    parts = corpus.parts
    assert sorted(np.concatenate([*parts.values()]).tolist()) == list(range(len(corpus.pairs)))
    assert 0.05 < len(parts["test"]) / len(corpus.pairs) < 0.16
    sources, targets = corpus.pairs_of(parts["test"])
    flat = [t for several in corpus.pairs.targets for t in several]
    for s, t in zip(sources, targets, strict=True):
        assert flat[t] in corpus.pairs.targets[s]
    assert len(targets) == sum(len(corpus.pairs.targets[k]) for k in parts["test"])
    assert corpus.units("test") == sum(len(flat[t]) + 1 for t in targets)


def test_sources_alike_but_for_case_and_punctuation_share_a_part(tmp_path: Path) -> None:
    lines = [f"{mark.join(w)}\tx" for w in [["the", n] for n in "abcdefghijklmnopqrs"] for mark in (" ", ", ", "  - ")]
    (tmp_path / "a.tsv").write_text("\n".join(lines + [line.upper() for line in lines]))
    corpus = open_corpus([str(tmp_path / "a.tsv")], TranslateData(heldout=0.4))
    keys = {part: {split_key(corpus.pairs.sources[k]) for k in rows} for part, rows in corpus.parts.items()}
    assert not keys["train"] & keys["test"]
    assert keys["test"]


def test_given_dev_and_test_files_are_the_parts(tmp_path: Path) -> None:
    for name, text in (("a.tsv", reversed_words(60)), ("d.tsv", "abc\tcba\n"), ("t.tsv", "hij\tjih\nabc\tcba\n")):
        (tmp_path / name).write_text(text)
    first = reversed_words(60).split("\t")[0]
    (tmp_path / "t.tsv").write_text(f"hij\tjih\n{first}\tx\n")
    data = TranslateData(dev_file=str(tmp_path / "d.tsv"), test_file=str(tmp_path / "t.tsv"))
    corpus = open_corpus([str(tmp_path / "a.tsv")], data)
    assert [corpus.pairs.sources[k] for k in corpus.parts["test"]] == ["hij", first]
    assert first not in [corpus.pairs.sources[k] for k in corpus.parts["train"]]
    assert any("1 source of the training files left out" in note for note in corpus.notes)


def test_made_up_dates_hold_out_years_and_ways() -> None:
    corpus = open_corpus([], TranslateData(examples=500))
    years = {part: {corpus.pairs.targets[k][0][:4] for k in rows} for part, rows in corpus.parts.items()}
    assert not years["train"] & years["test"]
    assert not years["train"] & years["dev"]
    assert years["ways"] <= years["test"] | years["ways"]
    assert len(corpus.parts["ways"]) > 1000
    assert open_corpus([], TranslateData(examples=500)).digest == corpus.digest
    assert open_corpus([], TranslateData(examples=501)).digest != corpus.digest


def test_which_files_are_clearly_pairs(tmp_path: Path) -> None:
    for name, text, expected in (
        ("a.dict", "x Y", "a pronouncing dictionary (.dict)"), ("c.jsonl", "{", None),
        ("a.tsv", "source\ttarget\n", "columns source and target"),
        ("b.tsv", "text\tlabel\n", None), ("a.csv", "id,src,tgt\n", "columns src and tgt"), ("a.txt", "a\tb\n", None),
        ("a.jsonl", '{"translation": {}}\n', "a column translation"), ("b.jsonl", "[1]\n", None),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        assert recognise(tmp_path / name) == expected
    assert recognise(tmp_path / "missing.tsv") is None
    assert task_of_training([str(tmp_path / "a.dict")])[0].name == "translate"


# -- training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [{}, {"attention": "none", "cell": "gru"}, {"attention": "additive"},
                                   {"attention": "dot", "cell": "rnn-tanh"}], ids=str)  # fmt: skip
def test_ten_examples_are_learnt_by_heart(tmp_path: Path, model: dict[str, Any]) -> None:
    (tmp_path / "ten.tsv").write_text("\n".join(reversed_words(10).split("\n")[:10]))
    task, _ = opened(str(tmp_path / "ten.tsv"), {"hidden": 64} | model, {"heldout": 0.0, "dev": 0.0}, lr=1e-2)
    torch.manual_seed(1)
    net, stream = task.build(), task.stream()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        loss = task.loss(net, stream.next(), {})
        optimiser.zero_grad()
        loss.objective.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    report = task.report(net.eval(), "train")
    assert report.figures["wer"].value == 0.0
    assert report.figures["uer"].value == 0.0
    assert task.evaluate(net, "train").nats < 0.1


@pytest.mark.parametrize("model", [{"dropout": 0.2}, {"teacher_forcing": 0.5, "teacher_steps": 5}], ids=str)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, pairs: str, model: dict[str, Any]) -> None:
    run = Runner(tmp_path)
    settings = {"steps": 9, "checkpoint_every": 3, "eval_every": 4, "average": 0.9, "sample_every": 5}

    def task() -> Any:
        made, config = opened(pairs, model, **settings)
        made.on_loss = lambda: None
        plain = made.loss

        def loss(*arguments: Any) -> Any:
            made.on_loss()
            return plain(*arguments)

        made.loss = loss
        return made, config

    made, config = task()
    whole = run("whole", config, task=made)
    made, config = task()
    run("cut", config, task=made, stop_after=5)
    made, config = task()
    again = run("cut", config, task=made, resume=True)
    assert same(dict(whole.weights), dict(again.weights))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
    if "teacher_forcing" in model:
        assert int(again.live["carry"]["updates"]) == 9
    assert whole.notes.samples
    assert "  ->  " in whole.notes.samples[0]


def test_label_smoothing_changes_the_objective_and_not_the_loss(pairs: str) -> None:
    task, _ = opened(pairs, {"label_smoothing": 0.2})
    torch.manual_seed(0)
    net, batch = task.build(), task.stream().next()
    scores, wanted = net(*(torch.from_numpy(a) for a in batch))
    loss = task.loss(net, batch, {})
    torch.testing.assert_close(loss.nats, torch.nn.functional.cross_entropy(scores, wanted))
    smoothed = torch.nn.functional.cross_entropy(scores, wanted, label_smoothing=0.2)
    torch.testing.assert_close(loss.objective, smoothed)
    assert loss.units == int((batch.target_lengths + 1).sum())


def test_the_loss_of_a_part_is_that_of_its_pairs_one_by_one(pairs: str) -> None:
    task, _ = opened(pairs)
    torch.manual_seed(0)
    net = task.build().eval()
    corpus = task.corpus
    found = task.evaluate(net, "test")
    total = 0.0
    for s, t in zip(*corpus.pairs_of(corpus.parts["test"]), strict=True):
        x, y = torch.from_numpy(corpus.sources[s])[:, None], torch.from_numpy(corpus.targets[t])[:, None]
        scores, wanted = net(x, torch.tensor([len(x)]), y, torch.tensor([len(y)]))
        total += float(torch.nn.functional.cross_entropy(scores, wanted, reduction="sum").detach())
    assert found.units == corpus.units("test") == task.describe()["parts"]["test"]
    assert found.nats == pytest.approx(total / found.units, rel=1e-5)
    assert found.interval[0] < found.nats < found.interval[1]
    assert {*found.figures} == {"perplexity"}
    assert {"wer", "wer_first", "uer", "perplexity"} <= {*task.evaluate(net, "dev").figures}
    assert task.describe()["parameters"] == sum(p.numel() for p in net.parameters())
    _, nats = task.baseline()
    assert 0 < nats < math.log(corpus.target.V + 1) + 0.5


def test_old_weights_are_taken_over_by_the_units_names(tmp_path: Path, pairs: str) -> None:
    task, _ = opened(pairs)
    torch.manual_seed(0)
    old = task.build()
    (tmp_path / "more.tsv").write_text(reversed_words(200).replace("a", "z"))
    config = TrainConfig(steps=1)
    new = open_task([str(tmp_path / "more.tsv")], TranslateData(), TranslateConfig(**SMALL), config,
                    start_from=(old.state_dict(), task.tokens()))  # fmt: skip
    torch.manual_seed(7)
    model = new.build()
    assert isinstance(model, Translator)
    for side, table, before in (("source", model.source_embedding, old.source_embedding),
                                ("target", model.target_embedding, old.target_embedding)):  # fmt: skip
        k, j = (getattr(t.corpus, side).encode(["b"])[0][0] for t in (new, task))
        assert torch.equal(table.weight[k], before.weight[j])
        z = getattr(new.corpus, side).encode(["z"])[0][0]
        assert not (table.weight[z] == before.weight).all(1).any()
    assert torch.equal(model.target_embedding.weight[-1], old.target_embedding.weight[-1])
    assert torch.equal(model.head_bias[-1], old.head_bias[-1])
    assert torch.equal(model.encoder.weight_hh_l0, old.encoder.weight_hh_l0)
    assert any(note.startswith("source units: ") and "1 new: z" in note for note in new.notes)


# -- answering -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("translate")
    (folder / "pairs.tsv").write_text(reversed_words())
    run = str(folder / "run")
    command = ["train", "--task", "translate", str(folder / "pairs.tsv"), "--out", run, "--steps", "40", *FLAGS]
    assert main(command) == 0
    return run, str(folder / "pairs.tsv")


def test_a_run_translates_its_test_part_once(tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs.tsv").write_text(reversed_words())
    searched: list[int] = []
    search = Decoder.search

    def counting(self: Decoder, sources: Any, options: Any, *, keep_weights: bool = False) -> Any:
        searched.extend([] if keep_weights else [len(sources)])  # with weights: a few, to draw attention
        return search(self, sources, options, keep_weights=keep_weights)

    monkeypatch.setattr(Decoder, "search", counting)
    command = ["train", "--task", "translate", tmp_path / "pairs.tsv", "--dev", 0, "--steps", 2, "--sample-every", 0]
    code, _, err = cli(*command, "--out", tmp_path / "run", *FLAGS)
    assert code == 0, err
    task, _ = opened(str(tmp_path / "pairs.tsv"), data={"dev": 0.0})
    assert searched == [len(task.corpus.parts["test"])]


def test_a_run_ends_with_its_figures_and_pictures(trained: tuple[str, str]) -> None:
    run = Path(trained[0])
    result = json.loads((run / "config.json").read_text())["result"]
    assert result["headline"] == "wer"
    assert {"wer", "wer_first", "uer"} <= result["figures"].keys()
    assert len(result["baselines"]) == 3
    assert (run / "attention-1.png").stat().st_size > 1000
    assert "attention general" in (run / "README.md").read_text()


def test_predict_answers_line_by_line_and_in_json(trained: tuple[str, str], cli: Any) -> None:
    run, _ = trained
    code, out, err = cli("predict", run, "abc", "", "gfe", "--threads", "1")
    assert (code, err) == (0, "")
    assert len(out.split("\n")) == 4
    assert out.split("\n")[1] == ""
    code, out, _ = cli("predict", run, "abc", "--json", "--beam", "3", "--nbest", "2", "--alignments")
    found = json.loads(out)
    assert found["input"] == "abc"
    assert found["output"] == found["nbest"][0]["output"]
    assert len(found["nbest"]) == 2
    assert found["read"] == ["a", "b", "c"]
    assert len(found["weights"]) == len(found["written"])
    first = json.loads(cli("predict", run, "abc", "--json", "--beam", "3")[1])["output"]
    assert first == found["output"]
    code, _, err = cli("predict", run, "abc", "--replace-unknown")
    assert code == 2
    assert "needs words on both sides" in err
    code, _, err = cli("predict", run, "abc", "--nbest", "2")
    assert code == 2
    assert "--nbest 2: a search with --beam 1 finds 1; use --beam 2" in err


def test_evaluate_reads_the_held_out_part_or_other_data(trained: tuple[str, str], cli: Any, tmp_path: Path) -> None:
    run, path = trained
    code, out, _ = cli("evaluate", run, "--json", "--predictions", tmp_path / "out.tsv", "--pictures", tmp_path / "p")
    assert code == 0
    found = json.loads(out)
    saved = json.loads((Path(run) / "config.json").read_text())["result"]
    assert found["figures"]["wer"] == pytest.approx(saved["figures"]["wer"][0])
    lines = (tmp_path / "out.tsv").read_text().split("\n")
    assert lines[0].split("\t")[:4] == ["input", "target", "predicted", "right"]
    assert (tmp_path / "p" / "attention-1.png").exists()
    (tmp_path / "other.tsv").write_text("abc\tcba\nfed\tdef\n")
    code, out, _ = cli("evaluate", run, tmp_path / "other.tsv")
    assert code == 0
    assert "all" in out
    Path(path).write_text(reversed_words(100, seed=5))
    try:
        code, _, err = cli("evaluate", run)
    finally:
        Path(path).write_text(reversed_words())
    assert code == 2
    assert "they have changed" in err


def test_a_damaged_model_is_refused(trained: tuple[str, str]) -> None:
    from unrolled.bundle.model import load as load_bundle

    found = load_bundle(Path(trained[0]))
    load(found.config, found.tensors, found.tokens, "run")
    for tokens, words in (({}, "a side is missing"), ((found.tokens or {}) | {"ratio": "x"}, "ratio 'x'")):
        with pytest.raises(UserError, match=words):
            load(found.config, found.tensors, tokens, "run")
    fewer = {name: t for name, t in found.tensors.items() if name != "head_bias"}
    with pytest.raises(UserError, match="the weights do not fit the settings"):
        load(found.config, fewer, found.tokens, "run")


def test_the_report_by_hand(pairs: str) -> None:
    task, _ = opened(pairs)
    torch.manual_seed(0)
    report = task.report(task.build().eval(), "test")
    n = len(task.corpus.parts["test"])
    assert len(report.rows) == n
    assert report.figures["wer"].value == pytest.approx(1 - sum(row["right"] for row in report.rows) / n)
    tables = dict(report.tables)
    lengths = [line.split() for line in tables["by the length of the source"].split("\n")[1:]]
    assert sum(int(line[1]) for line in lengths) == n
    assert isinstance(task, TranslateTask)


def test_words_get_bleu_with_its_signature(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    rows = [f"the {a} sees the {b} .\tle {b} voit la {a} ." for a in LETTERS for b in LETTERS if a != b]
    (tmp_path / "w.tsv").write_text("\n".join(rows))
    task, _ = opened(str(tmp_path / "w.tsv"), data={"units": "word"})
    report = task.report(task.build().eval(), "test")
    assert [*report.figures][:2] == ["bleu", "chrf"]
    assert "tok:13a" in dict(report.tables)["sacrebleu, on detokenised text"]
