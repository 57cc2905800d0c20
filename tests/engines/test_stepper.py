"""The stepper: its steps to the bit those of the layers' native engine, its units those that ``decoding`` draws."""

from __future__ import annotations

import dataclasses
import signal
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.cases import as_tuple, needs_core
from tests.tolerances import assert_same
from unrolled.decoding.config import WEIGHTS, SampleConfig
from unrolled.decoding.sampling import generate
from unrolled.decoding.stepping import Samples
from unrolled.engines import stepper as engine
from unrolled.engines.native import core
from unrolled.engines.stepper import Stepper, refusal
from unrolled.errors import UserError
from unrolled.layers import GRU, LSTM, RNN

pytestmark = needs_core
V, T, B = 23, 6, 5
CELLS = {
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
    "rnn-tanh": (RNN, {}),
    "rnn-relu": (RNN, {"nonlinearity": "relu"}),
    "rnn-identity": (RNN, {"nonlinearity": "identity"}),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(4)


@pytest.fixture(params=core.module().supported_isas() if core.missing() is None else [])
def isa(request: pytest.FixtureRequest) -> Any:
    """Every instruction set that this processor has."""
    before = core.module().isa()
    core.module().set_isa(request.param)
    yield request.param
    core.module().set_isa(before)


def pair(cell: str = "lstm", H: int = 24, layers: int = 1, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """A layer over one-hot ids and the head above it."""
    kind, extras = CELLS[cell]
    net = kind(V, H, layers, dtype=dtype, engine="native", **{**extras, **options}).eval()
    head = nn.Linear(H, V, dtype=dtype)
    with torch.no_grad():
        head.weight.mul_(8)  # units that differ in probability
    return net, head


def joined(stepper: Stepper, n: int) -> Tensor:
    return torch.tensor([stepper.join() for _ in range(n)])


def states(stepper: Stepper, slots: Tensor) -> tuple[Tensor, ...]:
    rows = [as_tuple(stepper.state(int(slot))) for slot in slots]
    return tuple(torch.cat(parts, 1) for parts in zip(*rows, strict=True))


# ---- steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("H", "layers"), [(5, 1), (40, 2), (130, 3)])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_a_step_is_the_layers_own_to_the_bit(cell: str, H: int, layers: int, dtype: torch.dtype, isa: str) -> None:
    net, head = pair(cell, H, layers, dtype, bias=H != 40)
    stepper, ids = Stepper(net, head, slots=B), torch.randint(V, (T, B))
    slots = joined(stepper, B)
    if isa == "amx":  # a step's chains are those of avx512, where one row reads its weights as they are
        core.module().set_isa("avx512")
    state: Any = None
    for t in range(T):
        scores = stepper.step(slots, ids[t])
        output, state = net(ids[t : t + 1], state)
        assert all(map(torch.equal, states(stepper, slots), as_tuple(state))), t
        torch.testing.assert_close(scores, head(output[0]), rtol=1e-4, atol=1e-4)
    assert all(map(torch.equal, as_tuple(net(ids)[1]), states(stepper, slots)))
    assert torch.equal(stepper.scores(slots).clone(), scores)


@torch.no_grad()
def test_an_embedding_is_the_layers_own_lookup() -> None:
    net, head = LSTM(7, 20, 2, engine="native").eval(), nn.Linear(20, V)
    table, ids = torch.randn(V, 7), torch.randint(V, (T, B))
    stepper = Stepper(net, head, table, slots=B)
    slots = joined(stepper, B)
    for t in range(T):
        stepper.step(slots, ids[t])
    _, last = net(ids, embedding=table)
    assert all(map(torch.equal, last, states(stepper, slots)))


@torch.no_grad()
def test_zoneout_is_taken_by_its_expectation() -> None:
    net, head = pair("lstm", zoneout=(0.2, 0.4))
    ids = torch.randint(V, (T, B))
    stepper = Stepper(net, head, slots=B)
    slots = joined(stepper, B)
    for t in range(T):
        stepper.step(slots, ids[t])
    assert all(map(torch.equal, net(ids)[1], states(stepper, slots)))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_a_row_is_the_same_alone_and_among_others(cell: str, weights: str, isa: str) -> None:
    net, head = pair(cell, 70, 2)
    many, alone = Stepper(net, head, slots=19, weights=weights), Stepper(net, head, weights=weights)
    slots, one = joined(many, 19), joined(alone, 1)
    for _ in range(T):
        ids = torch.randint(V, (19,))
        assert torch.equal(many.step(slots, ids)[7], alone.step(one, ids[7:8])[0])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_threads_change_no_bit(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_available", [float("inf"), 4])  # whatever this machine has
    net, head = pair("gru", 600, 2)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for n in (1, 3):  # lanes, and groups of rows
            stepper = Stepper(net, head, slots=n, weights=weights)
            slots = joined(stepper, n)
            for t in range(3):
                stepper.step(slots, torch.arange(n) + t)
            row = stepper.run(slots, 12)[0]
            found.append((row, stepper.state(0)))
    for row, state in found[1:]:
        assert torch.equal(row, found[0][0])
        assert torch.equal(state, found[0][1])


def test_rows_join_and_leave() -> None:
    net, head = pair()
    stepper, alone = Stepper(net, head, slots=3), Stepper(net, head)
    a, b, c = (stepper.join() for _ in range(3))
    with pytest.raises(ValueError, match="3 slots are taken"):
        stepper.join()
    stepper.step([a, b, c], [1, 2, 3])
    kept = stepper.state(b)
    stepper.leave(a)
    d = stepper.join(kept)  # what stood there before is gone
    assert d == a
    one = alone.join(kept)
    expected = alone.step([one], [5]).clone()
    assert torch.equal(stepper.step([c, d], [9, 5])[1:], expected)
    assert torch.equal(stepper.step([b], [5]), expected)
    with pytest.raises(ValueError, match="not taken"):
        stepper.leave(7)


def test_lists_are_fed_as_tensors_are() -> None:
    stepper = Stepper(*pair(), slots=3)
    slots = joined(stepper, 3)
    expected = [stepper.step(torch.tensor([2, 0]), torch.tensor([t, t + 1])).clone() for t in range(3)]
    for slot in range(3):
        stepper.set_state(slot)
    for t in range(3):
        assert torch.equal(stepper.step([2, 0], [t, t + 1]), expected[t])
    assert stepper.step(list(slots), list(np.array([1, 2, 3]))).shape == (3, V)  # 0-d tensors, numpy's integers


def test_refresh_takes_the_weights_as_they_are_now() -> None:
    net, head = pair("lstm", 24, 2)
    stepper = Stepper(net, head)
    slot = stepper.join()
    before = stepper.step([slot], [1]).clone()
    with torch.no_grad():
        for p in (*net.parameters(), *head.parameters()):
            p.add_(0.01)
    stepper.set_state(slot)
    assert torch.equal(stepper.step([slot], [1]), before)
    stepper.refresh()
    fresh = Stepper(net, head)
    fresh.join()
    stepper.set_state(slot)
    assert torch.equal(stepper.step([slot], [1]), fresh.step([0], [1]))


@pytest.mark.parametrize(("weights", "tolerance"), [("bf16", 0.02), ("int8", 0.04)])
@pytest.mark.parametrize("cell", CELLS)
def test_fewer_bits_cost_little(cell: str, weights: str, tolerance: float, isa: str) -> None:
    net, head = pair(cell, 60, 2)
    full, few = Stepper(net, head, slots=B), Stepper(net, head, slots=B, weights=weights)
    slots, ids = joined(full, B), torch.randint(V, (T, B))
    joined(few, B)
    for t in range(T):
        expected, found = full.step(slots, ids[t]), few.step(slots, ids[t])
    assert not torch.equal(expected, found)
    assert float((expected - found).abs().max()) < tolerance * float(expected.abs().max())


def test_int8_rounds_each_row_to_its_own_scale() -> None:
    net, head = pair("rnn-identity", 8, bias=False)
    with torch.no_grad():
        net.weight_hh_l0.zero_()
        net.weight_ih_l0.zero_()[:, 3] = torch.eye(8)[2]  # h is a unit vector: exact in 8 bits
        head.bias.zero_()
    stepper = Stepper(net, head, weights="int8")
    scores = stepper.step([stepper.join()], [3])[0]
    scale = head.weight.detach().abs().amax(1) / 127
    torch.testing.assert_close(scores, torch.round(head.weight.detach()[:, 2] / scale) * scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("H", "n"), [(5, 1), (37, 3), (200, 7)])  # rows alone, in pairs and sixes, with a padded end
@torch.no_grad()
def test_int8_sums_whole_numbers_exactly(H: int, n: int, isa: str) -> None:
    net, head = pair("lstm", H)
    head.weight.div_(head.weight.abs().amax(1, keepdim=True))  # the largest of a row is 1: nothing is left to rounding
    head.weight[0] = head.weight[1] = 1
    stepper = Stepper(net, head, slots=n, weights="int8")
    slots = joined(stepper, n)
    state = torch.randn(1, n, H)
    state[0, 0] = 1  # at the ends of the range: the sums that leave 16 bits first
    for row in range(n):
        stepper.set_state(int(slots[row]), (state[:, row : row + 1], state[:, row : row + 1]))
    most = state[0].abs().amax(1, keepdim=True)
    h, w = torch.round(state[0] * (127 / most)), torch.round(head.weight * 127)
    expected = (h.double() @ w.double().T) * (most / 127).double() / 127 + head.bias.double()
    torch.testing.assert_close(stepper.scores(slots).double(), expected, rtol=2e-6, atol=2e-6 * H**0.5)


def test_a_nan_in_the_weights_is_a_nan_in_the_scores() -> None:
    for weights in WEIGHTS:
        net, head = pair()
        with torch.no_grad():
            net.weight_hh_l0[3, 2] = float("nan")
        stepper = Stepper(net, head, weights=weights)
        slot = stepper.join()
        stepper.step([slot], [1])
        assert stepper.step([slot], [1]).isnan().any(), weights
        with pytest.raises(UserError, match="not finite"):
            stepper.run([slot], 3)


# ---- bad input


def test_bad_input_is_an_error_that_names_it() -> None:
    net, head = pair()
    stepper = Stepper(net, head, slots=2)
    slots = joined(stepper, 2)
    for form in (list, torch.tensor):  # lists and tensors go different ways
        for ids in ([0, V], [-1, 0]):
            with pytest.raises(IndexError, match="ids"):
                stepper.step(form([0, 1]), form(ids))
        with pytest.raises(IndexError, match="slot 2"):
            stepper.step(form([2]), form([0]))
        with pytest.raises(ValueError, match="twice"):
            stepper.step(form([1, 1]), form([0, 0]))
        with pytest.raises(ValueError, match="slots has 2"):
            stepper.step(form([0, 1]), form([0]))
        with pytest.raises(TypeError, match="ids"):
            stepper.step(form([0, 1]), form([0.5, 1.0]))
    with pytest.raises(TypeError, match="ids: whole numbers of 64 bits, not 1180591620717411303424"):
        stepper.step([0], [1 << 70])
    with pytest.raises(ValueError, match="units"):
        stepper.run(slots, -1)
    with pytest.raises(ValueError, match="expected"):
        stepper.set_state(0, torch.zeros(1, 1, 24))
    with pytest.raises(ValueError, match=r"\(L, 1, H\)"):
        stepper.set_state(0, (torch.zeros(1, 1, 3), torch.zeros(1, 1, 3)))
    with pytest.raises(IndexError, match="used"):
        stepper.sampling(0, used=[V])
    with pytest.raises(ValueError, match="head"):
        Stepper(net, nn.Linear(3, V))
    with pytest.raises(ValueError, match="not one of"):
        Stepper(net, head, weights="int4")
    assert stepper.step([], []).shape == (0, V)
    assert [len(row) for row in stepper.run(slots, 0)] == [0, 0]


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (LSTM(V, 8, layer_norm=True), "layer_norm"),
        (LSTM(V, 8, proj_size=4), "proj_size"),
        (GRU(V, 8, bidirectional=True), "bidirectional"),
        (GRU(V, 8, reset_after=False), "gru-reset-before"),
        (LSTM(V, 8, dtype=torch.bfloat16), "bfloat16"),
    ],
)
def test_what_it_does_not_take_it_says(net: Any, why: str) -> None:
    head = nn.Linear(8, V)
    assert why in str(refusal(net, head))
    with pytest.raises(ValueError, match=why):
        Stepper(net, head)


def test_float64_keeps_its_bits() -> None:
    net, head = pair(dtype=torch.float64)
    assert refusal(net, head) is None
    assert "float64" in str(refusal(net, head, weights="int8"))


def test_two_threads_may_not_share_one() -> None:
    net, head = pair(H=300)
    stepper = Stepper(net, head)
    slot, failed = stepper.join(), []

    def write() -> None:
        try:
            stepper.run([slot], 3000)
        except RuntimeError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(failed) < 4
    assert all("another thread" in message for message in failed)


def test_lists_are_not_read_over_those_of_the_call_at_work() -> None:
    net, head = pair(H=300)
    stepper = Stepper(net, head)
    slot, seen = stepper.join(), set()
    thread = threading.Thread(target=lambda: stepper.run([slot], 5000))
    thread.start()
    while thread.is_alive():
        with pytest.raises((RuntimeError, TypeError)) as caught:
            stepper.step([slot], ["x"])
        seen.add(caught.type)
    assert RuntimeError in seen


# ---- the law: the units of decoding/sampling.py

CONTROLS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 1e-300},
    {"temperature": 0.7, "top_k": 5},
    {"top_k": 1},
    {"top_k": V + 4},
    {"top_p": 0.8},
    {"min_p": 0.1},
    {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.5, "temperature": 0.0},
    {"temperature": 1.4, "top_k": 10, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.3},
]


