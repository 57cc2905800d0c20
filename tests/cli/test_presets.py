"""Preset files."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.cli.options import Given
from unrolled.errors import UserError
from unrolled.presets import load_preset, preset_names
from unrolled.settings import from_dict
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.registry import TASKS
from unrolled.training.config import TrainConfig


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_stands_below_flags(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    given = Given({"steps": 3, "hidden": 18})
    assert preset.task is not None
    data, model = TASKS[preset.task].configs()
    assert given.build(model, preset.model).hidden == 18
    given.build(data, preset.data)
    assert given.build(TrainConfig, preset.train).steps == 3


def test_min_char_rnn_is_the_lectures_program() -> None:
    preset = load_preset("min-char-rnn")
    model = from_dict(LanguageConfig, preset.model, "")
    train = from_dict(TrainConfig, preset.train, "")
    assert (model.cell, model.hidden, model.layers, model.input, model.init) == (
        "rnn-tanh",
        100,
        1,
        "one-hot",
        "normal",
    )
    assert model.single_bias
    assert (train.batch, train.bptt, train.loss_reduction, train.lr) == (1, "25", "sum", 0.1)
    assert (train.optimiser, train.schedule, train.warmup) == ("min-char-rnn-adagrad", "constant", 0)
    assert (train.clip_value, train.clip_norm, train.sample_every, train.sample_length) == (5.0, 0.0, 100, 200)
    assert (preset.data["heldout"], preset.data["dev"]) == (0.0, 0.0)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nhidden = 12\n[train]\nlr = 1\nbptt = "full"\n', encoding="utf-8")
    preset = load_preset(str(path))
    assert (preset.name, preset.model, preset.data, preset.train) == (
        "mine", {"hidden": 12}, {}, {"lr": 1, "bptt": "full"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[model]\nhiden = 3", r"\[model\]: unknown setting 'hiden'; known: .*hidden"),
        ("[modle]\nhidden = 3", r"unknown table or setting 'modle'; the tables are \[model\], \[data\], \[train\]"),
        ("hidden = 3", "unknown table or setting 'hidden'"),
        ("model = 3", "unknown table or setting 'model'"),
        ("[model]\nhidden = '3'", "setting 'hidden' is '3', not a int"),
        ("[model]\nhidden = true", "setting 'hidden' is True"),
        ("[model]\nhidden = 0", "--hidden 0: must be at least 1"),
        ("[model]\ncell = 'lstn'", "--cell lstn: not one of"),
        ("[train]\nminutes = 1\nsteps = 2", "give one budget"),
        ("[model", "not a TOML file"),
        ("\udcff", "not a TOML file"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=words) as caught:
        load_preset(str(path))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nosuch", "", "../presets/min-char-rnn", "min-char-rnn.tml"])
def test_an_unknown_name_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=r"not one of .*min-char-rnn.*nor a .toml file"):
        load_preset(name)


def test_a_preset_of_another_task_is_refused(tmp_path: Path) -> None:
    assert load_preset("quick").task == "language"
    assert set(preset_names("language")) == {"best", "min-char-rnn", "quick"}
    path = tmp_path / "mine.toml"
    for content, words in (
        ('task = "nosuch"', "task nosuch: not one of .*language"),
        ("task = 3", "task is 3, not the name of a task"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=words):
            load_preset(str(path))


def test_a_missing_file() -> None:
    with pytest.raises(UserError, match=r"nowhere.toml: cannot be read"):
        load_preset("nowhere.toml")
