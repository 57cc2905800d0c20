"""``unrolled doctor``: it passes here, sees what is wrong, and works without the compiled core."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.cli import main as cli
from unrolled.doctor import activations, examination, facts, kernel, selftest, updates
from unrolled.doctor.selftest import OPTIONS, SHAPES, Finding
from unrolled.engines.select import native_missing
from unrolled.tasks.language.config import CELLS
from unrolled.tasks.language.whole import RULES

needs_core = pytest.mark.skipif(native_missing() is not None, reason="no compiled core")


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "SHAPES", SHAPES[:1])
    monkeypatch.setattr(activations, "COUNT", 5000)


@pytest.mark.usefixtures("_few")
def test_this_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("torch's", "quota of the cgroup", "aten: lstm float32", "passed"):
        assert words in out
    assert "FAILED" not in out


@pytest.mark.usefixtures("_few")
@needs_core
def test_every_cell_type_and_instruction_set_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {test["what"] for test in found["tests"]}
    native = kernel.native_module()
    for isa in native.supported_isas():
        assert {f"native {isa}: {cell} {dtype}" for cell in selftest.CELLS for dtype in ("float32", "float64")} <= names
        assert f"native {isa}: whole updates, gru, adagrad float64" in names
        assert {f"native {isa}: {a} {d}" for a in activations.WHICH for d in ("float32", "float64")} <= names
    assert found["facts"]["instructions"]["native uses"] == native.isa()
    assert found["passed"] is True


@pytest.mark.usefixtures("_few")
def test_without_the_core_it_says_so_and_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (examination, facts):
        monkeypatch.setattr(module, "native_missing", lambda: "this installation has no compiled core")
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "no: this installation has no compiled core" in out
    assert "no compiled core here" in out
    assert "native avx" not in out


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("tensor", ["output", "d_weight_hh", "d_gates"])
@needs_core
def test_a_wrong_kernel_ends_with_1_and_is_named(
    tensor: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = kernel.KernelCall.results

    def wrong(self: kernel.KernelCall) -> dict[str, torch.Tensor]:
        found = right(self)
        if self.call.cell.name == "gru" and self.call.resets is not None and not self.call.cell.layer_norm:
            found[tensor] = found[tensor] * 1.001
        return found

    monkeypatch.setattr(kernel.KernelCall, "results", wrong)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert failed
    assert all("gru float" in line and f"resets: {tensor}" in line for line in failed)
    assert "UNROLLED_ISA" in out


@needs_core
def test_instructions_that_are_not_there_are_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "doctor"],
        env=os.environ | {"UNROLLED_ISA": "sse9"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "unrolled: UNROLLED_ISA=sse9: this machine or build does not have it; unset it, or use plain"
    ]


@pytest.mark.usefixtures("_few")
@needs_core
def test_a_wrong_activation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = activations.activate
    monkeypatch.setattr(activations, "activate", lambda which, x: right(which, x) * x.dtype.type(1 + 8e-7))
    found = list(activations.measure())
    assert not any(a.passed for a in found if a.dtype == "float32")
    monkeypatch.setattr(activations, "activate", lambda which, x: np.where(np.isnan(x), 0, right(which, x)))
    assert all(math.isclose(a.ulp or 0.0, a.ulp or 0.0) and "nan" in a.wrong for a in activations.measure())


@needs_core
def test_whole_updates_pass_here_with_every_rule() -> None:
    found = list(updates.whole_updates())
    assert all(one.passed for one in found), [one for one in found if not one.passed]
    assert {one.cell.split(", ")[2] for one in found} == set(RULES)
    assert {one.cell.split(", ")[1] for one in found} == set(CELLS)
    assert max(one.distance for one in found if one.dtype == "float64") < 1e-13


@needs_core
@pytest.mark.parametrize("wrong", ["rate", "carry", "loss"])
def test_a_wrong_whole_update_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = updates.WholeUpdates.run

    def other(self: Any, chunks: Any, rates: list[float], *rest: Any) -> Any:
        made = run(self, chunks, [rate * (1.001 if wrong == "rate" else 1.0) for rate in rates], *rest)
        if wrong == "carry":
            made.carry["h"].mul_(1.001)
        factor = 1.001 if wrong == "loss" else 1.0
        return made._replace(figures=[(nats * factor, *more) for nats, *more in made.figures])

    monkeypatch.setattr(updates.WholeUpdates, "run", other)
    monkeypatch.setattr(updates, "CASES", updates.CASES[1:2])
    found = list(updates.whole_updates())
    assert found
    assert not any(one.passed for one in found)


def test_a_nan_is_no_small_difference() -> None:
    nan = {"y": torch.tensor([math.nan])}
    assert selftest.distance(nan, {"y": torch.ones(1)})[0] == math.inf
    assert not Finding("native", "lstm", "float32", math.nan, 1.0, "", 1).passed


def test_every_option_reaches_its_call() -> None:
    def made(option: str) -> Any:
        return selftest.make_call("lstm", option, SHAPES[0], torch.float64)

    assert made("plain") is not None
    assert not made("ids").x.is_floating_point()
    assert made("lengths").lengths.min() < SHAPES[0][0]
    assert made("resets").resets.any()
    assert made("reverse").reverse
    assert (made("recurrent dropout").mask == 0).any()
    assert made("zoneout").zoned
    assert not made("zoneout, evaluation").zoned
    assert made("layer norm").cell.layer_norm
    assert made("projection").cell.proj_size
    assert "bias_ih" not in made("no bias").w
    every = made("all at once")
    assert every.zoned
    assert every.cell.proj_size
    assert every.mask is not None
    assert selftest.make_call("gru", "projection", SHAPES[0], torch.float64) is None
    assert selftest.make_call("gru-reset-before", "layer norm", SHAPES[0], torch.float64) is None
    assert len(OPTIONS) == len(set(OPTIONS))


def test_quotas_and_limits_of_the_cgroup(tmp_path: pathlib.Path) -> None:
    assert facts.quota(tmp_path) is None
    assert facts.memory_limit(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert facts.quota(tmp_path) == "1.5 processors"
    assert facts.memory_limit(tmp_path) == "2.0 GB"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert facts.quota(tmp_path) is None
    assert facts.memory_limit(tmp_path) is None
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert facts.quota(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    assert facts.quota(tmp_path) == "0.5 processors"
