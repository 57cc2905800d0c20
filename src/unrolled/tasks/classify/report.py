"""What a classifier's figures are, what something simple reaches, and where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.bundle.files import replace_file
from unrolled.data.examples import Ragged
from unrolled.tasks.base import Figure, Report
from unrolled.tasks.classify.baselines import NEIGHBOURS_MOST, STRENGTHS, Linear, nearest
from unrolled.tasks.classify.model import LONGEST_RUN
from unrolled.tasks.metrics import bootstrap_interval, class_scores, confusion, confusion_text, f1, macro_f1, wilson

if TYPE_CHECKING:
    from unrolled.tasks.classify.parts import Part
    from unrolled.tasks.classify.task import ClassifyTask

Floats = NDArray[np.float64]
BINS = 15
SUREST = 10
DRAWS = 300


def figures(target: str, answers: Floats, y: NDArray[Any], *, intervals: bool = False) -> dict[str, Figure]:
    """The figures of a part, the headline first.

    Args:
        answers: probabilities (N, K), or numbers (N, 1).
        y: classes (N,), 0 and 1 (N, K), or numbers (N,).
        intervals: with 95 % intervals.
    """
    n, draws = len(y), DRAWS if intervals else 0
    if target == "number":
        errors = answers[:, 0] - y

        def rmse(rows: Any) -> float:
            return float(np.sqrt(np.mean(errors[rows] ** 2)))

        spread = float(np.var(y)) or 1.0
        everything = np.arange(n)
        return {
            "mae": Figure(float(np.abs(errors).mean()), _drawn(lambda r: float(np.abs(errors[r]).mean()), n, draws),
                          low_is_good=True),
            "rmse": Figure(rmse(everything), _drawn(rmse, n, draws), low_is_good=True),
            "r2": Figure(1.0 - float(np.mean(errors**2)) / spread),
        }  # fmt: skip
    if target == "several":
        claimed = answers >= 0.5
        wanted = y > 0.5

        def micro(rows: Any) -> float:
            return _f1(claimed[rows], wanted[rows])

        each = [_f1(c, w) for c, w in zip(claimed.T, wanted.T, strict=True)]
        occurs = claimed.any(0) | wanted.any(0)
        return {
            "micro_f1": Figure(micro(np.arange(n)), _drawn(micro, n, draws)),
            "macro_f1": Figure(float(np.asarray(each)[occurs].mean()) if occurs.any() else 0.0),
            "exact": Figure(float((claimed == wanted).all(1).mean())),
        }
    chosen = answers.argmax(1)
    right, K = chosen == y, answers.shape[1]
    sure = answers[np.arange(n), y]
    return {
        "accuracy": Figure(float(right.mean()), wilson(int(right.sum()), n) if intervals else None),
        "macro_f1": Figure(macro_f1(confusion(y, chosen, K)),
                           _drawn(lambda r: macro_f1(confusion(y[r], chosen[r], K)), n, draws)),
        "loss": Figure(float(np.log(1 / np.maximum(sure, 1e-300)).mean()), None, "nats per example", low_is_good=True),
        "calibration_error": Figure(calibration_error(answers.max(1), right), None, low_is_good=True),
    }  # fmt: skip


def _f1(claimed: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return f1(float((claimed & wanted).sum()), float(claimed.sum()), float(wanted.sum()))


def _drawn(statistic: Any, n: int, draws: int) -> tuple[float, float] | None:
    return bootstrap_interval(statistic, n, draws) if draws else None


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """The expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 5): how far, on average, a probability is
    from the share that is right among examples of about that probability, in 15 bins."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sums = np.bincount(place, confidence - right, BINS)
    return float(np.abs(sums).sum() / len(right))


