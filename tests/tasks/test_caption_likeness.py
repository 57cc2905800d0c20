"""What makes two pictures alike: checked by hand on pictures whose gradients and colours are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tasks.test_caption_model import pictures_of
from unrolled.data.image_sets import Features
from unrolled.tasks.caption.likeness import CELLS, DIRECTIONS, SHADES, SHARES, Likeness, colours, descriptions, shapes

S = 32


def test_shapes_tell_the_direction_of_a_gradient_and_its_cell():
    ramp = np.tile(np.linspace(0, 1, S, dtype=np.float32)[:, None], (S, 1, 3))[None]  # brighter to the right
    down = ramp.transpose(0, 2, 1, 3)
    for picture, direction in ((ramp, 0), (down, DIRECTIONS // 2)):
        cells = shapes(picture).reshape(CELLS, CELLS, DIRECTIONS)
        assert (cells[..., np.arange(DIRECTIONS) != direction] == 0).all()
        # 16 differences of 1/31 in a cell; 12 or 9 where the picture's last row or column, which has none, lies.
        inner, side, corner = np.sqrt(np.array([16, 12, 9]) / 31)
        assert cells[:-1, :-1, direction] == pytest.approx(inner, abs=1e-6)
        assert cells[-1, :-1, direction] == pytest.approx(side, abs=1e-6)
        assert cells[:-1, -1, direction] == pytest.approx(side, abs=1e-6)
        assert cells[-1, -1, direction] == pytest.approx(corner, abs=1e-6)
    assert shapes(1 - ramp) == pytest.approx(shapes(ramp), abs=1e-6)  # a direction of a half turn has no sign


def test_colours_count_and_forgive_any_place():
    picture = np.zeros((1, S, S, 3), np.float32)
    picture[:, :, : S // 4, 0] = 1  # a quarter red, the rest black
    found = colours(picture)[0]
    red = (SHADES - 1) * SHADES * SHADES
    assert found[[0, red]] == pytest.approx(np.sqrt([0.75, 0.25]))
    assert found.sum() == pytest.approx(np.sqrt(0.75) + 0.5)
    assert np.array_equal(colours(np.roll(picture, (5, 9), (1, 2))), colours(picture))


def test_likeness_is_the_weighted_sum_of_cosines():
    pictures, rows = pictures_of((8, 8), (12, 8), (8, 8), (20, 16), (12, 8)), np.arange(5)
    expected = np.zeros((5, 5))
    for part, share in zip(descriptions(pictures, rows), SHARES, strict=True):
        away = part.astype(np.float64) - part.astype(np.float64).mean(0)
        sizes = np.linalg.norm(away, axis=1)
        expected += share * (away @ away.T) / np.outer(sizes, sizes)
    found = Likeness(pictures, rows).of(pictures, rows)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.diag(found) == pytest.approx(sum(SHARES), abs=1e-5)


def test_precomputed_features_have_one_description():
    values = np.random.default_rng(1).standard_normal((4, 3, 7)).astype(np.float32)
    features, rows = Features(list(values)), np.arange(4)
    (mean,) = descriptions(features, rows)
    assert mean == pytest.approx(values.mean(1), abs=1e-6)
    assert np.diag(Likeness(features, rows).of(features, rows)) == pytest.approx(1, abs=1e-5)
