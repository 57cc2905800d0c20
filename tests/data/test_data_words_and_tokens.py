"""Raw text into words, and Python's own tokens with their parts."""

from __future__ import annotations

import pytest

from unrolled.data.pytokens import cut_python, line_tags, logical_lines, python_sentences
from unrolled.data.wordcut import cut_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't think she's in the U.S. anymore!!", "I do n't think she 's in the U.S. anymore !!"),
        ("Mr. Smith paid $1,000.50 at 10:30 (e.g., twice).",
         "Mr. Smith paid $ 1,000.50 at 10:30 ( e.g. , twice ) ."),
        ("see http://a.bc/d?e=f, or mail x.y@z.org.", "see http://a.bc/d?e=f , or mail x.y@z.org ."),
        ("a 15-year term... “fine”", "a 15 - year term ... “ fine ”"),
        ("can’t; we’re", "ca n’t ; we ’re"),
        ("Ünal 東京 naïve", "Ünal 東京 naïve"),
        ("  ", ""),
    ],
)  # fmt: skip
def test_words(text: str, words: str) -> None:
    assert cut_words(text) == words.split()


@pytest.mark.parametrize("text", ["a'b'' c", "$%^&*()_+ 'tis n't 's", "x\u00a0y\tz\n...!?", "1.5.2rc1 'll"])
def test_nothing_but_white_space_is_left_out(text: str) -> None:
    assert "".join(cut_words(text)) == "".join(text.split())


def test_the_parts_that_tokens_play() -> None:
    text = "@wraps(f)\nasync def run(self, *args, k=None):\n    return self.call(args[0], key=len(x)).value + 'a' - 1\n"
    lines = [line for _, line in logical_lines(text)]
    tagged = [" ".join(f"{word}/{tag}" for (_, word), tag in zip(line, line_tags(line), strict=True)) for line in lines]
    assert tagged[0].startswith("@/operator wraps/call")
    assert "run/function (/operator self/parameter" in tagged[1]
    assert "args/parameter ,/operator k/parameter =/operator None/keyword" in tagged[1]
    assert tagged[2].startswith("return/keyword self/name ./operator call/method (/operator args/name")
    assert "key/argument =/operator len/call" in tagged[2]
    assert tagged[2].endswith("value/attribute +/operator 'a'/string -/operator 1/number")
    [(_, line)] = logical_lines("from a.b import c as d\n")
    assert line_tags(line)[1] == "module"


def test_python_is_cut_by_tokenize_and_anything_else_at_spaces() -> None:
    assert cut_python("x = f(1)  # note") == ["x", "=", "f", "(", "1", ")"]
    assert cut_python("def f(a:") == ["def", "f", "(", "a", ":"]
    assert cut_python("") == []


def test_the_standard_library_gives_sentences_with_files_to_split_by() -> None:
    found, files = python_sentences(tokens=3000)
    assert len(found) == len(files) > 100
    assert all(len(s.words) == len(s.tags) and s.words for s in found)
    assert all(word.strip() and "\n" not in word for s in found for word in s.words)
    assert python_sentences(tokens=3000)[0] == found
    assert len({tag for s in found for tag in s.tags}) >= 10
