"""Schemes of spans: told apart, read as conlleval reads them, each into the other."""

from __future__ import annotations

import pytest

from unrolled.data.spans import convert, marked, scheme_of, spans_of

SPANS = [(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC"), (5, 8, "ORG")]
WRITTEN = {
    "iob1": ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG", "I-ORG", "I-ORG"],
    "iob2": ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG", "I-ORG", "I-ORG"],
    "iobes": ["B-PER", "E-PER", "S-PER", "O", "S-LOC", "B-ORG", "I-ORG", "E-ORG"],
}


@pytest.mark.parametrize("scheme", WRITTEN)
def test_each_scheme_is_recognised_read_and_written(scheme: str) -> None:
    assert scheme_of([WRITTEN[scheme]]) == scheme
    assert spans_of(WRITTEN[scheme]) == SPANS
    assert marked(SPANS, 8, scheme) == WRITTEN[scheme]
    for other, tags in WRITTEN.items():
        assert convert(tags, scheme) == WRITTEN[scheme], other


def test_bilou_is_iobes_by_other_letters() -> None:
    tags = ["B-PER", "L-PER", "U-PER", "O", "U-LOC"]
    assert scheme_of([tags]) == "iobes"
    assert convert(tags, "iob2") == ["B-PER", "I-PER", "B-PER", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["NOUN", "VERB"], None),
        (["O", "O"], None),  # nothing marked: nothing to tell
        (["B-X", "NOUN"], None),
        (["B", "I", "O"], "iob2"),  # spans of one kind, without a name
        (["I", "O"], None),  # which might as well be tags of their own
        (["I-X", "O", "B-X", "B-X"], "iob2"),  # neither: IOB2 with a mistake
        (["I-X", "B-X", "O", "I-X"], "iob1"),
        (["I-X", "I-Y"], "iob1"),
    ],
)
def test_what_is_told_and_what_is_not(tags: list[str], scheme: str | None) -> None:
    assert scheme_of([tags]) == scheme


def test_predicted_tags_that_are_not_valid_are_read_as_conlleval_does() -> None:
    assert spans_of(["O", "I-X", "I-Y", "O", "E-Z"]) == [(1, 2, "X"), (2, 3, "Y"), (4, 5, "Z")]
    assert spans_of(["S-X", "I-X", "E-X", "B-X"]) == [(0, 1, "X"), (1, 3, "X"), (3, 4, "X")]
    assert spans_of([]) == []
