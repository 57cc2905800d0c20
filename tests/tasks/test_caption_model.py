"""The captioning model: laws 4, 6 and 8, padding of pictures and captions, the engines that run it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.tasks.caption_cases import corpus_of, small, task_of
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.vocabulary import Vocabulary
from unrolled.engines import spying
from unrolled.tasks.caption.config import IMAGE_AS, CaptionConfig, CaptionPredict
from unrolled.tasks.caption.encoder import PlaceNorm
from unrolled.tasks.caption.looking import look, tensors
from unrolled.tasks.caption.model import CaptionModel, Inputs
from unrolled.tasks.caption.writing import write

CELLS = ("lstm", "gru", "rnn-tanh", "rnn-relu")
LETTERS = Vocabulary(list("abc"), ("<pad>", "<unk>", "<s>", "</s>"))


def model_of(vocabulary=LETTERS, *, seed=0, places=4, **changes):
    torch.manual_seed(seed)
    made = CaptionModel(Inputs(len(vocabulary), places=places), small(**changes)).double()
    with torch.no_grad():
        made.head.weight.mul_(6)  # so that captions differ
    return made.eval()


def pictures_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return Pictures([rng.integers(0, 255, (h, w, 3), np.uint8) for h, w in sizes])


@pytest.mark.parametrize("image_as", IMAGE_AS)
@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_equals_all_at_once(cell, image_as):
    """Law 4, with one layer and with two."""
    for layers in (1, 2):
        model = model_of(cell=cell, image_as=image_as, layers=layers)
        scene = look(model, pictures_of((8, 8), (8, 8)), [0, 1])
        ids = torch.randint(4, 7, (5, 2))
        whole = model(ids, scene)
        state = model.start(scene)
        for t in range(5):
            scores, state, weights = model.step(ids[t], state, scene)
            torch.testing.assert_close(scores, whole[t], rtol=1e-10, atol=1e-10)
            assert (weights is None) == (image_as != "attend")


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_the_picture_matters(image_as):
    model = model_of(image_as=image_as)
    scene = look(model, pictures_of((8, 8), (8, 8)), [0, 1])
    scores = model(torch.full((3, 2), 4), scene)
    assert not torch.allclose(scores[:, 0], scores[:, 1])


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_more_padding_of_captions_changes_no_bit_and_gets_no_gradient(image_as, engine):
    model = model_of(image_as=image_as, layers=2, engine=engine)
    scene = look(model, pictures_of((8, 8), (8, 8)), [0, 1])
    ids, lengths = torch.randint(4, 7, (4, 2)), torch.tensor([4, 2])
    short = model(ids, scene, lengths)
    more = torch.cat((ids, torch.full((3, 2), 5)))
    more[2:, 1] = 6
    rows = model.embedding(more).detach().requires_grad_()
    model.embedding.forward = lambda _: rows
    long = model(more, scene, lengths)
    assert torch.equal(short[:, 0], long[:4, 0])
    assert torch.equal(short[:2, 1], long[:2, 1])
    (long[:4, 0].sum() + long[:2, 1].sum()).backward()
    assert rows.grad[2:, 1].abs().max() == 0
    assert rows.grad[4:].abs().max() == 0
    assert rows.grad[:2].abs().min() > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_a_picture_beside_a_larger_one_is_seen_as_alone(image_as, training):
    """Padding of pictures: its own places, their order and their values are those it has alone, and padded pixels
    change nothing. In training the batch's statistics are those of the pictures' own places."""
    model = model_of(image_as=image_as, places=None)
    pictures = pictures_of((7, 12), (16, 5), (3, 3))
    ids = torch.randint(4, 7, (3, 3))
    model.train(training)
    values, sizes = tensors(pictures, [0, 1, 2], torch.device("cpu"))
    together = model(ids, model.look(values, sizes))
    wide = F.pad(values, (0, 0, 0, 9, 0, 7), value=3)
    torch.testing.assert_close(model(ids, model.look(wide, sizes)), together, rtol=1e-10, atol=1e-10)
    soiled = values.clone()
    soiled[0, 7:] = 0
    soiled[2, :, 3:] = 77
    assert torch.equal(model(ids, model.look(soiled, sizes)), together)
    if not training:
        for k in range(3):
            alone = model(ids[:, k : k + 1], look(model, pictures, [k]))
            torch.testing.assert_close(together[:, k : k + 1], alone, rtol=1e-10, atol=1e-10)


def test_normalisation_counts_own_places_alone():
    norm = PlaceNorm(2).double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    inside = torch.zeros(2, 3, 4, dtype=torch.bool)
    inside[0, :2, :3] = inside[1, :, :1] = True
    found = norm(x, inside).permute(0, 2, 3, 1)
    own = x.permute(0, 2, 3, 1)[inside]
    expected = (own - own.mean(0)) / (own.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(found[inside], expected)
    assert found[~inside].abs().max() == 0
    torch.testing.assert_close(norm.running_mean, 0.1 * own.mean(0))
    assert torch.isfinite(norm(x[:1, :, :1, :1])).all()  # one place alone has no variance


def test_features_stand_in_for_pictures():
    """In a grid, in a list, and of different numbers: padded ones change nothing."""
    rng = np.random.default_rng(0)
    config = small(encoder="features")
    each = [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 6)]
    model = CaptionModel(Inputs(7, 5), config).eval()
    ids = torch.randint(4, 7, (3, 2))
    values, lengths = tensors(Features(each), [0, 1], torch.device("cpu"))
    both = model(ids, model.look(values, lengths))
    alone = model(ids[:, :1], model.look(torch.from_numpy(each[0])[:, None]))
    torch.testing.assert_close(both[:, :1], alone)
    gridded = CaptionModel(Inputs(7, 5, 6, (2, 3)), config).eval()
    scene = look(gridded, Features([each[1]], (2, 3)), [0])
    assert scene.seen.grids == [(2, 3)]
    assert gridded(ids[:, :1], scene).shape == (3, 1, 7)


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_the_first_loss_is_ln_v(image_as):
    """Law 6: within 3 %, on generated shapes, with the widths that are the default."""
    task = task_of(corpus_of(images=60), CaptionConfig(image_as=image_as))
    torch.manual_seed(1)
    model = task.build()
    with torch.no_grad():
        loss = task.loss(model, task.stream().next(), {})
    assert loss.nats.item() == pytest.approx(math.log(len(task.vocabulary)), rel=0.03)


@pytest.mark.parametrize(("cell", "image_as"), list(itertools.product(CELLS[:2], IMAGE_AS)))
def test_parameters_follow_a_formula(cell, image_as):
    """Law 6: E + V and so on, counted by hand for 2 layers of H = 6, M = 5, embedding 4, V = 7, width 3, 2 stages."""
    config = small(cell=cell, image_as=image_as, layers=2, hidden=6, memory=5, embedding=4, width=3)
    model = CaptionModel(Inputs(7, places=4), config)
    V, H, M, E, G = 7, 6, 5, 4, {"lstm": 4, "gru": 3}[cell]

    def layer(size):
        return G * H * (size + H) + 2 * G * H

    encoder = 3 * 3 * 9 + 3 * 3 * 9 + 4 * 3 + 3 * 6 * 9 + 6 * 6 * 9 + 4 * 6
    looker = (6 + 16) * M + M + (1 if image_as == "attend" else 4) * M * M + M
    rnn = {
        "h0": layer(E) + layer(H), "first": layer(E) + layer(H), "every": layer(E + M) + layer(H),
        "attend": layer(E) + layer(H + M),
    }[image_as]  # fmt: skip
    states = 2 * (2 if cell == "lstm" else 1)
    begin = {"h0": states * H * (M + 1), "attend": states * H * (M + 1), "first": E * (M + 1), "every": 0}[image_as]
    looks = H * M + H * H + 2 * H + H * (H + M + 1) if image_as == "attend" else 0
    total = encoder + looker + V * E + rnn + begin + looks + H * V + V
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_ten_pictures_are_learnt_by_heart(image_as):
    """Law 6: zero errors on ten examples."""
    corpus = corpus_of(images=10, one=True)
    task = task_of(corpus, small(image_as=image_as, hidden=32, embedding=16, memory=32, width=8), batch=10)
    torch.manual_seed(1)
    model = task.build()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2 if image_as != "first" else 3e-3)
    stream = task.stream()
    for _ in range(600 if image_as == "first" else 200):
        optimiser.zero_grad()
        task.loss(model, stream.next(), {}).objective.backward()
        optimiser.step()
    found = task.report(model.eval(), "train")
    assert found.figures["exact"].value == 1.0
    assert found.figures["distinct"].value == 10


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_beam_one_is_greedy(image_as):
    """Law 8; greedy is written out here, step by step, without the specials that never come."""
    model, pictures = model_of(image_as=image_as), pictures_of(*[(8, 8)] * 5)
    found = write(model, LETTERS, pictures, range(5), CaptionPredict(), 6)
    for k in range(5):
        with torch.no_grad():
            scene = look(model, pictures, [k])
            state, ids, units = model.start(scene), torch.tensor([LETTERS.start]), []
            for _ in range(6):
                scores, state, _ = model.step(ids, state, scene)
                scores[:, [LETTERS.pad, LETTERS.unk, LETTERS.start]] = -math.inf
                ids = scores.argmax(-1)
                if int(ids) == LETTERS.end:
                    break
                units += LETTERS.decode(ids)
        assert found[k][0].units == units


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_a_beam_of_everything_is_exhaustive_and_more_results_change_no_first(image_as):
    """Law 8: V^T beams find the best of all captions of at most T units, by the sum of log-probabilities."""
    model, pictures, T = model_of(image_as=image_as), pictures_of((8, 8)), 3
    wide = CaptionPredict(beam=200, nbest=1, length_penalty=0.0)
    best = write(model, LETTERS, pictures, [0], wide, T)[0][0]
    scene, scored = look(model, pictures, [0]), {}
    for length in range(T + 1):
        for text in itertools.product("abc", repeat=length):
            ids = torch.tensor([LETTERS.start, *LETTERS.encode(text)])[:, None]
            with torch.no_grad():
                scores = model(ids, scene)[:, 0]
            scores[:, [LETTERS.pad, LETTERS.unk, LETTERS.start]] = -math.inf
            wanted = torch.tensor([*LETTERS.encode(text), LETTERS.end])
            scored[text] = float(scores.log_softmax(-1).gather(1, wanted[:, None]).sum())
    whole = {text: score for text, score in scored.items() if len(text) < T}
    assert tuple(best.units) == max(whole, key=whole.get)
    assert best.log_probability == pytest.approx(max(whole.values()))
    more = write(model, LETTERS, pictures, [0], dataclasses.replace(wide, nbest=7), T)[0]
    assert len(more) == 7
    assert (more[0].units, more[0].score) == (best.units, best.score)


def test_captions_hang_on_no_picture_beside():
    model, pictures = model_of(), pictures_of(*[(8, 8)] * 4)
    options = CaptionPredict(beam=3, nbest=3)
    together = write(model, LETTERS, pictures, range(4), options, 5)
    for k in range(4):
        assert [o.units for o in write(model, LETTERS, pictures, [k], options, 5)[0]] == [o.units for o in together[k]]


def test_the_teacher_forced_recurrence_is_one_call():
    """Law 9: one call of the layer for all steps; with attention between two layers, two."""
    for layers, calls in ((1, 1), (2, 2)):
        model = model_of(image_as="attend", layers=layers, engine="native")
        scene = look(model, pictures_of((8, 8), (8, 8)), [0, 1])
        with spying.spy() as seen:
            model(torch.randint(4, 7, (9, 2)), scene, torch.tensor([9, 4]))
        assert len(seen) == calls
