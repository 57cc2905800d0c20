"""Subjects: for every task a batch that suffers at its last step, each row as if read from its beginning."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unrolled.data.config import TextConfig
from unrolled.data.corpus import load_corpus
from unrolled.data.text import open_source
from unrolled.errors import UserError
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.subjects.examples import ExampleWindows
from unrolled.inspect.subjects.language import language_subject, units_of, vocabulary_of, windows_of
from unrolled.inspect.subjects.opening import untrained_preset
from unrolled.presets import load_preset
from unrolled.settings import from_dict
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.registry import TASKS

TEXT = "the cat sat on the mat, and the dog sat on the cat.\n" * 12


def subject(tmp_path, text=TEXT, chars=10_000, cell="lstm", **options):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    corpus = load_corpus(open_source([str(path)]), TextConfig(heldout=0.0, dev=0.0, **options))
    torch.manual_seed(3)
    model = LanguageModel(len(corpus.units), LanguageConfig(cell=cell, hidden=7, layers=2, dropout=0.3)).eval()
    return language_subject("toy", model, model, corpus, "train", chars=chars), corpus


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_a_windows_loss_is_that_of_the_whole_text_at_its_last_step(tmp_path, cell):
    made, _ = subject(tmp_path, cell=cell)
    model = copy.deepcopy(made.model).double()
    got = made.windows(model, 20, 30)().detach()
    with torch.no_grad():
        scores, _ = model(made.text.ids[:-1, None])
    whole = F.cross_entropy(scores[:, 0], made.text.ids[1:], reduction="none")
    assert len(got) == 20
    nearest = (whole[29:, None] - got).abs().amin(0)
    assert nearest.max() < 1e-6  # the carried state has float32's precision
    assert len(set(got.tolist())) > 10
    again = made.windows(copy.deepcopy(model), 20, 30)().detach()
    assert torch.equal(got, again)


def test_records_start_anew_inside_windows_and_between_them(tmp_path):
    lines = "".join(f"{name}\n" for name in ["anna", "otto", "ida", "emil", "bert", "hannelore"] * 9)
    made, corpus = subject(tmp_path, lines, records="line")
    assert made.text.fresh.sum() == len(corpus.records) + 1
    assert made.text.units[0] == "\n"
    model = copy.deepcopy(made.model).double()
    losses = made.windows(model, 64, 4)
    got = losses().detach()
    record = np.concatenate((made.text.ids.numpy()[:1], made.text.ids.numpy()[1:6]))
    assert len(got) == 64
    expected = set()
    ids, fresh = made.text.ids, made.text.fresh
    starts = [*torch.nonzero(fresh)[:, 0].tolist()]
    for a, b in itertools.pairwise(starts):
        with torch.no_grad():
            scores, _ = model(ids[a:b, None])
        nats = F.cross_entropy(scores[:, 0], ids[a + 1 : b + 1], reduction="none")
        expected |= {round(v, 5) for v in nats[3:].tolist()}
    assert {round(v, 5) for v in got.tolist()} <= expected, record


def test_fewer_steps_are_taken_where_records_are_short_and_a_short_text_is_refused_by_name(tmp_path):
    lines = "".join(f"{name}\n" for name in ["ab", "cde", "fg", "hij"] * 30)
    made, _ = subject(tmp_path, lines, records="line")
    assert len(made.windows(made.model, 64, 60)()) >= 16
    short, _ = subject(tmp_path, "abcabcabcabc\n")
    with pytest.raises(UserError, match=r"text\.txt: 12 steps are fewer than the 60 .* --steps 6"):
        short.windows(short.model, 8, 60)


def test_the_text_is_cut_and_its_units_are_shown(tmp_path):
    made, corpus = subject(tmp_path, "a\tü €\n" * 40, chars=33)
    assert len(made.text.ids) == 33
    assert "".join(made.text.units) == ("a\tü €\n" * 40)[:33]
    bytes_corpus = load_corpus(open_source([str(tmp_path / "text.txt")]), TextConfig(units="byte"))
    shown = vocabulary_of(bytes_corpus.units)
    assert shown[ord("a")] == "a"
    assert shown[ord("\n")] == "\n"
    assert shown[0xC3] == "0xc3"
    ids, fresh = units_of(corpus, "train", 5)
    assert (len(ids), fresh) == (5, None)


@pytest.mark.parametrize("name", ["classify", "tag", "translate", "caption", "forecast"])
def test_every_task_suffers_at_the_last_step_of_each_row(name):
    kind = TASKS[name]
    preset = load_preset(kind.preset, kind)
    data, shape = kind.configs()
    small = {"hidden": 8} if "hidden" in {f for f in shape.__dataclass_fields__} else {}
    settings = from_dict(data, preset.data, "data"), from_dict(shape, {**preset.model, **small}, "model")
    opened = untrained_preset(kind, kind.preset, *settings, [], InspectConfig())
    made = opened.subject
    model = copy.deepcopy(made.model).double()
    losses = made.windows(model, 24, 20)
    first, second = losses(), losses()
    assert first.dtype == torch.float64
    assert first.dim() == 1
    assert 1 < len(first) <= 24
    assert first.requires_grad
    assert torch.equal(first, second)
    assert not made.trained
    assert made.text is None


def test_examples_of_one_size_the_longest_up_to_the_steps_that_are_asked_for():
    sizes = np.array([[3, 2]] * 20 + [[5, 2]] * 17 + [[9, 9]] * 16 + [[2000, 1]] * 30 + [[4, 4]] * 3)
    windows = ExampleWindows(sizes, lambda model, rows: torch.zeros(len(rows)), "here")
    assert (sizes[windows.rows(64, 6)] == [5, 2]).all()
    assert len(windows.rows(64, 6)) == 17
    assert (sizes[windows.rows(8, 100)] == [9, 9]).all()
    assert len(windows.rows(8, 100)) == 8
    assert (sizes[windows.rows(8, 2)] == [3, 2]).all()
    with pytest.raises(UserError, match="here: its sequences have 2000 steps"):
        ExampleWindows(sizes[-33:-3], windows.losses, "here").rows(8, 8)


def test_windows_of_a_text_alone():
    from unrolled.inspect.subject import Text

    ids = torch.arange(50) % 5
    text = Text(ids, [str(k) for k in ids.tolist()], list("01234"), ids)
    model = LanguageModel(5, LanguageConfig(hidden=4)).eval()
    assert windows_of(text, "here")(model, 1000, 10)().shape == (40,)
