"""From files to encoded parts: what is trained on, watched and held out. No torch here."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from unrolled.data.examples import split_by_key
from unrolled.data.pytokens import python_sentences
from unrolled.data.step_arrays import StepArrays, read_arrays
from unrolled.data.tagged import Layout, Sentence, Tagged, in_scheme, read_tagged
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.tag.config import TagConfig, TagData
from unrolled.tasks.tag.encoding import Part, Steps, WordPart, Words

PARTS = ("train", "dev", "test")
PYTHON = Layout("columns", 0, 1, 2)
"""How tags of Python's own tokens are written: a word and its tag on a line."""


@dataclasses.dataclass
class Raw:
    """What was read, by part, before it is encoded.

    Attributes:
        sentences, arrays: one of the two.
        layout: how the training files are written; None for arrays.
        scheme: how the network marks spans; None where the tags mark none.
        cut: what cuts raw text into words such as these: "words" or "python".
    """

    sentences: dict[str, list[Sentence]]
    arrays: dict[str, StepArrays]
    layout: Layout | None
    scheme: str | None
    cut: str
    label: str
    notes: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        """Sentences or sequences by part."""
        if self.layout is None:
            return {part: len(arrays.x) for part, arrays in self.arrays.items()}
        return {part: len(found) for part, found in self.sentences.items()}

    def digest(self) -> str:
        """Identifies the data, as it is split."""
        made = hashlib.blake2b(digest_size=16)
        for part in PARTS:
            made.update(part.encode())
            if self.layout is None:
                arrays = self.arrays[part]
                made.update(arrays.x.values.tobytes() + arrays.x.lengths.tobytes())
                made.update("\n".join(map(str, arrays.y.values.ravel().tolist())).encode())
                continue
            for sentence in self.sentences[part]:
                line = "\n".join((*sentence.words, "", *sentence.tags, "", ""))
                made.update(line.encode("utf-8", "surrogatepass"))
        return made.hexdigest()


def read_parts(paths: Sequence[str], data: TagData) -> Raw:
    """Read the files and split them.

    Raises:
        UserError: see the readers; or nothing to train on.
    """
    if is_arrays(paths, data):
        return _checked(_array_parts(paths, data))
    if not paths:
        if data.dev_file or data.test_file:
            raise UserError("--dev-file and --test-file: name the training file as well")
        found, keys = python_sentences()
        notes = ["text: lines of Python's standard library; whole files are held out"]
        raw = Raw(_split(found, keys, data), {}, PYTHON, None, "python", "Python's standard library", notes)
        return _checked(raw)
    train = _tagged(paths, data)
    scheme = data.scheme if train.layout.scheme is not None and data.scheme != "keep" else train.layout.scheme
    files = {part: file for part, file in (("dev", data.dev_file), ("test", data.test_file)) if file}
    shares = dataclasses.replace(data, dev=0.0 if "dev" in files else data.dev,
                                 heldout=0.0 if "test" in files else data.heldout)  # fmt: skip
    parts = _split(train.sentences, [" ".join(s.words) for s in train.sentences], shares)
    raw = Raw(parts, {}, train.layout, scheme, "words", train.label, train.notes)
    for part, file in files.items():
        raw.sentences[part] = read_more([file], data, train.layout, raw.notes)
    if scheme != train.layout.scheme and scheme is not None:
        raw.sentences = {part: in_scheme(found, scheme) for part, found in raw.sentences.items()}
    return _checked(raw)


def is_arrays(paths: Sequence[str], data: TagData) -> bool:
    """Whether these are numbers and no words."""
    by_name = bool(paths) and all(path.lower().endswith(".npz") for path in paths)
    return data.format == "arrays" or (data.format == "auto" and by_name)


def read_more(paths: Sequence[str], data: TagData, layout: Layout, notes: list[str]) -> list[Sentence]:
    """Sentences of further files, which may be written in another way, with the same kind of tag."""
    found = _tagged(paths, data)
    if (found.layout.scheme is None) != (layout.scheme is None):
        one, other = ("spans", "no spans") if layout.scheme else ("no spans", "spans")
        raise UserError(f"{found.label}: its tags mark {other}, and those trained on mark {one}; check --tag")
    notes += found.notes
    return found.sentences


