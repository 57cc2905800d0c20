"""BLEU, ROUGE-L, CIDEr and token F1 against cases worked by hand."""

from __future__ import annotations

import math

import pytest

from unrolled.tasks.caption.metrics import bleu, cider, rouge_l, token_f1


def w(text):
    return text.split()


def test_bleu_of_papineni_clips_counts_by_the_best_reference():
    """The papers's example 2: seven times "the" gets 2/7, since a reference has it at most twice."""
    refs = [w("the cat is on the mat"), w("there is a cat on the mat")]
    found = bleu([w("the the the the the the the")], [refs])
    assert found[0] == pytest.approx(2 / 7)
    assert found[1:] == [0.0, 0.0, 0.0]


def test_bleu_by_hand_over_two_captions():
    """Matches add up over the set before they are divided, and so do lengths.

    "a b c d e" against "a b c d f": 4/5, 3/4, 2/3, 1/2. "a b c" against "a b c d e": 3/3, 2/2, 1/1, none of 0.
    Together 7/8, 5/6, 3/4, 1/2; c = 8, r = 10.
    """
    found = bleu([w("a b c d e"), w("a b c")], [[w("a b c d f")], [w("a b c d e")]])
    brevity, product = math.exp(1 - 10 / 8), 1.0
    for n, precision in enumerate((7 / 8, 5 / 6, 3 / 4, 1 / 2), 1):
        product *= precision
        assert found[n - 1] == pytest.approx(brevity * product ** (1 / n))


def test_bleu_takes_the_nearest_length_and_of_two_the_shorter():
    """c = 3 between references of 2 and 4: r = 2, no penalty. With 4 it would be exp(1 - 4/3)."""
    assert bleu([w("a b x")], [[w("a b"), w("a b c d")]])[0] == pytest.approx(2 / 3)
    assert bleu([w("a b c d")], [[w("a b c d")]]) == pytest.approx([1.0] * 4)
    assert bleu([[]], [[w("a")]]) == [0.0] * 4


def test_rouge_l_by_hand():
    """Lin's example: "police kill the gunman" shares "police the gunman" with the reference: P = R = 3/4, so F is 3/4
    whatever beta is. Apart: "a b" against "a c b d": P = 1, R = 1/2, F = 2.44 * 0.5 / (0.5 + 1.44)."""
    assert rouge_l(w("police kill the gunman"), [w("police killed the gunman")]) == pytest.approx(0.75)
    assert rouge_l(w("a b"), [w("a c b d")]) == pytest.approx(2.44 * 0.5 / 1.94)
    assert rouge_l(w("a b"), [w("a c b d"), w("b")]) == pytest.approx(1.0)  # the best P and the best R
    assert rouge_l([], [w("a")]) == rouge_l(w("x"), [w("a")]) == 0.0


def test_cider_by_hand():
    """Two images; "a" is in both references, so its weight is log 2 - log 2 = 0.

    Image 1 says its reference, "a cat": of order 1 only "cat" weighs, cosine 1; of order 2 "a cat", cosine 1; orders 3
    and 4 have nothing, 0. So 10 * (1 + 1) / 4 = 5. Image 2 says "a dog a" for "a dog": order 1, 1; order 2: the vectors
    (a dog, dog a): own norm sqrt(1^2 + 1^2) log 2 (an n-gram in no reference counts as one in a single one), cosine
    1/sqrt(2); and the lengths differ by 1, exp(-1/72) for both.
    """
    refs = [[w("a cat")], [w("a dog")]]
    found = cider([w("a cat"), w("a dog a")], refs)
    assert found[0] == pytest.approx(5.0)
    assert found[1] == pytest.approx(10 * (1 + 1 / math.sqrt(2)) / 4 * math.exp(-1 / 72))


def test_cider_cuts_counts_that_are_too_many():
    """ "cat cat" for "cat": own vector 2 log 2, cut to log 2 in the product: log2 * log2 / (2 log2 * log2) = 1/2."""
    found = cider([w("cat cat"), w("dog")], [[w("cat")], [w("dog")]])
    assert found[0] == pytest.approx(10 * 0.5 / 4 * math.exp(-1 / 72))
    assert found[1] == pytest.approx(2.5)


def test_cider_is_the_mean_over_references():
    found = cider([w("cat"), w("dog")], [[w("cat"), w("dog")], [w("dog")]])
    assert found[0] == pytest.approx(0.5 * 10 / 4)  # "dog", of both images, weighs nothing: the second reference is 0


def test_token_f1_takes_the_best_reference_and_counts_repeats():
    assert token_f1(w("a a b"), [w("a b c")]) == pytest.approx(4 / 6)
    assert token_f1(w("a b"), [w("x"), w("b a")]) == 1.0
    assert token_f1([], [w("x")]) == 0.0
