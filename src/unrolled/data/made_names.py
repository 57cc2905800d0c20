"""Names of people in languages that do not exist: something to classify where there is no data."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Language:
    """How its names are put together: syllables of onset, vowel and coda, then one of the endings."""

    onsets: str
    vowels: str
    codas: str
    endings: str
    syllables: tuple[int, int]


LANGUAGES = {
    "Aluvian": Language("l m n v r s th", "a e i ia ua", ". . . n l", "a ia iel uen", (1, 3)),
    "Brotgard": Language("br gr kr st d t h", "o a u e", "rd rk lf nd t g", "son gard ulf ", (1, 2)),
    "Chinook": Language("ch k qu tl x p t", "a i o aa", "k tl p x .", "uk al xen ot", (1, 2)),
    "Delphine": Language("ph d k l m p th s", "o i e a eu", ". s n . r", "os is ides akis", (1, 3)),
    "Esperine": Language("b c d f g l m r v", "e i o a", ". n r l .", "ini elli ando etti", (1, 2)),
    "Fenni": Language("h k l m n p t v j", "aa ii y u o ä ö", ". n l . s", "nen la kkö ri", (1, 2)),
    "Grusian": Language("gv mts b k dz sh zh t", "a e i o u", ". r v l d", "shvili dze iani uri", (1, 2)),
    "Hansai": Language("k s t n h m y r sh", "a i u e o", ". . . n .", "moto ta ra ko", (1, 3)),
}


def made_names(n: int = 6000, seed: int = 1, slips: float = 0.05) -> tuple[list[str], list[str]]:
    """Distinct names and their languages.

    Args:
        n: names of all languages together, shared unevenly: the last language has a quarter of the first one's.
        seed: another one gives other names.
        slips: the share of the names that are built by another language's rules, as real ones are borrowed: nothing
            gets all of them right.
    """
    rng = np.random.default_rng(seed)
    languages = list(LANGUAGES)
    weights = np.linspace(1.0, 0.25, len(languages))
    names: dict[str, str] = {}
    while len(names) < n:
        language = languages[int(rng.choice(len(languages), p=weights / weights.sum()))]
        source = languages[int(rng.integers(len(languages)))] if rng.random() < slips else language
        name = _name(LANGUAGES[source], rng)
        if len(name) > 2:
            names.setdefault(name, language)
    return list(names), list(names.values())


def _name(rules: Language, rng: np.random.Generator) -> str:
    def pick(of: str) -> str:
        choices = of.split(" ")
        return choices[int(rng.integers(len(choices)))].replace(".", "")

    low, high = rules.syllables
    syllables = range(int(rng.integers(low, high + 1)))
    body = "".join(pick(rules.onsets) + pick(rules.vowels) + pick(rules.codas) for _ in syllables)
    return (body + pick(rules.endings)).capitalize()