def encode(raw: Raw, data: TagData, model: TagConfig) -> tuple[Words | Steps, dict[str, Part]]:
    """Vocabularies of the training part, and every part encoded by them."""
    if raw.layout is None:
        steps = Steps.learn(raw.arrays["train"])
        return steps, {part: steps.part(arrays) for part, arrays in raw.arrays.items()}
    words = Words.learn(raw.sentences["train"], lower=model.lower, longest=model.longest_word,
                        min_count=data.min_count)  # fmt: skip
    raw.notes += unknown_tags(raw.sentences, words)
    return words, {part: WordPart(sentences, words) for part, sentences in raw.sentences.items()}


def unknown_tags(parts: Mapping[str, Sequence[Sentence]], known: Words) -> list[str]:
    """What to say of tags that the training part has once, or not at all."""
    seen: Counter[str] = Counter()
    first: dict[str, str] = {}
    notes = []
    for part, sentences in parts.items():
        strange: Counter[str] = Counter()
        for sentence in sentences:
            for tag in sentence.tags:
                first.setdefault(tag, sentence.where)
            if part == "train":
                seen.update(sentence.tags)
            else:
                strange.update(tag for tag in sentence.tags if tag not in known.tags)
        if strange:
            tags = ", ".join(f"{tag} ({first[tag]})" for tag in list(strange)[:3])
            more = ", ..." if len(strange) > 3 else ""
            words = counted(strange.total(), "word")
            notes.append(f"{part}: {words} with tags that are not trained on count as wrong: {tags}{more}")
    once = [tag for tag, n in seen.items() if n == 1]
    if once:
        tags = ", ".join(f"{tag} ({first[tag]})" for tag in once[:3]) + (", ..." if len(once) > 3 else "")
        notes.insert(0, f"{counted(len(once), 'tag')} seen once in training: {tags}")
    return notes


def _tagged(paths: Sequence[str], data: TagData) -> Tagged:
    return read_tagged(paths, format=data.format, tag=data.tag, words=data.words, bad=data.bad, encoding=data.encoding)


def _split(sentences: list[Sentence], keys: list[str], data: TagData) -> dict[str, list[Sentence]]:
    rows = split_by_key(keys, data.heldout, data.dev, data.split_seed)
    return {part: [sentences[k] for k in rows[part]] for part in PARTS}


def _array_parts(paths: Sequence[str], data: TagData) -> Raw:
    if not paths:
        raise UserError("--format arrays: no file named; give an .npz with x and y")
    read = {"x": data.words or "x", "y": data.tag or "y", "target": data.target}
    found = read_arrays(paths, **read)
    files = {part: file for part, file in (("dev", data.dev_file), ("test", data.test_file)) if file}
    rows = split_by_key(found.keys(), 0.0 if "test" in files else data.heldout, 0.0 if "dev" in files else data.dev,
                        data.split_seed)  # fmt: skip
    parts = {part: dataclasses.replace(found, x=found.x.take(rows[part]), y=found.y.take(rows[part])) for part in PARTS}
    for part, file in files.items():
        parts[part] = read_arrays([file], **read)
        check_like(parts[part], found.numbers, found.x.values.shape[1], found.label)
    return Raw({}, parts, None, None, "", found.label, list(found.notes))


def check_like(found: StepArrays, numbers: bool, inputs: int, label: str) -> None:
    """Raises UserError where arrays are not of the kind that was trained on."""
    if found.x.values.shape[1] != inputs or found.numbers != numbers:
        kinds = ["numbers" if one else "classes" for one in (found.numbers, numbers)]
        raise UserError(f"{found.label}: {found.x.values.shape[1]} inputs a step and {kinds[0]}, "
                        f"unlike {label}: {inputs} and {kinds[1]}")  # fmt: skip


def _checked(raw: Raw) -> Raw:
    sizes = raw.sizes
    if sizes["train"] == 0:
        raise UserError(f"{raw.label}: nothing is left to train on; use --heldout 0 --dev 0, or name more sentences")
    if raw.layout is not None:
        tags = {tag for sentence in raw.sentences["train"] for tag in sentence.tags}
    elif raw.arrays["train"].numbers:
        return raw
    else:
        tags = set(np.unique(raw.arrays["train"].y.values).tolist())
    if len(tags) < 2:
        raise UserError(
            f"{raw.label}: every unit has the tag {next(iter(tags))!r}; there is nothing to learn, check --tag"
        )
    return raw