def make(task: ClassifyTask, answers: Floats, part: str, threshold: float | None) -> Report:
    """The report of a part of a task."""
    held, target = task.parts[part], task.target
    made = Report(figures=figures(target, answers, held.y, intervals=True))
    if target == "class" and threshold is not None:
        answered = answers.max(1) >= threshold
        right = (answers.argmax(1) == held.y)[answered]
        made.figures["answered"] = Figure(float(answered.mean()))
        made.figures["accuracy_of_answers"] = Figure(float(right.mean()) if len(right) else 0.0,
                                                     wilson(int(right.sum()), len(right)))  # fmt: skip
    made.baselines = baselines(task, held)
    made.rows = rows(task, answers, held)
    if target == "class":
        names, matrix = task.coder.classes, confusion(held.y, answers.argmax(1), task.outputs)
        crossed = "confusion (rows: what it is, columns: what was said)"
        made.tables = [("by class", _by_class(matrix, names)), (crossed, confusion_text(matrix, names))]
        wrong = np.flatnonzero(answers.argmax(1) != held.y)
        surest = wrong[np.argsort(-answers[wrong].max(1), kind="stable")][:SUREST]
        lines = [f"{answers[k].max():.3f} {names[int(answers[k].argmax())]}, is {names[int(held.y[k])]}: "
                 f"{shown(held, int(k))}" for k in surest]  # fmt: skip
        made.tables += [("the errors it is surest of", "\n".join(lines))] if lines else []
        made.pictures = {"confusion.png": lambda path: draw_confusion(matrix, names, path)}
    return made


def _by_class(matrix: NDArray[np.int64], names: list[str]) -> str:
    scores = class_scores(matrix)
    width = max(5, *(min(len(name), 24) for name in names))
    lines = [f"{'class':<{width}}  precision  recall  f1      examples"]
    for k, name in enumerate(names):
        p, r, both, n = (scores[s][k] for s in ("precision", "recall", "f1", "support"))
        lines.append(f"{name[:24]:<{width}}  {p:<9.3f}  {r:<6.3f}  {both:<6.3f}  {n:.0f}")
    return "\n".join(lines)


def shown(part: Part, row: int, most: int = 70) -> str:
    """An input on one line."""
    text = part.examples.where[row] if part.examples.texts is None else " ".join(part.examples.texts[row].split())
    return text if len(text) <= most else text[: most - 3] + "..."


def rows(task: ClassifyTask, answers: Floats, part: Part) -> list[dict[str, Any]]:
    """One an example, for ``--predictions``."""
    made = []
    for k, answer in enumerate(answers):
        row: dict[str, Any] = {"where": part.examples.where[k]}
        if part.examples.texts is not None:
            row["input"] = part.examples.texts[k]
        row["target"] = part.examples.labels[k]
        if task.target == "number":
            row["predicted"] = float(answer[0])
        elif task.target == "several":
            row["predicted"] = [task.coder.classes[j] for j in np.flatnonzero(answer >= 0.5)]
        else:
            row |= {"predicted": task.coder.classes[int(answer.argmax())], "probability": float(answer.max())}
        made.append(row)
    return made


def some(task: ClassifyTask, answers: Floats, part: Part) -> str:
    """A few examples with what the model says, for watching."""
    lines = []
    for k, row in enumerate(rows(task, answers, part)):
        said, target = [f"{row[n]:.4g}" if task.target == "number" else f"{row[n]}" for n in ("predicted", "target")]
        sure = f" {row['probability']:.2f}" if "probability" in row else ""
        lines.append(f"{shown(part, k, 50)} -> {said}{sure}{' ok' if said == target else f' (is {target})'}")
    return "\n".join(lines)


# -- what something simple reaches -------------------------------------------------------------------------------------


