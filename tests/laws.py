"""Laws 2 to 9, which every engine and cell obeys, once, parametrised (DESIGN's numbers in the names).

Law 1, what the numbers are, stands in test_law_1.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unrolled
from tests.cases import (
    CELLS,
    VARIANTS,
    H,
    I,
    as_tuple,
    call_of,
    cotangent,
    gradients,
    hx,
    layer,
    pairs,
    scalar,
    state_of,
)  # fmt: skip
from tests.tolerances import assert_close, assert_same
from unrolled.engines import reference, spy

T, B = 6, 3
DTYPES = [torch.float32, torch.float64]


# -- laws 2 and 4 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "variant"), pairs())
@pytest.mark.parametrize("cut", [1, 4])
def test_law_2_split_anywhere_equals_whole(engine: str, variant: str, cut: int, dtype: torch.dtype) -> None:
    # Sixteen units: a layer norm's row of five may have next to no variance, and 1/sigma then lifts float32's rounding.
    net = layer(variant, engine, dtype=dtype, num_layers=2, hidden_size=16)
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
    found = gradients(scalar(joined, *as_tuple(end)), wrt)
    assert_close(found, expected, gradient=True)
    if engine == "native":  # what is handed across the cut, to the bit; a weight's is the sum of two parts' sums
        assert_same((joined, *as_tuple(end)), (whole, *as_tuple(last)))
        assert_same(found[: 1 + len(state)], expected[: 1 + len(state)])


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
    if engine == "native":
        assert_same((torch.cat(outputs), *as_tuple(state)), (whole, *as_tuple(last)))


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
    back = reference.backward(tape, cotangent(output, 0), tuple(cotangent(s, 1) for s in last), per_step=True)
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
    loss = (torch.stack(outputs) * cotangent(output, 0)).sum()
    loss = loss + sum((e * cotangent(e, 1)).sum() for e in s)
    for name, summands in back.by_step.items():
        alone = gradients(loss, [copies[t][name] for t in range(T)])
        assert_close(summands, torch.stack(alone), gradient=True, what=f"{name} by step")
    assert_close(back.d_h, torch.stack(gradients(loss, hidden)), gradient=True, what="d_h")
    assert_close(back.d_gates, torch.stack(gradients(loss, rows)), gradient=True, what="d_gates")


# -- laws 7 and 9 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "variant"), [(e, v) for e, v in pairs() if e != "aten" or "recurrent_dropout" not in VARIANTS[v][1]]
)
def test_law_7_same_seed_same_result(engine: str, variant: str) -> None:
    net = layer(variant, engine, training=True, num_layers=2, dropout=0.3)
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
