"""Trials and grids: what is done is not done again, whatever ended the call before."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.errors import UserError
from unrolled.lab import grid
from unrolled.lab.config import CELLS
from unrolled.lab.problems import Adding, Brackets, Copy, Problem
from unrolled.lab.report import Silent
from unrolled.lab.trial import HALF, Network, Progress, Trial, hidden_for, parameters, train

TRIALS = [Trial("adding", cell, 4, seed, 5, 6, batch=4) for seed in (1, 2) for cell in ("rnn-tanh", "gru")]


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def problem_of(trial: Trial) -> Problem:
    return Adding(trial.T)


def do(out: Path, trials: list[Trial] = TRIALS, watch: Silent | None = None) -> list[tuple[Trial, dict[str, Any]]]:
    return grid.run(trials, problem_of, out, watch or Silent(), quick=False)


def test_the_same_trial_gives_the_same_result_and_disturbs_no_random_stream() -> None:
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    first = train(TRIALS[0], Adding(4))
    assert torch.equal(torch.rand(3), wanted)
    assert train(TRIALS[0], Adding(4)) == first
    assert train(dataclasses.replace(TRIALS[0], seed=9), Adding(4)) != first


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_follow_the_formula_and_the_budget_is_used(cell: str) -> None:
    problem = Copy(3)
    H = hidden_for(cell, problem.input_size, problem.outputs, 2000)
    count = parameters(cell, problem.input_size, H, problem.outputs)
    assert count <= 2000 < parameters(cell, problem.input_size, H + 1, problem.outputs)
    model = Network(Trial("copy", cell, 3, 1, H, 1), problem)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model(problem.batch(torch.Generator(), 2).x).shape == (23, 2, 10)


def test_half_of_the_units_remember_and_half_look() -> None:
    weights = dict(Network(Trial("adding", "rnn-relu", 4, 1, 8, 1, init=HALF), Adding(4)).layer.named_parameters())
    W, W_in = weights["weight_hh_l0"].detach(), weights["weight_ih_l0"].detach()
    assert torch.equal(W[:4, :4], torch.eye(4))
    assert torch.equal(W[4:], torch.zeros(4, 8))
    assert 0 < W[:4, 4:].abs().max() < 0.05
    assert W_in[:4].abs().max() < 0.01
    assert W_in[4:].abs().mean() > 0.1


def test_a_loss_that_is_no_number_ends_the_trial_and_is_told() -> None:
    wild = Trial("adding", "rnn-relu", 60, 1, 16, 50, optimiser="sgd", lr=10.0, clip_norm=0.0, init="identity")
    found = train(wild, Adding(60))
    assert found["diverged"]
    assert not found["solved"]
    assert found["steps"] < 50


def test_a_small_network_learns_short_adding_and_stops_early() -> None:
    kept: dict[str, torch.Tensor] = {}
    trial = Trial("adding", "gru", 4, 1, 24, 1500, lr=1e-2)
    found = train(trial, Adding(4), weights=kept)
    assert found["solved"]
    assert found["score"] < 0.01
    assert found["steps"] < 1500
    model = Network(trial, Adding(4))
    model.load_state_dict(kept)
    test = Adding(4).batch(torch.Generator().manual_seed(2), 1000, "test")
    assert Adding(4).score(model(test.x), test.y) == pytest.approx(found["score"])


def test_what_is_done_is_read_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = do(tmp_path)
    assert [t for t, _ in first] == TRIALS
    monkeypatch.setattr(grid, "train", lambda *a, **k: pytest.fail("done again"))
    assert do(tmp_path) == first
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 4


def test_a_grid_goes_on_after_ctrl_c_and_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = do(tmp_path / folder(tmp_path, "whole"))
    out, real, calls = folder(tmp_path, "cut"), grid.train, []

    def stopped(trial: Trial, problem: Problem, follow: Any = None) -> dict[str, Any]:
        if follow is not None and "_follower" in follow.__qualname__:
            calls.append(trial)
            if len(calls) == 3:
                raise KeyboardInterrupt
        return real(trial, problem, follow)

    monkeypatch.setattr(grid, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        do(out)
    path = out / "results.jsonl"
    assert len(path.read_text().splitlines()) == 2
    path.write_text(path.read_text() + '{"trial": {"name": "add')
    monkeypatch.setattr(grid, "train", real)
    assert do(out) == whole
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 4


def folder(base: Path, name: str) -> Path:
    made = base / name
    made.mkdir()
    return made


def test_another_setting_is_another_trial(tmp_path: Path) -> None:
    do(tmp_path)
    notes = Notes()
    do(tmp_path, [dataclasses.replace(t, lr=2e-3) for t in TRIALS[:1]] + TRIALS[1:], notes)
    assert notes.lines[0].startswith("3 of 4 trials are in")
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 5


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"trial": {}, "result": {}}\nnonsense\n')
    with pytest.raises(UserError, match=r"results\.jsonl: line 2 is no result"):
        do(tmp_path)


def test_a_quick_grid_stops_in_time_and_says_what_is_left(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 20.0  # a look at the clock for each of the 6 updates of a trial
        return now[0]

    notes = Notes()
    done = grid.run(TRIALS, problem_of, tmp_path, notes, quick=True, clock=clock)
    assert [t for t, _ in done] == TRIALS[:2]
    assert any("2 trials are left" in line for line in notes.lines)
    assert do(tmp_path)[:2] == done


def test_the_estimate_counts_every_update_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_seconds_per_update", lambda trial, problem: 5.0)
    notes = Notes()
    do(tmp_path, TRIALS, notes)
    assert "4 trials, at most 2.0 minutes" in notes.lines[0]  # 4 trials of 6 updates


def test_following_sees_every_update() -> None:
    seen: list[Progress] = []
    train(TRIALS[0], Adding(4), seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6]
    assert all(p.score is not None for p in seen)  # fewer updates than looks: one look each


def test_the_trivial_brackets_know_the_clock_alone() -> None:
    problem = Brackets(12)
    y = problem.batch(torch.Generator().manual_seed(5), 4000).y
    best = torch.stack([row.bincount(minlength=9).argmax() for row in y])
    assert (y == best[:, None]).double().mean().item() == pytest.approx(problem.trivial, abs=0.03)
