"""The lecture's program, exactly: our model, stream and optimiser against the NumPy reference, in float64."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import pytest
import torch

from unrolled.presets import load_preset
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.task import LanguageTask
from unrolled.training.clipping import clip_value
from unrolled.training.config import TrainConfig
from unrolled.training.optimiser import MinCharRnnAdagrad

_spec = importlib.util.spec_from_file_location(
    "min_char_rnn_reference", pathlib.Path(__file__).parents[1] / "reference" / "min_char_rnn.py"
)
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

T, H, STEPS = 25, 100, 1000
PARAMETERS = {
    "W_xh": "rnn.weight_ih_l0",
    "W_hh": "rnn.weight_hh_l0",
    "W_hy": "head.weight",
    "b_h": "rnn.bias_ih_l0",
    "b_y": "head.bias",
}


def some_text(length):
    """Words drawn by a rule, so that there is something to learn: 15 different characters."""
    rng = np.random.default_rng(5)
    words = ["the ", "net ", "reads, ", "writes. ", "and ", "a ", "chunk\n"]
    return "".join(words[i] for i in rng.integers(len(words), size=length))[:length]


class Ours:
    """The same program on the package: model, stream, loss, clipping and optimiser."""

    def __init__(self, make_corpus, text, rate):
        self.corpus = make_corpus(text, heldout=0.0, dev=0.0)
        preset = load_preset("min-char-rnn")
        train = TrainConfig(**{**preset.train, "lr": rate, "dtype": "float64"})
        shape = LanguageConfig(**preset.model)
        assert (train.batch, train.bptt, shape.hidden, preset.train["lr"]) == (1, str(T), H, 0.1)
        self.task = LanguageTask(self.corpus, shape, train)
        self.model = self.task.build().double()
        assert isinstance(self.model, LanguageModel)
        self.named = dict(self.model.named_parameters())
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = MinCharRnnAdagrad(self.trained, lr=rate)
        self.stream, self.carry = self.task.stream(), {}

    @torch.no_grad()
    def take_over(self, theirs):
        """Weights, Adagrad's memory and hidden state of the reference."""
        for name, ours in PARAMETERS.items():
            p = self.named[ours]
            p.copy_(torch.from_numpy(theirs.w[name]))
            self.optimiser.state[p]["mem"] = torch.from_numpy(theirs.memory[name].copy())
        self.carry = {"h": torch.from_numpy(theirs.h.copy()).reshape(1, 1, H)}

    def step(self):
        chunk = self.stream.next()
        loss = self.task.loss(self.model, chunk, self.carry)
        self.optimiser.zero_grad()
        loss.objective.backward()
        clip_value([p.grad for p in self.trained], 5.0)
        self.optimiser.step()
        self.carry = loss.carry
        return chunk, loss

    def distance(self, theirs):
        """Largest difference of any parameter or state."""
        found = [np.abs(self.named[ours].detach().numpy() - theirs.w[name]).max() for name, ours in PARAMETERS.items()]
        return max(*found, np.abs(self.carry["h"].numpy().ravel() - theirs.h).max())


def pair(make_corpus, length, rate):
    text = some_text(length)
    ours = Ours(make_corpus, text, rate)
    theirs = reference.MinCharRnn(np.asarray(ours.corpus.tokens), len(ours.corpus.units), rate=rate, seed=1)
    ours.take_over(theirs)
    return ours, theirs


@pytest.mark.parametrize("length", [T * 20 + 1, T * 20 + 2, T * 20 + 18])
def test_chunks_and_restarts_are_the_programs(make_corpus, length):
    ours, theirs = pair(make_corpus, length, 0.1)
    starts = 0
    for _ in range(65):
        chunk = ours.stream.next()
        x, y, fresh = theirs.start_chunk()
        theirs.place += T
        assert np.array_equal(chunk.x[:, 0], x)
        assert np.array_equal(chunk.y[:, 0], y)
        assert chunk.fresh == fresh
        starts += fresh
    assert starts == 4


def test_each_of_1000_steps_agrees_from_the_references_state(make_corpus):
    ours, theirs = pair(make_corpus, 2_000, 0.1)
    clipped = 0
    for _ in range(STEPS):
        ours.take_over(theirs)
        _, loss = ours.step()
        expected = theirs.step()
        clipped += any(bool((p.grad.abs() == 5.0).any()) for p in ours.trained)
        assert loss.objective.item() == pytest.approx(expected, abs=1e-9)
        assert loss.nats.item() * T == pytest.approx(expected, abs=1e-9)
        assert ours.distance(theirs) < 1e-9
    assert clipped > 10  # the clipping was put to the test
    assert expected < 0.75 * T * np.log(ours.task.V)


def test_a_free_run_at_a_low_rate_agrees_over_1000_steps(make_corpus):
    ours, theirs = pair(make_corpus, 2_000, 0.01)
    for _ in range(STEPS):
        _, loss = ours.step()
        assert loss.objective.item() == pytest.approx(theirs.step(), abs=1e-9)
    assert ours.distance(theirs) < 1e-9


def test_the_references_gradients_are_right():
    """Central differences on a tiny network; nothing of the package is involved."""
    w = reference.initial_weights(4, 3, seed=2)
    w = {name: value * 30 + 0.1 for name, value in w.items()}
    x, y, h0 = np.array([0, 1, 2, 2]), np.array([1, 2, 2, 3]), np.array([0.1, -0.2, 0.3])
    _, gradients, _ = reference.loss_and_gradients(w, x, y, h0)
    for name, value in w.items():
        for place in np.ndindex(value.shape):
            kept = value[place]
            value[place] = kept + 1e-6
            above = reference.loss_and_gradients(w, x, y, h0)[0]
            value[place] = kept - 1e-6
            below = reference.loss_and_gradients(w, x, y, h0)[0]
            value[place] = kept
            assert gradients[name][place] == pytest.approx((above - below) / 2e-6, abs=1e-7)
