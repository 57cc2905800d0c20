"""Whose threads the native engine works on, and that it does not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import unrolled
from tests.cases import needs_core
from tests.tolerances import assert_same
from unrolled.engines.native import core

pytestmark = needs_core


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(core, "_available", [float("inf"), 2])  # whatever this machine has
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def net() -> unrolled.layers.LSTM:
    """Large enough, with 20 steps of 32 rows, for a team."""
    torch.manual_seed(3)
    return unrolled.layers.LSTM(64, 64, engine="native")


def results(net: unrolled.layers.LSTM) -> list[Tensor]:
    """Output and gradients."""
    x = torch.linspace(-2, 2, 20 * 32 * 64).sin().view(20, 32, 64).requires_grad_()
    output, _ = net(x)
    return [output, *torch.autograd.grad(output.square().sum(), [x, *net.parameters()])]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info(),
    reason="torch lends its threads on Linux, where it has OpenMP",
)
def test_torch_lends_its_threads() -> None:
    assert core.module().borrowed_threads()


BOUND = """
import torch  # binds this thread to the first of the processors
from unrolled.engines.native import core
print(core.threads(), torch.get_num_threads())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are torch's on Linux alone")
@pytest.mark.parametrize("binding", [{"OMP_PROC_BIND": "close"}, {"OMP_PROC_BIND": "spread", "OMP_PLACES": "cores"}])
def test_threads_that_are_bound_to_processors(binding: dict[str, str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", **binding}
    found = subprocess.run(
        [sys.executable, "-c", BOUND], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(found[0]) == min(int(found[1]), core.module().available_threads())


def test_own_and_lent_threads_give_the_same_bits(net: unrolled.layers.LSTM, two_threads: None) -> None:
    lent = results(net)
    core.module().borrow_threads(0, 0, 0, 0, 0)
    try:
        assert not core.module().borrowed_threads()
        own = results(net)
    finally:
        core._share_threads(core.module())
    assert_same(own, lent)


def test_calls_from_several_threads_at_once(net: unrolled.layers.LSTM, two_threads: None) -> None:
    expected = results(net)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: results(net)[:1], range(12)):
            assert_same(found, expected[:1])


FORKED = """
import os, torch, unrolled
from unrolled.engines.native import core
core._available[:] = float("inf"), 2
torch.set_num_threads(2)
net = unrolled.layers.GRU(64, 64, engine="native").requires_grad_(False)
x = torch.randn(40, 32, 64)
expected = net(x)[0]
child = os.fork()
if child == 0:
    os._exit(0 if net(x)[0].numpy().tobytes() == expected.numpy().tobytes() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=120)
