"""Decoding with a translator: greedy and beam on the real model, unknown words, alignments, scores."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from unrolled.errors import UserError
from unrolled.tasks.translate.baseline import baselines, nearest, unigram_nats
from unrolled.tasks.translate.config import TranslateConfig, TranslatePredict
from unrolled.tasks.translate.decode import Decoder
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.score import compare, corpus_scores, pieces, sentence_scores, streams
from unrolled.tasks.translate.sides import Side

TEXTS = ["the cat sat", "a dog", "the dog sat on a cat", "cat", "on the cat"]


def decoder(kind: str = "word", **changes: Any) -> Decoder:
    """An untrained model, sharp enough to write something."""
    source = Side.learn(TEXTS, kind, None, 1)
    target = Side.learn([t.upper() for t in TEXTS], kind, None, 1)
    torch.manual_seed(3)
    model = Translator(source.V, target.V, TranslateConfig(hidden=12, **changes)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
        assert model.head_weight is not None
        model.head_weight.normal_(0.0, 2.0)
        model.head_bias[target.end] += 4.0
    return Decoder(model, source, target, 1.0)


def greedy(one: Decoder, text: str, length: int) -> list[int]:
    """By hand, step by step."""
    ids = torch.from_numpy(one.source.encode([text])[0])[:, None]
    read = one.model.encode(ids, torch.tensor([len(ids)]))
    state, unit, written = one.model.start(read), one.target.start, []
    for _ in range(length):
        seen, state, _ = one.model.decode(read, torch.tensor([[unit]]), state)
        unit = int(one.model.scores(seen[0, 0]).argmax())
        if unit == one.target.end:
            break
        written.append(unit)
    return written


@pytest.mark.parametrize("changes", [{}, {"attention": "none"}, {"input_feeding": True}, {"cell": "gru", "layers": 2}],
                         ids=str)  # fmt: skip
def test_greedy_is_a_beam_of_one_and_neighbours_change_nothing(changes: dict[str, Any]) -> None:
    one = decoder(**changes)
    with torch.no_grad():
        for together in (1, 2, 128):
            options = TranslatePredict(max_length=7, together=together)
            found = one.search(one.source.encode(TEXTS), options)
            assert [row[0].ids for row in found] == [greedy(one, text, 7) for text in TEXTS]
    assert len({tuple(row[0].ids) for row in found}) > 1


@pytest.mark.parametrize("changes", [{}, {"attention": "none"}, {"input_feeding": True}], ids=str)
def test_beams_of_several_sources_are_those_of_each_alone(changes: dict[str, Any]) -> None:
    one = decoder(**changes)
    options = TranslatePredict(beam=4, nbest=4, max_length=6)
    together = one.search(one.source.encode(TEXTS), options, keep_weights=True)
    assert all((row[0].weights is None) == (one.model.attention is None) for row in together)
    for text, row in zip(TEXTS, together, strict=True):
        for n in (1, 2, 4):
            options = TranslatePredict(beam=4, nbest=n, max_length=6)
            alone = one.search(one.source.encode([text]), options)[0]
            assert [r.ids for r in alone] == [r.ids for r in row[:n]]
        for result in row:  # its score is that of the same sequence, teacher-forced
            ids = torch.from_numpy(one.source.encode([text])[0])[:, None]
            written = torch.tensor(result.ids, dtype=torch.int64)[:, None]
            scores, wanted = one.model(ids, torch.tensor([len(ids)]), written, torch.tensor([len(written)]))
            log_p = scores.log_softmax(-1).gather(1, wanted[:, None])[:, 0]
            total = float((log_p if result.ended else log_p[:-1]).sum().detach())
            assert result.log_probability == pytest.approx(total, abs=1e-9)
            if result.weights is not None:
                length = len(one.source.encode([text])[0])
                assert result.weights[:, length:].abs().sum() == 0
                torch.testing.assert_close(result.weights.sum(1), torch.ones(len(result.weights)).double())


def test_unknown_words_become_the_source_s_word_looked_at_most() -> None:
    one = decoder(attention="dot")
    assert one.target.unk is not None
    with torch.no_grad():
        one.model.head_bias[one.target.unk] += 100.0  # it knows nothing else
    plain = next(one.translate(["the zebra"], TranslatePredict(max_length=3)))[0]
    assert plain.text == "<unk> <unk> <unk>"
    assert plain.unknown == 3
    options = TranslatePredict(max_length=3, replace_unknown=True)
    found = next(one.translate(["the zebra"], options))[0]
    weights = found.found.weights
    assert weights is not None
    assert found.text == " ".join(["the", "zebra"][int(row[:2].argmax())] for row in weights)
    assert found.unknown == 0


def test_what_the_model_has_not_is_refused() -> None:
    blind, letters = decoder(attention="none"), decoder("char")
    for options in (
        {"replace_unknown": True}, {"coverage_penalty": 0.2}, {"alignments": True},
    ):  # fmt: skip
        with pytest.raises(UserError, match="trained without attention"):
            blind.check(TranslatePredict(**options))
    with pytest.raises(UserError, match="needs words on both sides"):
        letters.check(TranslatePredict(replace_unknown=True))
    letters.check(TranslatePredict(alignments=True, coverage_penalty=0.1))


@pytest.mark.parametrize("kind", ["char", "word", "whitespace", "bpe"])
def test_sides_write_what_they_read(kind: str) -> None:
    texts = ["Va !", "l'été, ça va ?", "a"]
    side = Side.learn(texts, kind, 300 if kind == "bpe" else None, 1)
    again = Side.from_json(side.to_json(), "tokens.json")
    for text, ids in zip(texts, (side.encode(texts)[k] for k in range(3)), strict=True):
        assert side.decode(ids) == text
        assert again.decode(again.encode([text])[0]) == text
    assert side.end == side.V == side.start - 1
    if kind == "word":
        assert side.encode(["Va a"])[0].tolist() != side.encode(["Vaa"])[0].tolist()
        assert len(side.encode(["a a"])[0]) == 2
        assert len(set(side.encode(["a a"])[0].tolist())) == 1  # the first word is the same unit as the second
    with pytest.raises(UserError, match="a side is missing"):
        Side.from_json(None, "tokens.json")


def test_rare_units_are_unknown() -> None:
    side = Side.learn(["a a b", "b a c"], "whitespace", None, 2)
    assert side.names(range(side.V)) == ["a", "b", "<unk>"]
    assert Side.learn(["aab", "bac"], "char", None, 2).V == 3
    assert Side.learn(["a a b", "b a c"], "whitespace", 2, 1).names(range(2)) == ["a", "<unk>"]


# -- scores ----------------------------------------------------------------------------------------------------


def test_error_rates_by_hand() -> None:
    scored = compare(["k ae t", "d oh g z", ""], [["k ae t"], ["d ao g", "d ah g z"], ["x y"]], "whitespace")
    assert scored.right.tolist() == [True, False, False]
    assert scored.edits.tolist() == [0, 1, 2]
    assert scored.wanted.tolist() == [3, 4, 2]
    figures = scored.figures(text=False)
    assert [*figures] == ["wer", "wer_first", "uer"]
    assert figures["wer"].value == pytest.approx(2 / 3)
    assert figures["uer"].value == pytest.approx(3 / 9)
    assert compare(["b"], [["a", "b"]], "char").right_first.tolist() == [False]
    assert pieces("C'est ça !", "word") == ["C", "'", "est", "ça", "!"]
    assert [*compare(["a"], [["a"]], "char").figures(text=False)] == ["wer", "uer"]


def test_bleu_and_chrf_are_sacrebleu_s() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    predicted = ["the cat sat on the mat", "a dog barked loudly"]
    references = [["the cat sat on a mat", "the cat was on the mat"], ["a dog barked"]]
    assert streams(references) == [["the cat sat on a mat", "a dog barked"], ["the cat was on the mat", None]]
    found = corpus_scores(predicted, references)
    assert found["bleu"][0].value == pytest.approx(sacrebleu.corpus_bleu(predicted, streams(references)).score)
    assert found["chrf"][0].value == pytest.approx(sacrebleu.corpus_chrf(predicted, streams(references)).score)
    assert "nrefs:var" in found["bleu"][1]
    assert "tok:13a" in found["bleu"][1]
    assert sentence_scores(predicted, references) == pytest.approx(found["bleu"][0].value)
    assert [*compare(predicted, references, "word").figures(text=True)][:2] == ["bleu", "chrf"]


def test_without_sacrebleu_the_other_figures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    assert corpus_scores(["a"], [["a"]]) == {}
    assert sentence_scores(["a"], [["a"]]) is None
    assert [*compare(["a"], [["a"]], "word").figures(text=True)] == ["wer", "uer"]


def test_the_baselines() -> None:
    learnt, targets = ["cats", "dogs", "horses"], [["K AE T S"], ["D AO G Z"], ["K AE T S"]]
    assert nearest(["cat", "dog", "horse"], learnt) == [0, 1, 2]
    found = dict(baselines(["catsy", "dogs"], [["K AE T S"], ["D AO G Z"]], learnt, targets, "whitespace", text=False))
    assert found["the most frequent target"]["wer"] == 0.5
    assert found["the target of the most similar source"] == {"wer": 0.0, "uer": 0.0}
    assert found["the source as it is"]["wer"] == 1.0
    assert [*dict(baselines(["a"], [["a"]], [], [], "char", text=False))] == ["the source as it is"]
    from unrolled.data.examples import Ragged

    nats = unigram_nats(Ragged.of([[0, 0], [1]]), Ragged.of([[0]]), 2)
    assert nats == pytest.approx((math.log(8 / 3) + math.log(8 / 3)) / 2)  # counts 2+1, 1+1, and 2+1 ends, of 8


def test_options_are_those_of_the_beam_and_more() -> None:
    names = {field.name for field in dataclasses.fields(TranslatePredict)}
    assert {"beam", "nbest", "length_penalty", "coverage_penalty", "replace_unknown", "alignments"} <= names
    with pytest.raises(UserError, match="--nbest 5"):
        TranslatePredict(nbest=5)
