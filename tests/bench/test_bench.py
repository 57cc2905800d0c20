"""``unrolled bench`` and the measuring: what is counted, what is printed, what is refused. No speed is asserted."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import torch

from unrolled.bench import (
    case_grid,
    case_memory,
    case_min_char_rnn,
    case_options,
    case_step,
    case_streams,
    case_train_step,
    cases,
    ours_step,
    parity,
    twins,
)
from unrolled.bench.cases import CASES
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Figure, Row, figure
from unrolled.bench.measure import Pairs, Repetition, Side, best_threads, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.peers_step import lstm_cell, lstm_layer, onnx_missing, onnx_runtime
from unrolled.bench.twins import Shape
from unrolled.cli import main as cli
from unrolled.errors import UserError

ONE = BenchConfig(pairs=1, threads=1, engine="reference")
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# -- figures ------------------------------------------------------------------------------------------------------


def test_median_quartiles_and_bars() -> None:
    found = figure([3.0, 1.0, 2.0, 5.0, 4.0], "x", Bar(2.5))
    assert (found.low, found.median, found.high, found.n) == (2.0, 3.0, 4.0, 5)
    assert (found.verdict, figure([2.0], "x", Bar(2.5)).verdict, figure([2.0], "x").verdict) == ("ok", "BELOW", "")
    assert figure([2.0], "%", Bar(3.0, below=True)).verdict == "ok"
    assert figure([4.0], "%", Bar(3.0, below=True)).verdict == "ABOVE"
    assert found.to_dict()["met"] is True
    assert str(found) == "3.00 (2.00-4.00)x"


def test_each_repetition_is_told_in_units_of_its_own_sgemm() -> None:
    # The machine was half as fast during the peer's second repetition; in units of sgemm nothing has changed.
    ours = [Repetition(1.0, 100.0), Repetition(1.0, 100.0)]
    pairs = Pairs(ours, [Repetition(2.0, 100.0), Repetition(4.0, 50.0)])
    assert pairs.ratios == [2.0, 2.0]
    assert pairs.share(50.0).median == 0.5
    assert pairs.share(50.0, of="peer").median == 0.25
    assert pairs.more().median == pytest.approx(-50.0)


def test_pairs_are_interleaved_in_turning_order_between_yardsticks() -> None:
    log: list[str] = []

    def side(name: str) -> Side:
        return Side(name, lambda: log.append(name) or 1.0, own_clock=True)

    def yardstick() -> float:
        log.append("sgemm")
        return 2.0 + log.count("sgemm")

    found = compare(side("ours"), side("peer"), pairs=3, yardstick=yardstick)
    measured = log[log.index("sgemm") :]
    order = ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert measured == ["sgemm", *[x for name in order for x in (name, "sgemm")]]
    assert [r.sgemm for r in found.ours] == [3.5, 6.5, 7.5]  # the mean of the one before and the one after


def test_dear_work_gets_fewer_pairs_but_never_under_three() -> None:
    slow = Side("ours", lambda: 10.0, own_clock=True), Side("peer", lambda: 10.0, own_clock=True)
    assert len(compare(*slow, pairs=9, most_seconds=1.0).ours) == 3
    assert len(compare(*slow, pairs=9, most_seconds=100.0).ours) == 5
    assert len(compare(*slow, pairs=9).ours) == 9


def test_a_run_of_many_units_is_told_for_one() -> None:
    found = compare(Side("a", lambda: 8.0, own_clock=True, units=4), Side("b", lambda: 3.0, own_clock=True), pairs=1)
    assert (found.ours[0].seconds, found.peer[0].seconds, found.ratio().median) == (2.0, 3.0, 1.5)


def test_the_best_thread_count_is_found_and_torchs_left_alone() -> None:
    torch.set_num_threads(1)
    side = Side("a", lambda: 3.0 - torch.get_num_threads(), own_clock=True)
    assert best_threads(side, (1, 2)).threads == 2
    assert torch.get_num_threads() == 1


def test_only_the_flops_that_the_task_needs() -> None:
    # One layer, 2 steps: input products at both, recurrent ones at the second alone; three products a weight.
    assert Shape("LSTM", T=2, B=3, H=5, I=7).flops == 3 * 2 * 3 * 20 * (2 * 7 + 1 * 5)
    assert Shape("RNN", T=4, B=1, H=2, L=2).flops == 2 * (6 * 2 * (4 * 2 + 3 * 2))


# -- parity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (torch.tensor([1.0, 2.001]), "differs"),
        (torch.tensor([1.0, float("nan")]), "not finite"),
        (torch.tensor([[1.0, 2.0]]), "shape"),
    ],
)
def test_a_wrong_result_is_seen(ours: torch.Tensor, words: str) -> None:
    right = torch.tensor([1.0, 2.0])
    parity.check({"y": right.clone()}, {"y": right})
    with pytest.raises(ParityError, match=words):
        parity.check({"y": ours}, {"y": right})
    with pytest.raises(ParityError, match="name"):
        parity.check({"z": right}, {"y": right})
    with pytest.raises(ParityError, match="nothing"):
        parity.check({}, {})


class _Wrong(torch.nn.LSTM):
    def forward(self, *args: Any) -> Any:
        output, state = super().forward(*args)
        return output * 1.01, state


def test_no_speed_is_printed_for_a_wrong_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(twins.PEERS, "LSTM", _Wrong)
    assert cli.main(["bench", "grid", "--pairs", "1", "--threads", "1", "--only", "LSTM B1 T16 H32 "]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "REFUSED, no speed for a wrong result: output: differs" in lines[1]
    assert "ms" not in lines[1]
    (row,) = json.loads(lines[-1])["rows"]
    assert row["figures"] == {}
    assert row["refused"]


# -- the cases, small -----------------------------------------------------------------------------------------------


def speeds(rows: list[Row]) -> list[Figure]:
    assert rows
    assert not [r for r in rows if r.refused], [r.refused for r in rows]
    return [f for r in rows for f in r.figures.values()]


@pytest.mark.parametrize("name", ["tiny", "grid"])
@pytest.mark.parametrize("engine", ["reference", "aten"])
def test_cases_against_torch(name: str, engine: str) -> None:
    only = "RNN" if name == "tiny" else "RNN B1 T16 H32 "
    config = BenchConfig(pairs=1, threads=1, engine=engine, only=only)
    rows = list(cases.rows(name, config))
    assert all(f.median > 0 for f in speeds(rows))
    skipped = [r.name for r in rows if r.skipped]
    assert len(skipped) == (name == "tiny" and engine == "aten")  # torch's kernels have no call of their own


def test_the_sequence_case_measures_the_share_of_sgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    from unrolled.bench import case_sequence

    monkeypatch.setattr(case_sequence, "BATCH", {512: 1, 256: 1, 128: 1})
    rows = list(case_sequence.rows(BenchConfig(pairs=1, threads=1, engine="aten", only="RNN B1 T64 H128")))
    assert {"share", "torch's share", "ratio", "sgemm"} <= rows[0].figures.keys()
    assert all(f.median > 0 for f in speeds(rows))


def test_the_grid_sums_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(case_grid.shapes()) == 4 * 6 * 3 * 3
    monkeypatch.setattr(case_grid, "HIDDEN", (8,))
    rows = list(case_grid.rows(BenchConfig(pairs=1, threads=1, engine="aten", only="B1 T1 ")))
    assert [r.name for r in rows][-1] == "all of them"
    assert {"ratio", "worst"} == rows[-1].figures.keys()
    assert len(rows) == 4


def test_options_cost_something() -> None:
    rows = list(case_options.rows(ONE, Shape("LSTM", T=4, B=2, H=16, L=2)))
    assert len(rows) == 4
    speeds(rows)
    rows = list(case_options.rows(BenchConfig(pairs=1, threads=1, engine="aten"), Shape("LSTM", T=4, B=2, H=8)))
    assert all("cannot run this call" in r.skipped for r in rows)


def test_a_training_step_and_the_loop() -> None:
    rows = list(case_train_step.rows(BenchConfig(pairs=1, threads=1), hidden=(16,), steps=2))
    assert [r.name for r in rows] == [
        f"LSTM H16, {entry}, {how}" for entry in ("one-hot", "embedding") for how in ("by hand", "unrolled train")
    ]
    speeds(rows)


def test_the_lectures_program_in_both_forms_and_dtypes() -> None:
    rows = list(case_min_char_rnn.rows(ONE, steps=5))
    assert len(rows) == 4
    speeds(rows)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_in_processes_of_their_own() -> None:
    (row,) = case_memory.rows(ONE, shape=(200, 8, 64, 64))
    speeds([row])
    assert row.figures["torch"].median > 1.0


def test_steps_of_torch_and_onnx_runtime_agree_with_our_model() -> None:
    model = case_step.example(24)
    weights = {n: t.detach() for n, t in model.state_dict().items()}
    state = model.initial_state(1)

    @torch.no_grad()
    def by_the_model(token: int) -> torch.Tensor:
        nonlocal state
        scores, state = model.step(torch.tensor([token]), state)
        return scores

    expected = case_step._scores(by_the_model)
    peers = [lstm_cell(weights), lstm_layer(weights)]
    if onnx_missing() is None:
        peers += [onnx_runtime(weights, form, 1) for form in ("LSTM", "plain")]
    for peer in peers:
        parity.check(case_step._scores(peer), expected)


class _Stepper:
    """A stepper as the cases need it, on the model itself."""

    def __init__(self, model: Any, slots: int, storage: str) -> None:
        self.model, self.state = model, model.initial_state(slots)

    @torch.no_grad()
    def step(self, ids: list[int]) -> torch.Tensor:
        # Row by row, so that a row's bits do not depend on the others'.
        halves = [
            self.model.step(torch.tensor(ids[b : b + 1]), [s[:, b : b + 1] for s in self.state])
            for b in range(len(ids))
        ]
        self.state = tuple(torch.cat([state[k] for _, state in halves], 1) for k in range(2))
        return torch.cat([scores for scores, _ in halves])


def test_steps_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours_step, "stepper", _Stepper)
    monkeypatch.setattr(case_streams, "stepper", _Stepper)
    rows = list(case_step.rows(ONE, hidden=(16,)))
    assert len(rows) == 3
    assert "nats" in rows[1].note
    speeds(rows)
    speeds(list(case_streams.rows(ONE, H=16, streams=4)))


def test_a_stepper_whose_rows_touch_each_other_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixing(_Stepper):
        def step(self, ids: list[int]) -> torch.Tensor:
            return super().step(ids) + 1e-6 * float(len(ids) > 1)

    monkeypatch.setattr(case_streams, "stepper", Mixing)
    (row,) = case_streams.rows(ONE, H=16, streams=4)
    assert "row 0" in row.refused


# -- the verb and the scripts ---------------------------------------------------------------------------------------


def test_the_verb_prints_lines_and_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "tiny", "--pairs", "1", "--threads", "1", "--engine", "aten", "--only", "GRU"]) == 0
    title, *lines, last = capsys.readouterr().out.splitlines()
    assert title.startswith("== tiny")
    assert len(lines) == 2
    assert "ratio" in lines[0]
    assert "[≥ 12:" in lines[0]
    found = json.loads(last)
    assert found["benchmark"] == "tiny"
    assert found["threads"] == 1
    assert found["rows"][0]["figures"]["ratio"]["n"] == 1
    given = ["bench", "grid", "--pairs", "1", "--threads", "1", "--only", "RNN B1 T1 H32 ", "--json"]
    assert cli.main(given) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_table_where_a_person_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from unrolled.bench import show

    rows = [Row("a", {"ratio": figure([2.0], "x", Bar(3.0))}), Row("b", refused="wrong [bold]")]
    shown = show._table("title", iter(rows))
    assert shown == rows
    out = capsys.readouterr().out
    assert "BELOW" in out
    assert "wrong" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bench", "tinny"], "tinny: no such case; one of sequence, tiny"),
        (["bench", "tiny", "--only", "nothing"], "--only nothing: no row of tiny has that in its name"),
        (["bench", "--pairs", "0"], "--pairs 0: must be at least 1"),
        (["bench", "--plot", "speed.txt"], "--plot speed.txt: name a file that ends in .png, .svg, .pdf"),
        (["bench", "--plot", "nowhere/speed.png"], "there is no folder nowhere; make it first"),
        (["bench", "--engine", "fast"], "'auto', 'native', 'aten', 'reference'"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def test_an_engine_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from unrolled.engines import select

    monkeypatch.setattr(select, "native_missing", lambda: "no compiler")
    with pytest.raises(UserError, match="--engine native: no compiler"):
        cases.start(BenchConfig(engine="native"))


@pytest.mark.parametrize("name", ["sequence", "tiny", "grid", "options", "train_step", "min_char_rnn", "generate",
                                  "memory_training"])  # fmt: skip
def test_every_script_knows_its_case(name: str) -> None:
    text = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
    wanted = text[text.index("main([") + 5 : text.index(", __doc__")]
    assert set(json.loads(wanted)) <= CASES.keys()


def test_a_script_runs_alone() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "grid.py", "--pairs", "1", "--threads", "1", "--only", "GRU B1 T1 H32 "],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["benchmark"] == "grid"
    done = subprocess.run([sys.executable, BENCHMARKS / "grid.py", "--pairs", "0"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "--pairs 0: must be at least 1\n")
