from __future__ import annotations

import pathlib

import pytest
import torch

import unrolled.layers
from unrolled.engines import ENGINES, Request, choose, masks, refusal, spy
from unrolled.engines.select import native_at_once
from unrolled.engines.table import CELLS, support_table


def test_philox_gives_the_published_numbers() -> None:
    """Known-answer vectors of Random123 (Salmon et al. 2011), philox4x32-10."""
    for counter, key, expected in (
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ):  # fmt: skip
        words = masks.philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))
        assert tuple(int(w) for w in words) == expected


def test_a_mask_depends_on_its_place_alone() -> None:
    seed, device = torch.tensor(12345), torch.device("cpu")
    large = masks.hits(0.3, seed, 9, T=50, B=40, N=30, device=device)
    small = masks.hits(0.3, seed, 9, T=7, B=5, N=11, device=device)
    assert torch.equal(large[:7, :5, :11], small)
    assert not torch.equal(large, masks.hits(0.3, seed, 10, 50, 40, 30, device))
    assert abs(large.double().mean().item() - 0.3) < 4 * (0.3 * 0.7 / large.numel()) ** 0.5


def test_a_dropout_mask_keeps_the_expectation() -> None:
    mask = masks.dropout_mask(0.25, torch.tensor(1), 3, 400, 300, torch.zeros((), dtype=torch.float64))
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.75}
    assert abs(mask.mean().item() - 1) < 0.01


def test_an_engine_asked_for_by_name_never_falls_back() -> None:
    with pytest.raises(ValueError, match="engine='aten' cannot run this call: torch's kernels do not take zoneout"):
        choose("aten", Request("lstm", zoneout=True))
    with pytest.raises(ValueError, match="not one of auto"):
        choose("cuda", Request("lstm"))
    if refusal("native", Request("lstm")):
        with pytest.raises(ValueError, match=r"no compiled core|does not load|switched off"):
            choose("native", Request("lstm"))


def test_auto_explains_itself() -> None:
    explanation = choose("auto", Request("lstm", resets=True, tokens=False))
    assert explanation.engine in ENGINES
    assert "resets=" in str(explanation) or explanation.engine == "native"
    layer = unrolled.layers.LSTM(3, 4)
    x = torch.zeros(2, 1, 3)
    assert layer.explain(x).engine == choose("auto", Request("lstm")).engine
    assert layer.explain(x, trace=True).engine == choose("auto", Request("lstm", trace=True)).engine


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("autocast", [False, True])
def test_native_at_once_says_what_choose_says(dtype: torch.dtype, device: str, autocast: bool) -> None:
    like = torch.empty(2, dtype=dtype, device=device)
    for cell in (*CELLS, "another"):
        request = Request(cell, device=device, dtype=dtype, autocast=autocast)
        with torch.autocast("cpu", enabled=autocast):
            assert native_at_once("auto", cell, like) == (choose("auto", request).engine == "native")
            assert native_at_once("native", cell, like) == (refusal("native", request) is None)
            assert not native_at_once("aten", cell, like)
            assert not native_at_once("reference", cell, like)
    seen: list[bool] = []
    torch.func.grad(lambda x: (seen.append(native_at_once("auto", "lstm", x.new_empty(1))), x.sum())[1])(torch.ones(2))
    assert seen == [False]


def test_the_support_table_in_the_docs_is_what_the_code_says() -> None:
    page = pathlib.Path(__file__).parents[2] / "docs" / "support.md"
    assert page.read_text(encoding="utf-8") == support_table(), (
        "run: python -m unrolled.engines.table > docs/support.md"
    )


@pytest.mark.parametrize("option", ["layer_norm", "recurrent_dropout", "zoneout", "resets", "trace", "tokens"])
def test_what_the_table_says_no_to_raises_and_yes_runs(option: str) -> None:
    at_construction = {"layer_norm": True, "recurrent_dropout": 0.3, "zoneout": 0.3}
    extras = {option: at_construction[option]} if option in at_construction else {}
    call = {"resets": torch.zeros(3, 2, dtype=torch.bool)} if option == "resets" else {}
    call |= {"trace": True} if option == "trace" else {}
    x = torch.zeros(3, 2, dtype=torch.int64) if option == "tokens" else torch.zeros(3, 2, 4)
    for engine in ENGINES:
        if refusal(engine, Request("gru", **{option: True})):
            with pytest.raises(ValueError, match=engine):
                unrolled.layers.GRU(4, 5, engine=engine, **extras)(x, **call)
        else:
            unrolled.layers.GRU(4, 5, engine=engine, **extras)(x, **call)


def test_torch_func_and_forward_mode_go_to_an_engine_that_can() -> None:
    layer = unrolled.layers.LSTM(3, 4, dtype=torch.float64)
    x, tangent = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    _, forward = torch.func.jvp(lambda x: layer(x)[0], (x,), (tangent,))
    numeric = (layer(x + 1e-6 * tangent)[0] - layer(x - 1e-6 * tangent)[0]) / 2e-6
    assert torch.allclose(forward, numeric, atol=1e-8)
    assert torch.count_nonzero(forward) > 0
    per_row = torch.func.vmap(torch.func.grad(lambda x: layer(x)[0].sum()), in_dims=1, out_dims=1)(x)
    x.requires_grad_()
    layer(x)[0].sum().backward()
    assert torch.allclose(per_row, x.grad)
    with torch.autograd.forward_ad.dual_level():
        assert layer.explain(x.detach()).engine == "reference"


def test_the_seed_is_drawn_on_the_cpu_whatever_the_default_device() -> None:
    torch.manual_seed(4)
    expected = masks.draw_seed()
    torch.manual_seed(4)
    with torch.device("meta"):
        seed = masks.draw_seed()
    assert seed.device.type == "cpu"
    assert seed == expected


def test_the_spy_hears_the_engine_and_not_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that chose aten and ran the reference all the same would be heard."""
    layer, x = unrolled.layers.LSTM(3, 4, 2, bidirectional=True, engine="aten"), torch.randn(5, 2, 3)
    with spy() as ran:
        layer(x)
        layer(x, lengths=[0, 0])
        unrolled.layers.LSTMCell(3, 4, engine="aten")(x[0])
        unrolled.layers.LSTMCell(3, 4, engine="reference")(x[0])
        unrolled.layers.LSTM(3, 4, engine="reference")(x, trace=True)
    assert ran == ["aten", "aten", "aten", "reference", "reference"]
    monkeypatch.setattr(type(layer), "_run_aten", lambda self, entry: self._run_reference(entry, False)[:2])
    with spy() as ran:
        layer(x)
    assert ran == ["reference"]


def test_explain_takes_cells() -> None:
    cell = unrolled.layers.LSTMCell(3, 4)
    assert unrolled.explain(cell, torch.zeros(2, 3)).engine in ("native", "aten")
    assert unrolled.explain(cell, torch.zeros(2, dtype=torch.int64)).engine in ("native", "reference")
    assert unrolled.explain(cell, torch.zeros(2, 3), (torch.zeros(2, 4), torch.zeros(2, 4))).engine != "reference"
    with pytest.raises(ValueError, match=r"hx \(h\)"):
        unrolled.explain(cell, torch.zeros(2, 3), (torch.zeros(3, 4), torch.zeros(2, 4)))
    with pytest.raises(TypeError, match="Linear is not a layer or cell"):
        unrolled.explain(torch.nn.Linear(3, 4), torch.zeros(2, 3))