class Model:
    """The stepper as :func:`generate` takes a model: the scores are the same to the bit."""

    def __init__(self, net: Any, head: Any) -> None:
        self.stepper = Stepper(net, head)
        self.slot = self.stepper.join()

    def first(self) -> Tensor:
        return self.stepper.scores([self.slot]).clone()

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.stepper.step([self.slot], ids).clone(), None


@pytest.mark.parametrize("seed", [0, 3, 2**64 - 1])
@pytest.mark.parametrize("stop", [None, 3])
def test_law_units_are_those_of_decoding(seed: int, stop: int | None) -> None:
    net, head = pair()
    stepper = Stepper(net, head, slots=len(CONTROLS))
    expected, slots = [], []
    for index, controls in enumerate(CONTROLS):
        config, model = SampleConfig(length=300, seed=seed, **controls), Model(net, head)
        ends = None if stop is None else lambda unit: unit == stop
        expected.append(list(generate(model, None, model.first(), config, index=index, stop=ends, used=[1, 2])))
        slot = stepper.join()
        stepper.sampling(slot, **controls, seed=seed, index=index, stop=stop, used=[1, 2])
        slots.append(slot)
    found = [row.tolist() for row in stepper.run(slots, 120)]
    alive = [k for k, row in enumerate(found) if len(row) == 120]
    for k, row in zip(alive, stepper.run([slots[k] for k in alive], 180), strict=True):
        found[k] += row.tolist()
    assert found == expected


