"""The tagger's bar: parts of speech of English."""

from __future__ import annotations

from quality_bars import Options, Row, bar, summary, train

STEPS = 4000
"""About ten passes; 15 minutes on two quiet cores are allowed."""


@bar("ewt-upos")
def ewt_upos(options: Options) -> Row:
    """The official split, from scratch: nothing but the treebank is read; dev is watched, test read at the end."""
    home = options.data / "ud-english-ewt"
    train_file, dev, test = (home / f"en_ewt-ud-{part}.conllu.gz" for part in ("train", "dev", "test"))
    budget = ("--steps", 20, "--hidden", 20, "--layers", 1) if options.quick else ("--steps", STEPS)
    config = train(options, "ewt-upos", "--task", "tag", train_file, "--dev-file", dev, "--test-file", test, *budget)
    return summary(
        "ewt-upos", [config], data="UD English EWT (upos), official split",
        published="most frequent tag 0.862; BERT, which has read more than a treebank, 0.972",
        bars={"accuracy": (0.94, "min")}, note="0.95 is wanted; the interval is over sentences",
    )  # fmt: skip
