"""Which caption is chosen: the one that agrees with the others, those of similar training pictures included."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.test_caption_model import LETTERS, model_of, pictures_of
from tests.tasks.test_caption_verbs import SMALL
from unrolled.data.image_sets import Features
from unrolled.errors import UserError
from unrolled.tasks.caption.config import IMAGE_AS, CaptionPredict
from unrolled.tasks.caption.looking import look
from unrolled.tasks.caption.neighbours import SHARPNESS, VOTE, Neighbours
from unrolled.tasks.caption.writing import Written, agreeing, read, write


def one(text: str, p: float) -> Written:
    return Written(text.split(), 0.0, math.log(p), True, None, None)


def test_consensus_takes_what_the_others_agree_with():
    """The most probable caption shares nothing with two others that share all but one word; more results change no
    first, and the ranking is of the whole beam."""
    ranked = agreeing([one("x y z", 0.4), one("a b c", 0.3), one("a b d", 0.3)])
    assert [units[0] for _, units in ranked] == ["a", "a", "x"]
    assert ranked[0][0] == pytest.approx(0.3 + 0.3 * 2 / 3)
    model, pictures = model_of(), pictures_of((8, 8))
    few, many = (
        write(model, LETTERS, pictures, [0], CaptionPredict(beam=9, nbest=n, consensus=True), 3)[0] for n in (1, 9)
    )
    assert few[0].units == many[0].units
    assert [w.score for w in many] == sorted((w.score for w in many), reverse=True)


def test_neighbours_vote_and_may_be_elected():
    said = [one("x y", 0.9), one("a b", 0.1)]
    assert agreeing(said)[0][1] == ("x", "y")
    ranked = agreeing(said, [(1.5, ["a", "b", "c"]), (0.5, ["a", "b", "d"])])
    assert ranked[0][1] == ("a", "b", "c")
    assert ranked[0][0] == pytest.approx((1.5 + 0.5 * 2 / 3 + 0.1 * 4 / 5) / 3)
    assert len(ranked) == 4


def test_the_neighbour_of_a_training_picture_is_itself():
    """Each picture's own captions come first; pictures of other sizes compare, alone and beside others."""
    pictures = pictures_of((8, 8), (12, 8), (8, 8), (20, 16), (12, 8))
    captions = [[["a"] * (k + 1), ["b"] * (k + 1)] for k in range(5)]
    rows = np.array([0, 1, 3, 4])
    neighbours = Neighbours(pictures, rows, captions, 3)
    found = neighbours.of(pictures, rows)
    assert [near[0][1] for near in found] == [captions[k][0] for k in rows]
    for near in found:
        assert len(near) == 6
        assert sum(weight for weight, _ in near) == pytest.approx(VOTE)
        assert near[0][0] == near[1][0] > near[2][0]
    alone = neighbours.of(pictures, [3])[0]
    assert [units for _, units in alone] == [units for _, units in found[2]]
    assert [weight for weight, _ in alone] == pytest.approx([weight for weight, _ in found[2]])
    assert len(Neighbours(pictures, rows, captions, 30).of(pictures, [2])[0]) == 8


def test_neighbours_by_features_lie_in_one_direction_from_the_mean():
    """Precomputed features: the cosine, not the distance, and exp(20 cosine) as the weight."""
    each = [np.array([v], np.float32) for v in ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [3.0, 1.0])]
    neighbours = Neighbours(Features(each), np.arange(4), [[[c]] for c in "abcde"], 4)
    near = neighbours.of(Features(each), [4])[0]
    assert [units for _, units in near] == [["a"], ["c"], ["d"], ["b"]]
    ratio = near[0][0] / near[1][0]
    assert ratio == pytest.approx(math.exp(SHARPNESS * (3 - 1) / math.sqrt(10)), rel=1e-4)


@pytest.mark.parametrize("image_as", IMAGE_AS)
def test_a_caption_that_is_read_is_as_probable_as_one_that_is_written(image_as):
    model, pictures = model_of(image_as=image_as), pictures_of((8, 8), (8, 8))
    written = write(model, LETTERS, pictures, [0, 1], CaptionPredict(beam=20, nbest=20), 4)
    scene = look(model, pictures, [0, 1])
    for k, row in enumerate(written):
        for said in (w for w in row if w.ended):
            with torch.no_grad():
                again = read(model, LETTERS, scene, k, said.units)
            assert again.log_probability == pytest.approx(said.log_probability)
            assert again.grid == said.grid
            assert (again.weights is None) == (said.weights is None)
            if said.weights is not None:
                torch.testing.assert_close(again.weights, said.weights)


def test_a_neighbour_with_words_that_the_model_lacks_takes_no_part():
    model, pictures = model_of(), pictures_of((8, 8), (8, 8))
    options = CaptionPredict(beam=5, consensus=True, neighbours=1)
    for words, elected in ((["q", "r"], False), (["b", "b", "b"], True)):
        neighbours = Neighbours(pictures, np.array([0]), [[words]], 1)
        said = write(model, LETTERS, pictures, [1], options, 2, neighbours)[0][0]
        assert (said.units == words) == elected
        assert math.isfinite(said.log_probability)


def test_the_flag_reads_the_training_data_or_says_why_not(cli, tmp_path):
    run = tmp_path / "run"
    assert cli("train", *SMALL, "--steps", "6", "--out", run)[0] == 0
    flags = ("--beam", "4", "--consensus", "--neighbours", "3")
    code, out, _ = cli("evaluate", run, *flags, "--json")
    assert code == 0
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    code, out, _ = cli("predict", run, tmp_path / "red.png", "--json", *flags, "--draw", tmp_path / "drawn")
    assert code == 0
    assert json.loads(out)["caption"]
    code, _, err = cli("evaluate", run, *flags, "--part", "train")
    assert code == 2
    assert "a training picture is its own nearest" in err
    with pytest.raises(UserError, match="--neighbours 3: their captions vote in --consensus"):
        CaptionPredict(neighbours=3)
