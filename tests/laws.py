"""The laws that every engine and cell obeys, once, parametrised (DESIGN's numbers in the names)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unrolled
from tests.cases import CELLS, VARIANTS, H, I, as_tuple, call_of, hx, layer, pairs, state_of
from tests.reference import naive
from tests.tolerances import assert_close
from unrolled.engines import reference, spy

T, B = 6, 3
DTYPES = [torch.float32, torch.float64]


def gradients(loss: Tensor, wrt: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, wrt, retain_graph=True, allow_unused=True, materialize_grads=True)


def _cotangent(tensor: Tensor, k: int) -> Tensor:
    return torch.cos(torch.arange(tensor.numel(), dtype=tensor.dtype) + k).reshape(tensor.shape)


def scalar(*tensors: Tensor) -> Tensor:
    """A loss that sees every element differently."""
    total = torch.zeros((), dtype=tensors[0].dtype)
    for k, tensor in enumerate(tensors):
        total = total + (tensor * _cotangent(tensor, k)).sum()
    return total


# -- law 1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "variant"), pairs())
def test_law_1_equals_the_naive_loop(engine: str, variant: str) -> None:
    net = layer(variant, engine)
    x, state = torch.randn(T, B, I, dtype=torch.float64), state_of(net, B)
    with torch.no_grad():
        output, last = net(x, hx(state))
    call = call_of(net, x, state)
    w = {name: tensor.tolist() for name, tensor in call.w.items()}
    rates = list(call.zoneout) or [0.0] * len(state)
    for b in range(B):
        rows = [s[0, b].tolist() for s in state]
        states = naive.run(call.cell.name, w, x[:, b].tolist(), rows, rates)
        assert_close(output[:, b], torch.tensor([s[0] for s in states], dtype=torch.float64))
        for k, s in enumerate(as_tuple(last)):
            assert_close(s[0, b], torch.tensor(states[-1][k], dtype=torch.float64))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_law_1_gradcheck(variant: str, training: bool) -> None:
    net = layer(variant, training=training)
    names, tensors = zip(*net.named_parameters(), strict=True)
    x = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True)
    state = state_of(net, 2, requires_grad=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)  # the same masks at every evaluation
        w = dict(zip(names, rest[len(state) :], strict=True))
        output, last = torch.func.functional_call(net, w, (x, hx(rest[: len(state)])))
        return output, *as_tuple(last)

    inputs = (x, *state, *(p.detach().requires_grad_() for p in tensors))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_law_1_bptt_by_hand_equals_autograd(variant: str, training: bool, reverse: bool, masked: bool) -> None:
    net = layer(variant, training=training)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    state = state_of(net, B, requires_grad=True)
    options = {"lengths": torch.tensor([4, 0, T]), "resets": torch.rand(T, B) < 0.4} if masked else {}
    call = call_of(net, x, state, seed=7 if training else None, reverse=reverse, **options)
    output, last, _ = reference.run(call)
    names = list(call.w)
    expected = gradients(scalar(output, *last), [x, *state, *call.w.values()])
    by_hand_output, by_hand_last, tape = reference.unroll(call)
    assert torch.equal(by_hand_output, output)
    assert all(torch.equal(a, b) for a, b in zip(by_hand_last, last, strict=True))
    back = reference.backward(tape, _cotangent(output, 0), tuple(_cotangent(s, k + 1) for k, s in enumerate(last)))
    assert_close(back.x, expected[0], gradient=True, what="dx")
    assert_close([s[None] for s in back.state], expected[1 : 1 + len(state)], gradient=True, what="d_state")
    assert set(back.weights) == set(names)
    for name, grad in zip(names, expected[1 + len(state) :], strict=True):
        assert_close(back.weights[name], grad, gradient=True, what=name)


# -- laws 2 and 4 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "variant"), pairs())
@pytest.mark.parametrize("cut", [1, 4])
def test_law_2_split_anywhere_equals_whole(engine: str, variant: str, cut: int, dtype: torch.dtype) -> None:
    net = layer(variant, engine, dtype=dtype, num_layers=2)
    x = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
    state = state_of(net, B, requires_grad=True)
    wrt = [x, *state, *net.parameters()]
    whole, last = net(x, hx(state))
    expected = gradients(scalar(whole, *as_tuple(last)), wrt)
    first, between = net(x[:cut], hx(state))
    second, end = net(x[cut:], between)
    joined = torch.cat((first, second))
    assert_close(joined, whole)
    assert_close(as_tuple(end), as_tuple(last))
    assert_close(gradients(scalar(joined, *as_tuple(end)), wrt), expected, gradient=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "variant"), pairs())
def test_law_4_step_by_step_equals_all_at_once(engine: str, variant: str, dtype: torch.dtype) -> None:
    net = layer(variant, engine, dtype=dtype)
    x = torch.randn(T, B, I, dtype=dtype)
    whole, last = net(x)
    state, outputs = None, []
    for t in range(T):
        output, state = net(x[t : t + 1], state)
        outputs.append(output)
    assert_close(torch.cat(outputs), whole)
    assert_close(as_tuple(state), as_tuple(last))


@pytest.mark.parametrize(("engine", "variant"), pairs())
@pytest.mark.parametrize("bidirectional", [False, True])
def test_law_4_none_equals_zeros(engine: str, variant: str, bidirectional: bool) -> None:
    net = layer(variant, engine, bidirectional=bidirectional)
    x = torch.randn(T, B, I, dtype=torch.float64)
    assert torch.equal(net(x)[0], net(x, unrolled.zeros(net, B))[0])


@pytest.mark.parametrize(("engine", "variant"), pairs(resets=True))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_law_4_a_reset_equals_a_fresh_start(engine: str, variant: str, bidirectional: bool) -> None:
    net = layer(variant, engine, bidirectional=bidirectional)
    x, cut = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True), 2
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[cut, 1] = True
    state = state_of(net, B)
    output, last = net(x, hx(state), resets=resets)
    uncut, uncut_last = net(x, hx(state))
    R, forward_only = net.proj_size or H, [s[:1] for s in state]
    for b in (0, 2):  # the other rows are as they were
        assert_close(output[:, b], uncut[:, b])
        assert_close([s[:, b] for s in as_tuple(last)], [s[:, b] for s in as_tuple(uncut_last)])
    fresh, fresh_last = net(x[cut:], unrolled.reset(hx(tuple(s for s in state)), torch.tensor([False, True, False])))
    assert_close(output[cut:, 1, :R], fresh[:, 1, :R], what="forward direction after the cut")
    assert_close(as_tuple(last)[0][0, 1], as_tuple(fresh_last)[0][0, 1])
    before, _ = net(x[:cut], hx(tuple(torch.cat([s, 0 * state[k][1:]]) for k, s in enumerate(forward_only))))
    assert_close(output[:cut, 1], before[:, 1], what="both directions before the cut")
    crossing = gradients(output[cut:, 1, :R].sum(), [x])[0]
    assert torch.count_nonzero(crossing[:cut, 1]) == 0


@pytest.mark.parametrize(("engine", "variant"), pairs(lengths=True))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_law_4_padding_is_not_there(engine: str, variant: str, bidirectional: bool) -> None:
    net = layer(variant, engine, num_layers=2, bidirectional=bidirectional)
    lengths = torch.tensor([4, 0, T])
    x = torch.randn(T, B, I, dtype=torch.float64)
    x[4:, 0] = float("nan")  # whatever stands in the padding
    x.requires_grad_()
    state = state_of(net, B, requires_grad=True)
    output, last = net(x, hx(state), lengths=lengths)
    grads = gradients(scalar(output, *as_tuple(last)), [x, *state, *net.parameters()])
    assert all(torch.isfinite(g).all() for g in grads)
    assert torch.count_nonzero(grads[0][4:, 0]) == torch.count_nonzero(grads[0][:, 1]) == 0
    assert torch.count_nonzero(output[4:, 0]) == torch.count_nonzero(output[:, 1]) == 0
    assert_close([s[:, 1] for s in as_tuple(last)], [s[:, 1] for s in state], what="length 0 keeps the initial state")
    for b, n in ((0, 4), (2, T)):
        alone, alone_last = net(x[:n, b : b + 1], hx(tuple(s[:, b : b + 1] for s in state)))
        assert_close(output[:n, b], alone[:, 0])
        assert_close([s[:, b] for s in as_tuple(last)], [s[:, 0] for s in as_tuple(alone_last)])


# -- laws 3 and 5 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "variant"), pairs(CELLS))
def test_law_3_truncated_at_the_whole_length_is_full_bptt(engine: str, variant: str) -> None:
    net = layer(variant, engine)
    x = torch.randn(12, B, I, dtype=torch.float64)

    def truncated(k: int) -> tuple[Tensor, ...]:
        net.zero_grad()
        state = None
        for chunk in x.split(k):
            output, state = net(chunk, state)
            scalar(output).backward()
            state = unrolled.detach(state)
        return tuple(p.grad.clone() for p in net.parameters())

    full = gradients(scalar(net(x)[0]), list(net.parameters()))
    assert_close(truncated(12), full, gradient=True)
    assert not torch.allclose(truncated(4)[1], full[1])


@pytest.mark.parametrize(("engine", "variant"), pairs(CELLS))
def test_law_3_memory_does_not_grow_with_the_text(engine: str, variant: str) -> None:
    net = layer(variant, engine)

    def peak(chunks: int) -> int:
        kept, peaks, state = [0], [0], None

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                self.tensor, self.size = tensor, tensor.numel()
                kept[0] += self.size
                peaks[0] = max(peaks[0], kept[0])

            def __del__(self) -> None:
                kept[0] -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            for _ in range(chunks):
                output, state = net(torch.randn(4, B, I, dtype=torch.float64), state)
                output.sum().backward()
                state = unrolled.detach(state)
        return peaks[0]

    assert peak(2) > 0
    assert peak(20) == peak(2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_law_5_a_shared_weights_gradient_is_the_sum_over_time(variant: str) -> None:
    net = layer(variant, training=True)
    x, state = torch.randn(T, B, I, dtype=torch.float64), state_of(net, B)
    call = call_of(net, x, state, seed=3)
    output, last, tape = reference.unroll(call)
    back = reference.backward(tape, _cotangent(output, 0), tuple(_cotangent(s, 1) for s in last), per_step=True)
    for name, summands in back.by_step.items():
        assert_close(summands.sum(0), back.weights[name], gradient=True, what=name)
    # Each summand on its own: the gradient of a copy of the weights that only step t reads.
    copies = [{name: tensor.detach().requires_grad_() for name, tensor in call.w.items()} for _ in range(T)]
    rows = [call.cell.project(x, call.w)[t].detach().requires_grad_() for t in range(T)]
    s, outputs, hidden = tuple(s[0] for s in state), [], []
    for t in range(T):
        new, _ = call.cell.step(rows[t], s, copies[t], call.mask)
        if call.zoned:
            new = tuple(torch.where(z[t], old, n) for z, old, n in zip(call.zoned, s, new, strict=True))
        s = new
        hidden.append(s[0])
        outputs.append(s[0])
    loss = (torch.stack(outputs) * _cotangent(output, 0)).sum()
    loss = loss + sum((e * _cotangent(e, 1)).sum() for e in s)
    for name, summands in back.by_step.items():
        alone = gradients(loss, [copies[t][name] for t in range(T)])
        assert_close(summands, torch.stack(alone), gradient=True, what=f"{name} by step")
    assert_close(back.d_h, torch.stack(gradients(loss, hidden)), gradient=True, what="d_h")
    assert_close(back.d_gates, torch.stack(gradients(loss, rows)), gradient=True, what="d_gates")


# -- laws 7 and 9 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_law_7_same_seed_same_result(variant: str) -> None:
    net = layer(variant, training=True, num_layers=2, dropout=0.3)
    x = torch.randn(T, B, I, dtype=torch.float64)
    runs = []
    for _ in range(2):
        torch.manual_seed(11)
        runs.append(net(x)[0])
    assert torch.equal(*runs)


@pytest.mark.parametrize(("engine", "variant"), pairs())
def test_law_9_the_engine_asked_for_is_the_one_that_runs(engine: str, variant: str) -> None:
    with spy() as ran:
        layer(variant, engine)(torch.randn(T, B, I, dtype=torch.float64))
    assert ran == [engine]


def test_law_9_auto_takes_the_fused_kernels_where_it_can() -> None:
    x = torch.randn(T, B, I, dtype=torch.float64)
    for variant in ("rnn-tanh", "rnn-relu", "lstm", "lstm-projected", "gru"):
        with spy() as ran:
            layer(variant, "auto")(x)
        assert ran[0] != "reference", variant
