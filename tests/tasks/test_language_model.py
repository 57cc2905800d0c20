"""The language model: its laws, its initialisation, its sizes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from unrolled.settings import from_dict, to_dict
from unrolled.tasks.language.config import CELLS, INITS, LanguageConfig
from unrolled.tasks.language.model import LanguageModel, state_from_dict, state_to_dict
from unrolled.tasks.language.sizes import count_parameters, readable
from unrolled.training.resume import check_settings

SHAPES = [
    {},
    {"input": "one-hot"},
    {"layers": 2, "embedding": 5},
    {"tied": True},
    {"layer_norm": True, "layers": 2},
    {"single_bias": True},
    {"single_bias": True, "input": "one-hot", "layer_norm": True},
    {"zoneout": 0.1, "recurrent_dropout": 0.2, "dropout": 0.3, "layers": 2},
]


def allowed(cell: str, init: str) -> bool:
    if init == "identity":
        return cell.startswith("rnn")
    return init != "chrono" or cell in ("lstm", "gru")


@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_parameter_count_follows_the_formula(cell, options):
    for V, hidden in ((4, 3), (65, 24)):
        config = LanguageConfig(cell=cell, hidden=hidden, **options)
        model = LanguageModel(V, config)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count_parameters(V, config)


@pytest.mark.parametrize(("cell", "init"), [(c, i) for c in CELLS for i in INITS if allowed(c, i)])
def test_first_loss_is_ln_v(cell, init):
    generator = torch.Generator().manual_seed(3)
    for V, options in ((4, {}), (65, {"input": "one-hot"}), (65, {"tied": True}), (1000, {"layers": 2})):
        for hidden in (8, 256):
            torch.manual_seed(1)
            model = LanguageModel(V, LanguageConfig(cell=cell, init=init, hidden=hidden, **options))
            ids = torch.randint(V, (65, 8), generator=generator)
            scores, _ = model(ids[:-1])
            loss = F.cross_entropy(scores.flatten(0, 1), ids[1:].flatten()).item()
            assert loss == pytest.approx(math.log(V), rel=0.03), (V, options, hidden)


@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_and_split_equal_whole(cell, options):
    torch.manual_seed(1)
    model = LanguageModel(11, LanguageConfig(cell=cell, hidden=8, **options)).double().eval()
    ids = torch.randint(11, (7, 3))
    whole, last = model(ids)
    state = model.initial_state(3)
    steps = []
    for row in ids:
        scores, state = model.step(row, state)
        steps.append(scores)
        torch.testing.assert_close(model.first_scores(state), scores)
    torch.testing.assert_close(torch.stack(steps), whole)
    torch.testing.assert_close(state, last)
    head, middle = model(ids[:4])
    tail, end = model(ids[4:], state_from_dict(state_to_dict(middle)))
    torch.testing.assert_close(torch.cat((head, tail)), whole)
    torch.testing.assert_close(end, last)


def test_normal_init_is_the_lectures():
    torch.manual_seed(1)
    model = LanguageModel(
        50, LanguageConfig(cell="rnn-tanh", input="one-hot", hidden=64, init="normal", single_bias=True)
    )
    for name, p in model.named_parameters():
        if "bias" in name:
            assert not p.any()
        else:
            assert p.mean().abs() < 0.0015
            assert p.std().item() == pytest.approx(0.01, rel=0.05)
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["rnn.bias_hh_l0"]


def test_single_bias_takes_over_the_sum():
    config = LanguageConfig(hidden=6, layers=2, forget_bias=1.0)
    torch.manual_seed(1)
    two = LanguageModel(5, config)
    torch.manual_seed(1)
    one = LanguageModel(5, LanguageConfig(hidden=6, layers=2, forget_bias=1.0, single_bias=True))
    ids = torch.randint(5, (4, 2))
    torch.testing.assert_close(one(ids)[0], two(ids)[0])
    one(ids)[0].sum().backward()
    assert one.rnn.bias_hh_l0.grad is None
    assert not one.rnn.bias_hh_l1.any()


def test_tied_weight_is_shared_saved_once_and_loaded():
    config = LanguageConfig(hidden=6, tied=True)
    model, other = LanguageModel(9, config), LanguageModel(9, config)
    saved = model.state_dict()
    assert "head.weight" not in saved
    assert "head.weight" not in torch.nn.ModuleDict({"a": model}).state_dict()
    other.load_state_dict(saved)
    ids = torch.randint(9, (3, 2))
    for twin in (other, copy.deepcopy(model), copy.deepcopy(model).double().float()):
        assert twin.head.weight is twin.embedding.weight
        torch.testing.assert_close(twin(ids)[0], model(ids)[0])
        assert "head.weight" not in twin.state_dict()


def test_dropout_acts_in_training_only_and_in_all_three_places():
    torch.manual_seed(1)
    model = LanguageModel(5, LanguageConfig(hidden=32, layers=2, dropout=0.5, embedding=8))
    ids = torch.randint(5, (6, 2))
    assert model.rnn.dropout == 0.5
    seen = []
    for drop in (model.embedding_dropout, model.dropout):
        drop.register_forward_hook(lambda module, args, out: seen.append((tuple(out.shape), int((out == 0).sum()))))
    assert not torch.equal(model(ids)[0], model(ids)[0])
    assert [shape for shape, _ in seen[:2]] == [(6, 2, 8), (6, 2, 32)]
    assert all(0.3 < zeros / math.prod(shape) < 0.7 for shape, zeros in seen)
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])


def test_a_mask_of_the_table_is_one_for_each_unit_of_a_chunk():
    torch.manual_seed(1)
    config = LanguageConfig(cell="rnn-tanh", hidden=7, dropout=0.9, embedding=50, embedding_dropout=0.4,
                            embedding_mask="table")  # fmt: skip
    model = LanguageModel(5, config).double()
    model.rnn.weight_hh_l0.data.zero_()  # h depends on the unit alone
    ids = torch.randint(5, (30, 2))
    tables = []
    model.embedding_dropout.register_forward_hook(lambda module, args, out: tables.append(out))
    first, second = model.features(ids)[0], model.features(ids)[0]
    for found, table in zip((first, second), tables, strict=True):
        kept = table != 0
        assert 0.5 < kept.double().mean() < 0.7
        assert not (kept == kept[0]).all(), "not whole columns"
        torch.testing.assert_close(table[kept], model.embedding.weight[kept] / 0.6)
        bias = model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0
        torch.testing.assert_close(found, torch.tanh(table[ids] @ model.rnn.weight_ih_l0.t() + bias))
    assert not torch.equal(first, second)
    model.eval()
    assert model.embedding_dropout(model.embedding.weight) is model.embedding.weight


def test_rates_of_dropout_on_the_embedding():
    assert LanguageConfig(dropout=0.3).embedding_rate == 0.3
    assert LanguageConfig(dropout=0.3, embedding_dropout=0.0).embedding_rate == 0
    assert LanguageConfig(embedding_dropout=0.2).embedding_rate == 0.2
    assert LanguageConfig(dropout=0.3, input="one-hot").embedding_rate == 0


def test_settings_saved_before_there_were_masks_of_the_table_mean_what_they_did():
    new = {"model": to_dict(LanguageConfig(dropout=0.2))}
    old = {"model": {k: v for k, v in new["model"].items() if k not in ("embedding_dropout", "embedding_mask")}}
    config = from_dict(LanguageConfig, old["model"], "config.json")
    check_settings(old, {"model": to_dict(config)})
    model = LanguageModel(5, config)
    assert isinstance(model.embedding_dropout, torch.nn.Dropout)
    assert model.embedding_dropout.p == 0.2


def test_readable():
    assert [readable(n) for n in (5, 1536, 3 << 20, 1 << 40)] == ["5 bytes", "1.5 KiB", "3.0 MiB", "1.0 TiB"]