@pytest.mark.parametrize("controls", CONTROLS)
def test_law_on_scores_with_ties_and_holes(controls: dict[str, Any]) -> None:
    """Scores of whole numbers, many equal, some -inf, which every unit leads to."""
    net, head = pair("rnn-identity", 4, bias=False)
    with torch.no_grad():
        for p in (*net.parameters(), head.weight):
            p.zero_()
    for seed in range(20):
        scores = torch.randint(-2, 3, (V,), generator=torch.Generator().manual_seed(seed)).float()
        scores[seed % V] = -float("inf")
        with torch.no_grad():
            head.bias.copy_(scores)
        config, model = SampleConfig(length=50, seed=seed, **controls), Model(net, head)
        expected = list(generate(model, None, model.first(), config))
        stepper = Stepper(net, head)
        assert [list(s) for s in Samples(stepper, None, config)] == [expected]


def test_samples_are_the_same_however_many_and_however_few_slots() -> None:
    net, head = pair("gru")
    config = SampleConfig(length=40, seed=9)
    state = torch.randn(1, 1, 24)
    whole = [list(s) for s in Samples(Stepper(net, head, slots=7), state, config, n=7, stop=5)]
    few = Stepper(net, head, slots=2)
    assert [list(s) for s in Samples(few, state, config, n=7, stop=5)] == whole
    assert few.free == 2
    assert [list(s) for s in Samples(few, state, config, n=1, first=4, stop=5)] == whole[4:5]
    assert len({tuple(row) for row in whole}) > 1
    empty = dataclasses.replace(config, length=0)
    assert [list(s) for s in Samples(few, state, empty, n=3)] == [[], [], []]


