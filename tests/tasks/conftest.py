"""Small corpora for the tasks' tests."""

from __future__ import annotations

import pytest

from unrolled.data import TextConfig, load_corpus, open_source


@pytest.fixture
def make_corpus(tmp_path):
    """``make_corpus(text, units="char", ...)``: the text in a file, read as the command line reads it."""

    def make(text, **options):
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_corpus(open_source([str(path)]), TextConfig(**options), cache=tmp_path / "cache")

    return make
