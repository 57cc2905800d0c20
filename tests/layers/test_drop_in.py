"""What users do with a torch.nn layer beside calling it, and our extras at the call."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch

import unrolled.layers
from tests.tolerances import assert_close
from unrolled.layers import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

T, B, I, H = 5, 3, 4, 6
KINDS = ["RNN", "LSTM", "GRU"]


def make(kind: str, **options: Any) -> Any:
    return getattr(unrolled.layers, kind)(I, H, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_is_an_rnnbase_with_its_attributes(kind: str) -> None:
    layer = make(kind, num_layers=2, bidirectional=True)
    assert isinstance(layer, torch.nn.RNNBase)
    layer.flatten_parameters()
    theirs = getattr(torch.nn, kind)(I, H, num_layers=2, bidirectional=True)
    assert [[w.shape for w in row] for row in layer.all_weights] == [
        [w.shape for w in row] for row in theirs.all_weights
    ]
    for name in ("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(layer, name) == getattr(theirs, name)
    assert repr(layer) == repr(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extras", [{}, {"layer_norm": True, "zoneout": 0.1}])
def test_copies_and_pickles(kind: str, extras: dict[str, Any]) -> None:
    layer, x = make(kind, **extras).eval(), torch.randn(T, B, I)
    expected = layer(x)[0]  # before it is copied: what a call leaves in a layer must not be in the way
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], expected)
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        assert not torch.equal(other(x)[0], layer(x)[0])
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    fresh = make(kind, **extras).eval()
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(fresh(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_read_at_every_forward(kind: str) -> None:
    layer, x = make(kind), torch.randn(T, B, I)
    before = layer(x)[0]
    changed = {name: p.detach() * 0.5 for name, p in layer.named_parameters()}
    other = torch.func.functional_call(layer, changed, (x,))[0]
    assert not torch.equal(other, before)
    assert torch.equal(layer(x)[0], before)
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    assert_close(layer(x)[0], before)
    with torch.no_grad():
        layer.parametrizations.weight_hh_l0.original0.mul_(0.5)
    assert not torch.allclose(layer(x)[0], before)
    layer.weight_ih_l0 = torch.nn.Parameter(torch.zeros_like(layer.weight_ih_l0))
    assert torch.equal(layer(x)[0][0], layer(torch.zeros_like(x))[0][0])


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_dtype_and_modes(kind: str) -> None:
    layer, seen = make(kind), []
    layer.register_forward_hook(lambda module, args, output: seen.append(output[0].shape))
    layer(torch.randn(T, B, I))
    assert seen == [(T, B, H)]
    assert layer.double()(torch.randn(T, B, I, dtype=torch.float64))[0].dtype == torch.float64
    meta = make(kind, device="meta")
    assert meta.weight_hh_l0.is_meta


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extras", [{}, {"zoneout": 0.2, "layer_norm": True, "recurrent_dropout": 0.2}])
def test_compiles_without_a_graph_break(kind: str, extras: dict[str, Any]) -> None:
    torch.compiler.reset()  # dynamo counts the compilations of one code object, whoever asked for them
    layer, x = make(kind, **extras).eval(), torch.randn(T, B, I)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert_close(compiled(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_ids_are_one_hot_vectors_never_built(kind: str, batch_first: bool) -> None:
    layer = make(kind, batch_first=batch_first, dtype=torch.float64)
    ids = torch.randint(0, I, (B, T) if batch_first else (T, B))
    dense = torch.nn.functional.one_hot(ids, I).double()
    (output, last), (expected, expected_last) = layer(ids), layer(dense)
    assert_close(output, expected)
    assert_close(last, expected_last)
    mine = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
    assert_close(mine, torch.autograd.grad(expected.square().sum(), list(layer.parameters())), gradient=True)
    assert_close(layer(ids[0] if batch_first else ids[:, 0])[0], expected[0] if batch_first else expected[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_trace_holds_every_state_and_gate(kind: str) -> None:
    layer = make(kind, num_layers=2, bidirectional=True, dtype=torch.float64)
    x, lengths = torch.randn(T, B, I, dtype=torch.float64), torch.tensor([T, 2, 0])
    plain, last = layer(x, lengths=lengths)
    output, _, traces = layer(x, lengths=lengths, trace=True)
    assert_close(output, plain)
    h_n = last[0] if kind == "LSTM" else last
    assert len(traces) == 4
    for k, trace in enumerate(traces):
        reverse = k % 2 == 1
        h = trace["h"]
        assert h.shape == (T + 1, B, H)
        assert_close(h[0] if reverse else h[T], h_n[k])
        assert torch.count_nonzero(h[T] if reverse else h[0]) == 0
        for gate in trace.gates.values():
            assert gate.shape == (T, B, H)
            assert torch.count_nonzero(gate[2:, 1]) == 0
        if kind == "LSTM":  # the additive path, from the trace alone
            before, after = (trace["c"][1:], trace["c"][:-1]) if reverse else (trace["c"][:-1], trace["c"][1:])
            made = trace["f"] * before + trace["i"] * trace["g"]
            assert_close(made[:, 0], after[:, 0])


def test_forward_and_reverse_traces_line_up_with_the_output() -> None:
    layer = make("GRU", bidirectional=True)
    output, _, (forward, backward) = layer(torch.randn(T, B, I), trace=True)
    assert torch.equal(output, torch.cat((forward["h"][1:], backward["h"][:-1]), -1))


def test_evaluation_takes_the_expectation_of_zoneout_and_drops_nothing() -> None:
    x = torch.randn(T, B, I)
    dropped = make("LSTM", recurrent_dropout=0.5)
    plain = make("LSTM")
    plain.load_state_dict(dropped.state_dict())
    assert_close(dropped.eval()(x)[0], plain(x)[0])
    assert not torch.allclose(dropped.train()(x)[0], plain(x)[0])
    frozen = make("GRU", zoneout=0.999999).eval()
    state = torch.randn(1, B, H)
    assert torch.allclose(frozen(x, state)[0][-1], state[0], atol=1e-3)


def test_one_recurrent_dropout_mask_serves_the_whole_sequence() -> None:
    layer = RNN(H, H, bias=False, nonlinearity="identity", recurrent_dropout=0.5)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.eye(H))
    output, _ = layer(torch.zeros(3, B, H), torch.ones(1, B, H))
    kept = output[0] > 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(output[2], torch.where(kept, 8.0, 0.0))  # 2 * 2 * 2: the same units at every step


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: GRU(I, H, forget_bias=1.0), "forget_bias=1.0: needs an LSTM"),
        (lambda: LSTM(I, H, bias=False, forget_bias=1.0), "bias=True"),
        (lambda: LSTM(I, H, init="identity"), "init='identity'"),
        (lambda: RNN(I, H, init="chrono"), "init='chrono'"),
        (lambda: LSTM(I, H, init="chrono", forget_bias=1.0), "give one"),
        (lambda: LSTM(I, H, init="xavier"), "not one of torch, orthogonal"),
        (lambda: GRU(I, H, layer_norm=True, reset_after=False), "reset_after=True"),
        (lambda: LSTM(I, H, zoneout=1.0), "zoneout=1.0"),
        (lambda: GRU(I, H, zoneout=(0.1, 0.2)), "one for each of h"),
        (lambda: LSTM(I, H, recurrent_dropout=-0.1), "recurrent_dropout=-0.1"),
        (lambda: GRU(I, H, proj_size=2), "only LSTM has a projection"),
        (lambda: RNN(I, H, nonlinearity="sin"), "not one of tanh, relu, identity"),
        (lambda: LSTM(I, H, zoneout=0.1, engine="aten"), "torch's kernels do not take zoneout"),
        (lambda: LSTMCell(0, H), "input_size=0"),
    ],
)
def test_what_does_not_go_together_is_refused_at_construction(make_it: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        make_it()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda n: n(torch.zeros(T, B, I + 1)), RuntimeError, r"\(5, 3, 5\).*input_size = 4"),
        (lambda n: n(torch.zeros(T, B, I + 1)), ValueError, "input_size = 4"),
        (lambda n: n(torch.zeros(T)), ValueError, "input has 1 dimensions"),
        (lambda n: n(torch.zeros(0, B, I)), ValueError, "T is 0"),
        (lambda n: n(torch.zeros(T, B, I, dtype=torch.float64)), ValueError, "float64.*float32"),
        (lambda n: n([1.0]), TypeError, "not list"),
        (lambda n: n(torch.zeros(T, B, I), torch.zeros(1, B, H)), ValueError, r"expected \(h, c\)"),
        (lambda n: n(torch.zeros(T, B, I), (torch.zeros(1, B, H), torch.zeros(1, 2, H))), ValueError, r"hx \(c\)"),
        (lambda n: n(torch.zeros(T, B, I), lengths=torch.tensor([1, 2, 6])), ValueError, "lengths holds 6"),
        (lambda n: n(torch.zeros(T, B, I), lengths=torch.tensor([1, 2])), ValueError, r"lengths has shape \(2,\)"),
        (lambda n: n(torch.zeros(T, B, I), lengths=torch.ones(3)), TypeError, "expected integers"),
        (lambda n: n(torch.zeros(T, B, I), resets=torch.zeros(B, T, dtype=torch.bool)), ValueError, "resets has shape"),
        (lambda n: n(torch.zeros(T, B, I), resets=torch.zeros(T, B)), TypeError, "expected a bool tensor"),
        (lambda n: n(torch.full((T, B), I)), ValueError, "holds the id 4, expected 0 to 3"),
        (lambda n: n(torch.full((T, B), -1)), ValueError, "holds the id -1"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(LSTM(I, H))


def test_cells_take_ids_and_extras_and_name_bad_input() -> None:
    for cell in (RNNCell(I, H, layer_norm=True), GRUCell(I, H, reset_after=False), LSTMCell(I, H, forget_bias=1.0)):
        ids = torch.tensor([0, 3, 1])
        dense = torch.nn.functional.one_hot(ids, I).float()
        a, b = cell(ids), cell(dense)
        assert_close(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,))
    with pytest.raises(ValueError, match="last dimension of 4"):
        LSTMCell(I, H)(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"hx \(h\)"):
        GRUCell(I, H)(torch.zeros(2, I), torch.zeros(3, H))
