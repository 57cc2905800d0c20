"""The operators that torch.compile and torch.export see, and what they say to bad arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import unrolled
from tests.cases import needs_core
from tests.tolerances import assert_same
from unrolled.engines import spy

pytestmark = needs_core
T, B, I, H = 6, 3, 4, 5
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "rnn relu": ("RNN", {"nonlinearity": "relu", "bias": False}),
    "lstm": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "lstm projected": ("LSTM", {"proj_size": 3}),
    "lstm everything": (
        "LSTM",
        {"layer_norm": True, "zoneout": (0.2, 0.3), "recurrent_dropout": 0.2, "num_layers": 2, "dropout": 0.3},
    ),
    "gru": ("GRU", {"bidirectional": True}),
    "gru before": ("GRU", {"reset_after": False}),
}


@pytest.fixture(autouse=True)
def _nothing_compiled_yet() -> None:
    torch.compiler.reset()


def arguments(name: str, *, tokens: bool = False, grad: bool = True) -> tuple[Any, list[Any]]:
    """The operator of a case, and what it takes."""
    kind, options = CASES[name]
    net = getattr(unrolled, kind)(I, H, **options)
    x: Any = torch.randint(0, I, (T, B)) if tokens else torch.randn(T, B, I, requires_grad=grad)
    state = unrolled.zeros(net, B)
    state = [s.requires_grad_(grad) for s in (state if isinstance(state, tuple) else (state,))]
    weights = [getattr(net, full).detach().requires_grad_(grad) for _, names in net._cells() for _, full in names]
    own = {"RNN": options.get("nonlinearity", "tanh"), "LSTM": net.proj_size, "GRU": options.get("reset_after", True)}
    seed = torch.tensor(5) if "everything" in name else None
    zoneout = list(net.zoneout) if any(net.zoneout) else []
    given = [x, *state, weights, torch.tensor([T, 2, 0]), torch.rand(T, B) < 0.3, seed, net.num_layers]
    given += [net.bidirectional, net.bias, net.layer_norm, net.dropout, net.recurrent_dropout, zoneout, grad, own[kind]]
    return getattr(torch.ops.unrolled, kind.lower()).default, given


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tokens", [False, True])
def test_opcheck(name: str, tokens: bool) -> None:
    operator, given = arguments(name, tokens=tokens)
    assert set(torch.library.opcheck(operator, given).values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", CASES)
def test_compiled_equals_eager_to_the_bit(name: str) -> None:
    kind, options = CASES[name]
    net = getattr(unrolled, kind)(I, H, engine="native", **options)
    x, lengths = torch.randn(T, B, I, requires_grad=True), torch.tensor([T, 2, 0])

    def run(x: torch.Tensor, lengths: torch.Tensor) -> Any:
        output, _, traces = net(x * 2, lengths=lengths, trace=True)
        return output, traces[0]["h"].square().sum() + output.sum()

    found = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(4)
        output, loss = function(x, lengths)
        found.append((output, *torch.autograd.grad(loss, [x, *net.parameters()])))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("name", CASES)
def test_export_keeps_the_operator_and_takes_other_sizes(name: str) -> None:
    kind, options = CASES[name]
    net = getattr(unrolled, kind)(I, H, **options).eval()
    sizes = {0: torch.export.Dim("T", min=2, max=50), 1: torch.export.Dim("B", min=2, max=50)}
    program = torch.export.export(net, (torch.randn(T, B, I),), dynamic_shapes=(sizes,))
    assert f"unrolled.{kind.lower()}" in str(program.graph)
    x = torch.randn(T + 3, B + 4, I)
    assert_same([program.module()(x)[0]], [net(x)[0]])


def test_tracers_and_dispatch_modes_see_the_operator() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    net, x = unrolled.GRU(I, H, engine="native"), torch.randn(T, B, I)
    with Watch(), spy() as ran:
        output, _ = net(x)
    assert any("unrolled.gru" in name for name in seen)
    assert ran == ["native"]
    assert torch.equal(output, net(x)[0])


def test_double_backward_of_the_operator() -> None:
    operator, given = arguments("lstm")
    x = given[0].detach().double().requires_grad_()
    rest = [[w.detach().double() for w in a] if isinstance(a, list) and a else a for a in given[1:]]
    rest = [a.detach().double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in rest]
    assert torch.autograd.gradcheck(lambda x: operator(x, *rest)[0], (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: operator(x, *rest)[0], (x,), fast_mode=True)


def test_without_a_tape_there_is_no_gradient_and_it_says_so() -> None:
    operator, given = arguments("gru")
    given[-2] = False
    with pytest.raises(RuntimeError, match=r"unrolled::gru ran with keep=False"):
        operator(*given)[0].sum().backward()


BAD: dict[str, tuple[int, Any, type[Exception], str]] = {
    "x of another width": (0, torch.zeros(T, B, I + 1), ValueError, r"x has shape \(6, 3, 5\), expected \(6, 3, 4\)"),
    "x of another dtype": (
        0,
        torch.zeros(T, B, I).double(),
        TypeError,
        "x has dtype torch.float64, expected torch.float32",
    ),
    "x of one dimension": (0, torch.zeros(T), ValueError, r"x has shape \(6,\)"),
    "no steps": (0, torch.zeros(0, B, I), ValueError, r"x has shape \(0, 3, 4\): T is 0"),
    "h0 of another batch": (1, torch.zeros(2, B + 1, H), ValueError, r"h0 has shape \(2, 4, 5\), expected \(2, 3, 5\)"),
    "h0 of another dtype": (1, torch.zeros(2, B, H).half(), TypeError, "h0 has dtype torch.float16"),
    "too few weights": (2, [torch.zeros(3 * H, I)], ValueError, "weights holds 1 tensors, expected 8"),
    "lengths past T": (3, torch.tensor([T + 1, 2, 0]), ValueError, "lengths holds 7, expected 0 to T = 6"),
    "lengths below 0": (3, torch.tensor([T, -2, 0]), ValueError, "lengths holds -2"),
    "lengths of int32": (3, torch.tensor([T, 2, 0]).int(), TypeError, "lengths has dtype torch.int32"),
    "too many lengths": (3, torch.tensor([T, 2, 0, 1]), ValueError, r"lengths has shape \(4,\), expected \(3,\)"),
    "resets of floats": (4, torch.zeros(T, B), TypeError, "resets has dtype torch.float32, expected torch.bool"),
    "resets turned": (4, torch.zeros(B, T) > 0, ValueError, r"resets has shape \(3, 6\), expected \(6, 3\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name: str) -> None:
    place, value, error, words = BAD[name]
    operator, given = arguments("gru", grad=False)
    given[place] = value
    with pytest.raises(error, match=words):
        operator(*given)


def test_bad_weights_and_ids_are_named() -> None:
    operator, given = arguments("gru", grad=False, tokens=True)
    for bad in (-1, I):
        ids = given[0].clone()
        ids[0, 1] = bad
        with pytest.raises(ValueError, match=f"x holds the id {bad}, expected 0 to 3"):
            operator(ids, *given[1:])
        ids[0, 1], ids[3, 1] = 0, bad  # past its length of 2
        operator(ids, *given[1:])
    with pytest.raises(TypeError, match=r"x has dtype torch\.int32"):
        operator(given[0].int(), *given[1:])
    weights = [w.clone() for w in given[2]]
    weights[1] = weights[1].t()
    with pytest.raises(ValueError, match=r"weights\[1\] has shape \(5, 15\), expected \(15, 5\)"):
        operator(*given[:2], weights, *given[3:])
    with pytest.raises(TypeError, match=r"weights has dtype torch\.bfloat16, expected float32 or float64"):
        operator(*given[:2], [w.bfloat16() for w in given[2]], *given[3:])


def test_a_tape_of_another_call_is_refused() -> None:
    operator, given = arguments("gru", grad=False)
    given[-2] = True
    output, h_n, tape = operator(*given)
    back = torch.ops.unrolled.gru_backward.default
    wanted = [True] * (2 + len(given[2]))
    assert len(back(output, h_n, None, output, tape, wanted, *given)) == len(wanted)
    for place, bad in ((0, output[1:]), (1, h_n.double()), (3, output[:, :1]), (4, tape[:-1])):
        d = [output, h_n, None, output, tape]
        d[place] = bad
        with pytest.raises(ValueError, match=r"expected torch\.float32"):
            back(*d, wanted, *given)


# -- the layer's own face ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_any_layout_of_memory_is_read_right(kind: str) -> None:
    net = getattr(unrolled, kind)(I, H, 2, engine="native", dtype=torch.float64)
    plain = torch.randn(T, B, I, dtype=torch.float64)
    wide = torch.randn(T, B, 2 * I, dtype=torch.float64)
    laid = [plain.transpose(0, 1).contiguous().transpose(0, 1), plain.permute(2, 1, 0).contiguous().permute(2, 1, 0)]
    laid += [torch.cat((plain, plain), -1)[..., :I], wide[..., ::2].copy_(plain), wide[:, 1:2], plain[::2]]
    laid += [plain[:1].expand(T, B, I), plain[:, :1].expand(T, B, I), plain[..., :1].expand(T, B, I)]
    for x in laid:
        x = x if x.shape[-1] == I else x[..., :I]
        a, b = x.detach().requires_grad_(), x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        assert torch.equal(net(a)[0], net(b)[0])
        wrt = list(net.parameters())
        mine = torch.autograd.grad(net(a)[0].square().sum(), [a, *wrt])
        assert_same(mine, torch.autograd.grad(net(b)[0].square().sum(), [b, *wrt]))
    turned = {name: p.t().contiguous().t() if p.dim() == 2 else p for name, p in net.named_parameters()}
    assert torch.equal(torch.func.functional_call(net, turned, (plain,))[0], net(plain)[0])


def test_weights_of_another_shape_dtype_or_place_are_named() -> None:
    net, x = unrolled.GRU(I, H, engine="native"), torch.randn(T, B, I)
    for weight, error, words in (
        (torch.zeros(3 * H, H + 1), ValueError, r"weights\[1\] has shape \(15, 6\)"),
        (torch.zeros(3 * H, H).double(), TypeError, r"weights\[1\] has dtype torch.float64"),
        (torch.zeros(3 * H, H, device="meta"), TypeError, r"weights\[1\] is on meta"),
    ):
        with pytest.raises(error, match=words):
            torch.func.functional_call(net, {"weight_hh_l0": weight}, (x,))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_nan_in_the_weights_is_nan_in_the_result(kind: str) -> None:
    net, x = getattr(unrolled, kind)(I, H, engine="native"), torch.randn(T, B, I)
    for name, p in net.named_parameters():
        kept = p.detach().clone()
        with torch.no_grad():
            p.view(-1)[0] = float("nan")
        output, _ = net(x)
        assert output[-1].isnan().any(), name
        assert any(g.isnan().any() for g in torch.autograd.grad(output.sum(), list(net.parameters())))
        with torch.no_grad():
            p.copy_(kept)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_batch_of_no_rows(kind: str) -> None:
    net = getattr(unrolled, kind)(I, H, 2, engine="native")
    x = torch.randn(T, 0, I, requires_grad=True)
    output, _, traces = net(x, trace=True)
    assert output.shape == (T, 0, H)
    assert traces[0]["h"].shape == (T + 1, 0, H)
    assert all(not g.any() for g in torch.autograd.grad(output.sum(), [x, *net.parameters()]))
    with pytest.raises(ValueError, match="T is 0"):
        net(torch.zeros(0, B, I))


def test_what_native_does_not_take_raises_and_auto_goes_elsewhere() -> None:
    x = torch.randn(T, B, I)
    for dtype in (torch.bfloat16, torch.float16):
        half = unrolled.LSTM(I, H, dtype=dtype)
        assert half.explain(x.to(dtype)).engine == "aten"
        half.engine = "native"
        with pytest.raises(ValueError, match="computes in float32 and float64, not in"):
            half(x.to(dtype))
    with pytest.raises(ValueError, match="runs on a CPU, not on meta"):
        unrolled.LSTM(I, H, device="meta", engine="native")(x.to("meta"))
    assert unrolled.LSTM(I, H, device="meta")(x.to("meta"))[0].is_meta
    net = unrolled.LSTM(I, H, engine="native")
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ValueError, match="autocast"):
        net(x)
    with pytest.raises(ValueError, match=r"does not take torch\.func and forward mode"):
        torch.func.grad(lambda x: net(x)[0].sum())(x)


def test_an_embedding_that_does_not_fit_is_named() -> None:
    net, ids = unrolled.LSTM(I, H), torch.zeros(T, B, dtype=torch.int64)
    table = torch.zeros(9, I)
    for given, bad, error, words in (
        (torch.zeros(T, B, I), table, TypeError, "embedding= is for integer input"),
        (ids, table.tolist(), TypeError, "embedding is list"),
        (ids, table.long(), TypeError, "embedding is torch.int64"),
        (ids, torch.zeros(9, I + 1), ValueError, r"embedding has shape \(9, 5\), expected \(V, I\) with I = 4"),
        (ids, table.double(), ValueError, "embedding has dtype torch.float64"),
        (ids + 9, table, ValueError, "holds the id 9, expected 0 to 8"),
    ):
        with pytest.raises(error, match=words):
            net(given, embedding=bad)