def test_a_sample_left_early_gives_its_slot_back() -> None:
    net, head = pair()
    stepper = Stepper(net, head, slots=2)
    for sample in Samples(stepper, None, SampleConfig(length=10**6), n=5):
        assert len([next(sample) for _ in range(3)]) == 3
        sample.close()  # type: ignore[attr-defined]
    assert stepper.free == 2


def test_the_words_for_weights_agree() -> None:
    assert engine.WEIGHTS == WEIGHTS


def test_uniforms_are_numpys() -> None:
    """A flat distribution over many units shows the upper bits of every number drawn."""
    n = 4096
    net, head = RNN(n, 1, engine="native"), nn.Linear(1, n)
    with torch.no_grad():
        for p in (*net.parameters(), *head.parameters()):
            p.zero_()
    stepper = Stepper(net, head)
    slot = stepper.join()
    stepper.sampling(slot, seed=12345678901234567890, index=3)
    raw = np.random.Philox(key=np.array([12345678901234567890, 3], np.uint64)).random_raw(100)
    assert stepper.run([slot], 100)[0].tolist() == [int(word >> np.uint64(52)) for word in raw]


def test_weights_of_another_kind_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for change, what in (
        (lambda net, head: (net.bfloat16(), head.bfloat16()), "weight_ih_l0 is torch.bfloat16"),
        (lambda net, head: (net.double(), head.double()), "weight_ih_l0 is torch.float64"),
        (lambda net, head: setattr(net, "weight_hh_l0", nn.Parameter(torch.zeros(4, 4))), r"weight_hh_l0 .*\(4, 4\)"),
        (lambda net, head: setattr(head, "bias", nn.Parameter(torch.zeros(4))), r"head.bias .*\(4,\)"),
    ):
        net, head = pair()
        stepper = Stepper(net, head)
        change(net, head)
        with pytest.raises(ValueError, match=what):
            stepper.refresh()