def baselines(task: ClassifyTask, held: Part) -> list[tuple[str, dict[str, float]]]:
    """What is most frequent, and a linear model on n-grams (texts) or the nearest neighbour (numbers)."""
    train, target, K = task.parts["train"], task.target, task.outputs
    if target == "number":
        constant = np.full((len(held), 1), train.y.mean() if len(train) else 0.0)
        name = "the mean"
    else:
        share = np.asarray(task.coder.counts, np.float64) / max(1, sum(task.coder.counts))
        if target == "several":
            share = np.asarray(task.coder.counts, np.float64) / max(1, len(train))
        constant = np.tile(share, (len(held), 1))
        name = "the most frequent class" if target == "class" else "the labels that most examples have"
    found = [(name, _values(target, constant, held))]
    if not len(train):
        return found
    if task.coder.kind == "numbers":
        match = train.y[nearest(train.inputs, held.inputs)]
        near = match[:, None] if target == "number" else match if target == "several" else np.eye(K)[match]
        most = f" among {NEIGHBOURS_MOST:,}" if len(train) > NEIGHBOURS_MOST else ""
        found.append((f"the nearest neighbour{most}", _values(target, near.astype(np.float64), held)))
    else:
        name, answers = linear(task, held)
        found.append((name, _values(target, answers, held)))
    return found


def linear(task: ClassifyTask, held: Part) -> tuple[str, Floats]:
    """The linear model on n-grams, its strength chosen on the dev part and then trained on that too; its name and its
    answers."""
    train, dev = task.parts["train"], task.parts["dev"]
    order, number = LONGEST_RUN[task.coder.kind], task.target == "number"
    mean, deviation = (float(train.y.mean()), float(train.y.std()) or 1.0) if number else (0.0, 1.0)

    def model_of(inputs: Ragged, y: NDArray[Any]) -> Linear:
        wanted = ((y - mean) / deviation).astype(np.float32) if number else y
        return Linear(inputs, wanted, task.outputs, order)

    best, W = STRENGTHS[1], None
    inputs, y = train.inputs, train.y
    if len(dev):
        model, worth = model_of(train.inputs, train.y), []
        for strength in STRENGTHS:
            W = model.fit(strength, W)
            watched = _answers(task.target, model.scores(W, dev.inputs), mean, deviation)
            headline = next(iter(figures(task.target, watched, dev.y).values()))
            worth.append((-headline.value if headline.low_is_good else headline.value, strength))
        best = max(worth)[1]
        values = np.concatenate((train.inputs.values, dev.inputs.values))
        inputs = Ragged(values, np.concatenate((train.inputs.lengths, dev.inputs.lengths)))
        y = np.concatenate((train.y, dev.y))
    model = model_of(inputs, y)
    found = _answers(task.target, model.scores(model.fit(best), held.inputs), mean, deviation)
    kind = "character" if task.coder.kind == "char" else "word"
    return f"a linear model on {kind} 1-{order}-grams", found


def _answers(target: str, scores: Floats, mean: float, deviation: float) -> Floats:
    if target == "number":
        return scores * deviation + mean
    if target == "several":
        found: Floats = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
        return found
    powers = np.exp(scores - scores.max(1, keepdims=True))
    share: Floats = powers / powers.sum(1, keepdims=True)
    return share


def _values(target: str, answers: Floats, held: Part) -> dict[str, float]:
    keep = {"class": 2, "several": 3, "number": 3}[target]
    return {name: f.value for name, f in list(figures(target, answers, held.y).items())[:keep]}


def draw_confusion(matrix: NDArray[np.int64], names: list[str], path: Path) -> None:
    """The confusion matrix as a picture: shares of each row, with the counts where there is room."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    K = len(names)
    size = min(14.0, 3.0 + 0.4 * K)
    canvas = Canvas(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    short = [name[:16] for name in names]
    axes.set_xticks(range(K), short, rotation=90)
    axes.set_yticks(range(K), short)
    axes.set(xlabel="said", ylabel="is")
    if K <= 25:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            colour = "w" if share[i, j] > 0.5 else "k"
            axes.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=7, color=colour)
    canvas.colorbar(image, label="share of the row")
    replace_file(path, lambda file: canvas.savefig(file, format="png", dpi=110))
