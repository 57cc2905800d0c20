"""The laws of the classifier: padding, first loss, sizes, exact pieces; what the baselines and the figures are."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.data.examples import Ragged
from unrolled.data.made_names import LANGUAGES, made_names
from unrolled.errors import UserError
from unrolled.tasks import long
from unrolled.tasks.classify import scoring
from unrolled.tasks.classify.baselines import Linear, nearest, ngrams
from unrolled.tasks.classify.config import CELLS, POOLS, ClassifyConfig
from unrolled.tasks.classify.model import Classifier, count_parameters
from unrolled.tasks.classify.parts import Batch
from unrolled.tasks.classify.report import calibration_error, figures
from unrolled.tasks.classify.task import ClassifyTask, _class_weights

LENGTHS = [3, 5, 0, 1]


def ids(T: int = 5) -> torch.Tensor:
    return torch.arange(T * 4).reshape(T, 4) % 7


def make(seed: int = 1, **options: Any) -> Classifier:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"hidden": 6, "embedding": 5, "engine": "native"}
    return Classifier(7, 3, ClassifyConfig(**(settings | options)), numbers=False, unk=1)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("engine", ["native", "reference", "aten"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_more_padding_changes_no_bit(pool: str, engine: str, bidirectional: bool) -> None:
    model, lengths = make(pool=pool, engine=engine, bidirectional=bidirectional), torch.tensor(LENGTHS)
    grown = torch.cat((ids(), torch.full((4, 4), 6)))
    runs = []
    for x in (ids(), grown):
        model.zero_grad()
        scores = model(x, lengths)
        scores.square().sum().backward()
        runs.append([scores.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert torch.isfinite(runs[0][0]).all()


@pytest.mark.parametrize("pool", ["mean", "attention", "concat"])
def test_a_sum_over_many_steps_is_the_same_sum_beside_much_padding(pool: str) -> None:
    model, lengths = make(pool=pool, hidden=16, ngrams=True), torch.tensor([97, 3])
    model.head.weight.data.normal_()
    x = torch.randint(0, 7, (97, 2))
    assert torch.equal(model(x, lengths), model(torch.cat((x, torch.ones(203, 2).long())), lengths))


@pytest.mark.parametrize("pool", POOLS)
def test_padded_steps_get_exactly_zero_gradient(pool: str) -> None:
    torch.manual_seed(1)
    config = ClassifyConfig(hidden=6, pool=pool)
    model = Classifier(2, 3, config, numbers=True).double()
    x = torch.randn(5, 4, 2, dtype=torch.float64, requires_grad=True)
    model(x, torch.tensor(LENGTHS)).square().sum().backward()
    assert x.grad is not None
    for row, length in enumerate(LENGTHS):
        assert (x.grad[length:, row] == 0).all()
        assert (x.grad[:length, row] != 0).any() == (length > 0)


@pytest.mark.parametrize("pool", POOLS)
def test_what_is_pooled(pool: str) -> None:
    model = make(pool=pool).eval()
    assert model.embedding is not None
    output, (h, _) = model.rnn(model.embedding(ids()), None, lengths=torch.tensor(LENGTHS))
    rows = [output[:n, b] for b, n in enumerate(LENGTHS)]
    zero = torch.zeros(12)
    last = [torch.cat((h[-2, b], h[-1, b])) for b in range(4)]
    mean = [r.mean(0) if len(r) else zero for r in rows]
    largest = [r.max(0).values if len(r) else zero for r in rows]
    wanted = {"last": [last], "mean": [mean], "max": [largest], "attention": [mean], "concat": [last, mean, largest]}[
        pool
    ]
    features = torch.stack([torch.cat(parts) for parts in zip(*wanted, strict=True)])
    assert torch.allclose(model(ids(), torch.tensor(LENGTHS)), model.head(features), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("K", [2, 18, 100])
def test_the_first_loss_is_that_of_chance(cell: str, K: int) -> None:
    torch.manual_seed(1)
    model = Classifier(30, K, ClassifyConfig(cell=cell, hidden=64, pool="concat"), numbers=False)
    x, y = torch.randint(0, 30, (12, 256)), torch.randint(0, K, (256,))
    loss = torch.nn.functional.cross_entropy(model(x, torch.full((256,), 12)), y)
    assert loss.item() == pytest.approx(math.log(K), rel=0.03)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "more",
    [{}, {"layers": 2, "layer_norm": True, "pool": "concat"}, {"pool": "attention"}, {"ngrams": True}],
)
@pytest.mark.parametrize("numbers", [True, False])
def test_parameters_by_formula(cell: str, more: dict[str, Any], numbers: bool) -> None:
    for bidirectional in (True, False):
        config = ClassifyConfig(cell=cell, hidden=6, embedding=5, bidirectional=bidirectional, **more)
        made = Classifier(7, 3, config, numbers=numbers)
        assert sum(p.numel() for p in made.parameters()) == count_parameters(7, 3, config, numbers=numbers)


def test_pieces_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    read: list[int] = []
    whole = Classifier._read
    monkeypatch.setattr(Classifier, "_read", lambda self, x, *rest: (read.append(x.shape[1]), whole(self, x, *rest))[1])
    for piece in (1 << 28, 1):
        monkeypatch.setattr(long, "LIMIT", piece)
        model = make(dropout=0.0, ngrams=True, ngram_bits=8).double()
        model(ids(), torch.tensor(LENGTHS)).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert read == [4, *[1] * 8]  # each row twice: the second time for its gradient
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*found, strict=True))  # type: ignore[arg-type]


def test_paths_that_are_trained_apart_do_not_see_each_other() -> None:
    lengths, y = torch.tensor(LENGTHS), torch.tensor([0, 1, 2, 0])
    for training, number in (("apart", False), ("apart", True), ("together", False)):
        task = SimpleNamespace(
            weights=None, model_config=ClassifyConfig(), target="number" if number else "class", nats=None
        )
        task.nats = lambda *given, t=task: ClassifyTask.nats(t, *given)  # type: ignore[arg-type]
        task._objective = lambda *given, t=task: ClassifyTask._objective(t, *given)  # type: ignore[arg-type]
        grads: list[tuple[torch.Tensor, torch.Tensor]] = []
        for other in (0.0, 2.0):
            model = make(ngrams=True, ngram_bits=9, ngram_training=training, ngram_gain=3.0).double()
            assert model.wide is not None
            torch.nn.init.normal_(model.wide.weight, generator=torch.Generator().manual_seed(1))
            paths = model.paths(ids(), lengths)
            assert torch.allclose(model(ids(), lengths), paths.mean(0) if model.apart else paths.sum(0))
            model.head.bias.data += torch.tensor([other, 0.0, 0.0])
            batch = Batch(ids(), lengths, y.double() if number else y)
            loss = ClassifyTask.loss(task, model, batch, {})  # type: ignore[arg-type]
            loss.objective.backward()
            assert model.wide.weight.grad is not None
            assert model.head.weight.grad is not None
            grads.append((model.wide.weight.grad, model.head.weight.grad))
            one = model(ids(), lengths)
            assert torch.allclose(loss.nats, ClassifyTask.nats(task, model, one, batch.y).mean())  # type: ignore[arg-type]
        assert torch.equal(grads[0][0], grads[1][0]) == (training == "apart")
        assert not torch.equal(grads[0][1], grads[1][1])


def test_a_linear_path_that_learns_apart_reads_dropped_units_too() -> None:
    lengths = torch.tensor(LENGTHS)
    for training in ("apart", "together"):
        model = make(ngrams=True, ngram_bits=9, ngram_training=training, word_dropout=0.9)
        assert model.wide is not None
        torch.nn.init.normal_(model.wide.weight)
        with torch.no_grad():
            trained = model.train().paths(ids(), lengths)
            read = model.eval().paths(ids(), lengths)
        assert torch.equal(trained[1], read[1]) == (training == "apart")
        assert not torch.equal(trained[0], read[0])


def test_the_gain_of_the_linear_path() -> None:
    one, two = (make(ngrams=True, ngram_gain=gain).eval() for gain in (1.0, 2.5))
    for model in (one, two):
        assert model.wide is not None
        torch.nn.init.normal_(model.wide.weight, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(LENGTHS)
    assert torch.allclose(two.paths(ids(), lengths)[1], 2.5 * one.paths(ids(), lengths)[1])


def test_the_linear_path_scores_the_runs_of_each_example() -> None:
    model = make(ngrams=True).eval()
    assert model.wide is not None
    lengths = torch.tensor([3, 5, 0, 1])
    fresh = model(ids(), lengths)
    torch.nn.init.normal_(model.wide.weight)
    added = (model(ids(), lengths) - fresh).detach()
    assert (added[2] == 0).all()
    assert added[1].abs().sum() > 0.1
    # alone, and beside more padding and other neighbours, an example scores the same
    for row, length in enumerate([3, 5, 0, 1]):
        alone = model(ids()[: max(1, length), row : row + 1], torch.tensor([length]))
        assert torch.allclose(alone[0], model(ids(), lengths)[row], atol=1e-6)
    # two runs of one unit and one of two: the same in any place
    twice = torch.tensor([[1, 4], [2, 1], [0, 2]])
    few = model._linear(twice, torch.tensor([2, 3])).detach()
    assert not torch.equal(few[0], few[1])


def test_words_are_dropped_in_training_alone() -> None:
    model = make(word_dropout=0.99)
    model.train()
    many = [model(ids(), torch.tensor(LENGTHS)) for _ in range(3)]
    model.eval()
    assert not torch.equal(model(ids(), torch.tensor(LENGTHS)), many[0])
    unknown = model(torch.ones_like(ids()), torch.tensor(LENGTHS))
    assert any(torch.equal(scores, unknown) for scores in many)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="--forget-bias"):
        ClassifyConfig(cell="gru", forget_bias=1.0)
    with pytest.raises(UserError, match="--init identity"):
        ClassifyConfig(init="identity")


def test_scores_come_in_the_order_of_the_inputs() -> None:
    model = make(dropout=0.5).eval()
    inputs = Ragged.of([[1, 2, 3], [4], [5, 6, 0, 1, 2], [], [3, 3]])
    with torch.no_grad():
        whole = scoring.scores(model, inputs)
        for k in range(5):
            assert torch.allclose(scoring.scores(model, inputs.take([k]))[0], whole[k], atol=1e-6)
        model.get_buffer("temperature").fill_(2.0)
        cooled = scoring.answers(model, "class", whole)
    assert cooled == pytest.approx((whole / 2).softmax(1).numpy())


# -- figures and baselines ---------------------------------------------------------------------------------------------


def test_figures_by_hand() -> None:
    answers = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    found = figures("class", answers, np.array([0, 1, 1, 0]), intervals=True)
    assert next(iter(found)) == "accuracy"
    assert found["accuracy"].value == 0.75
    assert found["macro_f1"].value == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["loss"].value == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    several = figures("several", np.array([[0.9, 0.1], [0.9, 0.9]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert (several["micro_f1"].value, several["exact"].value) == (pytest.approx(0.8), 0.5)
    number = figures("number", np.array([[1.0], [4.0]]), np.array([1.0, 2.0]))
    assert (number["mae"].value, number["rmse"].value, number["r2"].value) == pytest.approx((1.0, 2**0.5, 1 - 2 / 0.25))
    assert number["mae"].low_is_good
    assert calibration_error(np.array([0.9, 0.9, 0.3]), np.array([True, False, False])) == pytest.approx(
        (0.8 + 0.3) / 3
    )


def test_class_weights_have_mean_one_over_the_examples() -> None:
    weights = _class_weights([90, 10, 0], "balanced")
    assert weights is not None
    assert float((weights * torch.tensor([90, 10, 0])).sum()) == pytest.approx(100, rel=0.01)
    assert float(weights[1] / weights[0]) == pytest.approx(9.0)
    assert _class_weights([90, 10], "none") is None


def test_ngrams_are_runs_inside_one_sequence() -> None:
    rows, numbers = ngrams(Ragged.of([[1, 2, 1, 2], [2, 1], []]), 3)
    assert np.bincount(rows, minlength=3).tolist() == [4 + 3 + 2, 2 + 1, 0]
    assert len(np.unique(numbers)) == 2 + 2 + 2  # 1, 2, 12, 21, 121, 212


def test_the_linear_model_learns_and_its_gradient_is_right() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 6, rng.integers(3, 9)) for _ in range(200)]
    y = np.array([int((np.diff(t) == 1).any()) for t in texts])  # a run of two decides
    ids_ = Ragged.of(texts)
    model = Linear(ids_, y, 2, 2)
    W = model.fit(3.0)
    assert (model.scores(W, ids_).argmax(1) == y).mean() > 0.95
    numbers = Linear(ids_, y.astype(np.float32), 1, 2)
    assert np.abs(numbers.scores(numbers.fit(10.0), ids_)[:, 0] - y).mean() < 0.25
    several = Linear(ids_, np.stack((y, 1 - y), 1).astype(np.float32), 2, 2)
    assert ((several.scores(several.fit(3.0), ids_) > 0)[:, 0] == y).mean() > 0.95


def test_the_nearest_neighbour() -> None:
    train = Ragged.of([[[0.0], [0.0]], [[5.0]], [[9.0], [9.0], [9.0]]], np.float32)
    test = Ragged.of([[[8.0], [9.0], [8.0]], [[4.0]]], np.float32)
    assert nearest(train, test).tolist() == [2, 1]


def test_made_names_repeat_by_seed_and_are_distinct() -> None:
    names, languages = made_names(400)
    assert (names, languages) == made_names(400)
    assert len(set(names)) == 400
    assert set(languages) == set(LANGUAGES)
    assert made_names(400, seed=2)[0] != names