def test_a_default_device_elsewhere() -> None:
    net, head = pair()
    expected = Stepper(net, head)
    slot = expected.join()
    with torch.device("meta"):
        stepper = Stepper(net, head)
        assert stepper.join() == slot
        assert_same(stepper.step([slot], [3]), expected.step([slot], [3]))
        assert_same(stepper.run([slot], 9), expected.run([slot], 9))
        assert_same(stepper.state(slot), expected.state(slot))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signal here")
def test_a_signal_is_heard_when_the_first_rows_have_ended() -> None:
    net, head = pair(H=64)
    stepper = Stepper(net, head, slots=16)
    slots = [stepper.join() for _ in range(16)]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()[3] = 50.0  # every row writes 3, which stops the first half at once
    stepper.refresh()
    for slot in slots:
        stepper.sampling(slot, stop=3 if slot in slots[:8] else None)
    stepper.scores(slots)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            stepper.run(slots, 1 << 21)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_magnitudes_whose_inverse_is_no_number() -> None:
    net, head = pair()
    with torch.no_grad():
        head.weight[2].fill_(1e-38)
        net.weight_hh_l0[1].fill_(1e-37)
    stepper = Stepper(net, head, weights="int8")
    assert stepper.step([stepper.join()], [1]).isfinite().all()
