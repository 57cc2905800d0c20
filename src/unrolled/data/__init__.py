"""Tokens, streams for truncated back-propagation through time, records, held-out text, and the n-gram baseline.

The names resolve on first use, so importing this package loads neither torch nor numpy.
"""

from __future__ import annotations

from unrolled.lazy import lazy_names

_HOME = {
    "Chunk": "streams",
    "ChunkStream": "streams",
    "Corpus": "corpus",
    "HeldoutChunk": "heldout",
    "Part": "corpus",
    "RecordIds": "records",
    "RecordStream": "record_streams",
    "Records": "records",
    "Source": "text",
    "TextConfig": "config",
    "Units": "units",
    "WholeRecordStream": "record_streams",
    "fit_batch": "streams",
    "heldout_records": "heldout",
    "heldout_streams": "heldout",
    "load_corpus": "corpus",
    "ngram_baseline": "ngram",
    "open_source": "text",
    "random_windows": "heldout",
    "stdlib_source": "stdlib",
    "units_from_json": "units",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
