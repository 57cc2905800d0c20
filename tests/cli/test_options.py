"""Flags from dataclasses, and what stands above what."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
import typer

from unrolled.cli import main as cli
from unrolled.cli.options import Given, options
from unrolled.data.config import TextConfig
from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError
from unrolled.settings import flag_name, option
from unrolled.tasks.language.config import LanguageConfig
from unrolled.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class One:
    seed: int = option(1, "seed", min=0)
    word: str = option("red", "colour", choices=("red", "green-blue"))
    flag: bool = option(True, "a switch")
    rate: float | None = option(None, "rate", above=0.0)
    steps: int | None = option(None, "steps")
    minutes: float | None = option(None, "minutes")
    long_name: str = option("a", "renamed", flag="--renamed")


@dataclasses.dataclass(frozen=True)
class Two:
    seed: int = option(5, "seed of the other")
    only_two: int = option(0, "of the second alone")


@dataclasses.dataclass(frozen=True)
class Clash:
    seed: float = option(1.0, "another type")


got: dict[str, Any] = {}


@options(One, Second=Two)
def verb(given: Given, names: Annotated[list[str] | None, typer.Argument(help="names")] = None, n: int = 3) -> None:
    """What it does."""
    got.update(given=given, names=names, n=n)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(cli, "load", lambda *_: verb)

    def call(*arguments: str) -> Given:
        got.clear()
        code = cli.main(["train", *arguments])
        out = capsys.readouterr()
        assert (code, out.out, out.err) == (0, "", "")
        return got["given"]

    return call


def test_nothing_given_is_nothing(run: Any) -> None:
    given = run()
    assert given.values(One) == given.values(Two) == {}
    assert given.build(One) == One()
    assert (got["names"], got["n"]) == (None, 3) or (got["names"], got["n"]) == ([], 3)


def test_every_kind_of_flag(run: Any) -> None:
    given = run(
        "x", "--seed", "4", "y", "--word", "green-blue", "--no-flag", "--rate", "0.5", "--renamed", "b", "--n=9"
    )
    assert given.values(One) == {"seed": 4, "word": "green-blue", "flag": False, "rate": 0.5, "long_name": "b"}
    assert given.build(One) == One(4, "green-blue", False, 0.5, None, None, "b")
    assert type(given.build(One).word) is str
    assert (got["names"], got["n"]) == (["x", "y"], 9)


def test_a_shared_flag_is_given_once_and_sets_both(run: Any) -> None:
    given = run("--seed", "4")
    assert (given.build(One).seed, given.build(Two).seed) == (4, 4)


def test_flags_stand_above_saved_values_above_the_preset_above_defaults(run: Any) -> None:
    given = run("--seed", "4", "--flag")
    preset, saved = {"seed": 2, "rate": 2.0, "word": "green-blue", "flag": False}, {"seed": 3, "rate": 3.0}
    assert given.build(One, preset, saved) == One(4, "green-blue", True, 3.0)
    assert preset["seed"] == 2  # not written to


def test_an_explicit_budget_replaces_the_presets(run: Any) -> None:
    assert run("--steps", "7").build(One, {"minutes": 3.0, "steps": None}) == One(steps=7)
    assert run().build(One, {"minutes": 3.0}, {"seed": 2}) == One(minutes=3.0, seed=2)
    with pytest.raises(UserError, match="--minutes and --steps: give one budget"):
        Given({"steps": 7, "minutes": 2.0}).build(TrainConfig)


def test_values_from_below_are_checked(run: Any) -> None:
    with pytest.raises(UserError, match="my file: unknown setting 'sed'"):
        run().build(One, {"sed": 2}, where="my file")
    with pytest.raises(UserError, match="my file: setting 'seed' is '2', not a int"):
        run().build(One, {"seed": "2"}, where="my file")


def test_contradictions_are_errors_of_the_programmer() -> None:
    with pytest.raises(TypeError, match=r"Clash.seed: another dataclass has it with another type"):
        options(One, Clash)(lambda given: None)
    with pytest.raises(TypeError, match=r"One.seed: the verb has a parameter"):

        @options(One)
        def doubled(given: Given, seed: int = 1) -> None: ...


@pytest.mark.parametrize("config", [TextConfig, LanguageConfig, TrainConfig, SampleConfig])
def test_every_setting_of_the_package_has_its_flag_in_the_help(
    config: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @options(Title=config)
    def made(given: Given) -> None:
        """Purpose of it."""

    monkeypatch.setattr(cli, "load", lambda *_: made)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["sample", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Purpose of it." in shown
    assert " WORD " in shown  # short, the choices stand in the help
    for field in dataclasses.fields(config):
        assert f"{flag_name(field)} " in shown, field.name  # whole, not cut off at 80 columns
        if isinstance(field.default, bool):
            assert f"--no-{flag_name(field)[2:]} " in shown
        for choice in field.metadata["choices"]:
            assert choice in shown


def test_left_out_settings_get_no_flag(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @options(One, leave_out=["rate"])
    def made(given: Given) -> None: ...

    monkeypatch.setattr(cli, "load", lambda *_: made)
    assert cli.main(["sample", "--rate", "3"]) == 2
    assert "--rate" in capsys.readouterr().err
