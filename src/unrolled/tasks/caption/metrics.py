"""How well captions match references: BLEU, ROUGE-L, CIDEr, token F1. Over lists of words; nothing is tokenised here.

BLEU and CIDEr are figures of a whole set, computed as the COCO caption evaluation does (Chen et al. 2015,
arXiv:1504.00325, and its code), which differs from the papers in the places named below.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from unrolled.tasks.metrics import f1

Words = Sequence[str]
References = Sequence[Words]

ORDERS = 4
ROUGE_BETA = 1.2
CIDER_SIGMA, CIDER_SCALE = 6.0, 10.0


def ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``n`` words occurs."""
    return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))


def bleu(captions: Sequence[Words], references: Sequence[References]) -> list[float]:
    """BLEU-1 to BLEU-4 of a set (Papineni et al. 2002), from 0 to 1.

    ``BLEU-N = exp(min(0, 1 - r/c)) * (p_1 ... p_N)^(1/N)``: p_n is the share of the captions' n-grams that stand in a
    reference (each at most as often as in the one that has it most often), c the captions' words, and r those of the
    references, of each set the one nearest in length, the shorter of two. Nothing is smoothed: without a single match
    of some order it is 0.
    """
    matched, proposed = [0] * ORDERS, [0] * ORDERS
    c = r = 0
    for words, refs in zip(captions, references, strict=True):
        c += len(words)
        r += min((abs(len(ref) - len(words)), len(ref)) for ref in refs)[1]
        for n in range(1, ORDERS + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for ref in refs:
                most |= ngrams(ref, n)
            own = ngrams(words, n)
            matched[n - 1] += sum(min(count, most[gram]) for gram, count in own.items())
            proposed[n - 1] += sum(own.values())
    brevity = 0.0 if c == 0 else math.exp(min(0.0, 1 - r / c))
    found, logs = [], 0.0
    for n in range(ORDERS):
        precision = matched[n] / proposed[n] if proposed[n] else 0.0
        logs += math.log(precision) if precision > 0 else -math.inf
        found.append(brevity * math.exp(logs / (n + 1)))
    return found


def rouge_l(words: Words, refs: References) -> float:
    """ROUGE-L of one caption (Lin 2004): ``(1 + b^2) R P / (R + b^2 P)`` with b = 1.2, where P and R are the longest
    common subsequence's share of the caption and of a reference; as COCO's code, the best P and the best R over the
    references, which need not be of the same one."""
    common = [_common(words, ref) for ref in refs]
    precision = max((n / len(words) for n in common), default=0.0) if words else 0.0
    recall = max((n / len(ref) for n, ref in zip(common, refs, strict=True) if len(ref)), default=0.0)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    before = [0] * (len(b) + 1)
    for x in a:
        now = [0]
        for j, y in enumerate(b):
            now.append(before[j] + 1 if x == y else max(before[j + 1], now[j]))
        before = now
    return before[-1]


def cider(captions: Sequence[Words], references: Sequence[References]) -> list[float]:
    """CIDEr-D of every caption (Vedantam, Zitnick & Parikh 2015, arXiv:1411.5726); the set's figure is their mean.

    For n from 1 to 4: the cosine of the n-grams' tf-idf vectors, with the caption's counts cut to the reference's,
    times ``exp(-(difference in length)^2 / (2 * 6^2))``; the mean over references and orders, times 10. tf is the plain
    count; idf is ``log(images) - log(max(1, images with the n-gram in a reference))``, of this very set.
    """
    images = len(references)
    seen: Counter[tuple[str, ...]] = Counter()
    for refs in references:
        seen.update({gram for ref in refs for n in range(1, ORDERS + 1) for gram in ngrams(ref, n)})
    logs = math.log(max(1, images))

    def weights(words: Words, n: int) -> tuple[dict[tuple[str, ...], float], float]:
        found = {g: count * (logs - math.log(max(1, seen[g]))) for g, count in ngrams(words, n).items()}
        return found, math.sqrt(sum(w * w for w in found.values()))

    def similarity(words: Words, ref: Words, n: int) -> float:
        (own, own_norm), (their, their_norm) = weights(words, n), weights(ref, n)
        if own_norm == 0 or their_norm == 0:
            return 0.0
        dot = sum(min(w, their[g]) * their[g] for g, w in own.items() if g in their)
        return dot / (own_norm * their_norm) * math.exp(-((len(words) - len(ref)) ** 2) / (2 * CIDER_SIGMA**2))

    return [
        CIDER_SCALE * sum(similarity(words, ref, n) for ref in refs for n in range(1, ORDERS + 1)) / ORDERS / len(refs)
        for words, refs in zip(captions, references, strict=True)
    ]


def token_f1(words: Words, refs: References) -> float:
    """F1 of a caption's words, in any order, each as often as it occurs; of the reference it fits best."""
    own = Counter(words)
    return max(f1(sum((own & Counter(ref)).values()), len(words), len(ref)) for ref in refs)
