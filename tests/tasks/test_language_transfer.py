"""Old weights in a new model: by unit name across a changed vocabulary, by shape elsewhere."""

from __future__ import annotations

import torch

from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.transfer import init_from

OLD, NEW = list("abcd"), list("xdba")


def pair(old_options, new_options):
    torch.manual_seed(1)
    return LanguageModel(4, LanguageConfig(**old_options)), LanguageModel(4, LanguageConfig(**new_options))


def test_units_move_by_name_and_the_rest_by_shape():
    old, new = pair({"hidden": 6}, {"hidden": 6})
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    notes = init_from(new, old.state_dict(), NEW, OLD)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        was, now = old.state_dict()[name], new.state_dict()[name]
        assert torch.equal(now[1:], was[[3, 1, 0]])
        assert torch.equal(now[0], fresh[name][0])
    assert torch.equal(new.rnn.weight_hh_l0, old.rnn.weight_hh_l0)
    assert notes[-1] == "vocabulary: 3 units kept, 1 new: x, 1 dropped"
    assert not any(note.startswith("new:") for note in notes)


def test_same_model_is_copied_whole_and_says_what():
    old, new = pair({"hidden": 6, "layers": 2}, {"hidden": 6, "layers": 2})
    notes = init_from(new, old.state_dict(), OLD, OLD)
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))
    assert len(notes) == 1
    assert notes[0].startswith("copied: embedding.weight, rnn.weight_ih_l0")


def test_one_hot_columns_move_by_name():
    options = {"hidden": 6, "input": "one-hot", "cell": "gru"}
    old, new = pair(options, options)
    init_from(new, old.state_dict(), NEW, OLD)
    assert torch.equal(new.rnn.weight_ih_l0[:, 1:], old.rnn.weight_ih_l0[:, [3, 1, 0]])


def test_one_hot_and_embedding_do_not_mix_though_shapes_agree():
    old, new = pair({"hidden": 6, "input": "one-hot"}, {"hidden": 6, "embedding": 4})
    kept = new.rnn.weight_ih_l0.clone()
    notes = init_from(new, old.state_dict(), OLD, OLD)
    assert torch.equal(new.rnn.weight_ih_l0, kept)
    assert notes[1] == "new: embedding.weight, rnn.weight_ih_l0"


def test_other_width_is_named_and_left_fresh():
    old, new = pair({"hidden": 6, "embedding": 3}, {"hidden": 8, "embedding": 3})
    notes = init_from(new, old.state_dict(), OLD, OLD)
    assert torch.equal(new.embedding.weight, old.embedding.weight)
    assert "rnn.weight_hh_l0 (24 x 6 there, 32 x 8 here)" in notes[1]


def test_tied_heads_either_way():
    old, new = pair({"hidden": 6, "tied": True}, {"hidden": 6, "embedding": 6})
    init_from(new, old.state_dict(), OLD, OLD)
    assert torch.equal(new.head.weight, old.embedding.weight)
    assert new.head.weight is not new.embedding.weight
    new, old = pair({"hidden": 6, "tied": True}, {"hidden": 6, "embedding": 6})
    init_from(new, old.state_dict(), OLD, OLD)
    assert torch.equal(new.head.weight, old.embedding.weight)
    assert new.head.weight is new.embedding.weight


def test_single_bias_takes_two_old_ones_in():
    old, new = pair({"hidden": 6}, {"hidden": 6, "single_bias": True})
    init_from(new, old.state_dict(), OLD, OLD)
    assert not new.rnn.bias_hh_l0.any()
    ids = torch.randint(4, (5, 2))
    torch.testing.assert_close(new(ids)[0], old(ids)[0])


def test_nothing_in_common():
    old, new = pair({"hidden": 6}, {"hidden": 5, "cell": "gru"})
    notes = init_from(new, old.state_dict(), OLD, list("wxyz"))
    assert notes[0] == "copied: nothing fits"
    assert notes[2] == "vocabulary: 0 units kept, 4 new: a b c d, 4 dropped"
