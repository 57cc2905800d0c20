"""Every experiment at its smallest: it ends, says what it must, and writes what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from unrolled.lab import clipping, drawing, embedding, reach, texts, tradeoffs, trained, truncation
from unrolled.lab import gradients as gradients_lab
from unrolled.lab.config import LabConfig
from unrolled.lab.report import Picture, Report, Silent, Table, number
from unrolled.training.clipping import total_norm


def written(report: Report, out: Path) -> dict[str, object]:
    """The report's files are there; its numbers."""
    files = report.write(out)
    assert {p.name for p in files} >= {"results.json", "report.md"}
    for picture in report.pictures:
        assert len(picture.caption) > 80
        assert (out / f"{picture.name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / f"{picture.name}.svg").read_bytes()
    found: dict[str, object] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["verdicts"] == report.verdicts
    return found


@pytest.mark.parametrize("name", ["adding", "copy", "brackets", "digits"])
def test_a_trained_experiment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.lab.drawn.drawn_parts", lambda train, other: _few())
    lengths = {"digits": "28", "copy": "2"}.get(name, "4,6")
    config = LabConfig(seeds=1, lengths=lengths, steps=3, parameters=400, cells="gru,rnn-tanh")
    report = trained.run(name, config, tmp_path, Silent())
    found = written(report, tmp_path)
    if name == "adding":  # a figure whose layout moves a little each time it is drawn
        first = [p.read_bytes() for p in sorted(tmp_path.glob("adding.*"))]
        report.write(tmp_path)
        assert [p.read_bytes() for p in sorted(tmp_path.glob("adding.*"))] == first
    assert report.tables[0].header == ("length", "rnn-tanh", "gru", "trivial")
    assert f"solves T={lengths.split(',')[0]} in 0 of 1 seeds" in report.verdicts[0]
    assert len(found["numbers"]["trials"]) == 2 * len(lengths.split(","))  # type: ignore[index, call-overload]
    if name == "copy":
        assert report.tables[1].rows[0][-1] == number(10 * math.log(8) / 22)
    if name in ("adding", "copy"):
        assert "arXiv:1803.01271" in report.verdicts[-1] or "the same table" in report.verdicts[-1]


def _few() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    from unrolled.lab.drawn import drawn

    return {"train": drawn(20, 1), "dev": drawn(10, 2), "test": drawn(10, 3)}


def test_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients_lab, "H", 12)
    monkeypatch.setattr(gradients_lab, "QUICK_STEPS", 100)
    report = gradients_lab.run(LabConfig(quick=True), tmp_path, Silent())
    written(report, tmp_path)
    assert [t.title[:6] for t in report.tables] == ["Linear", "tanh: ", "One un", "LSTM: "]
    kept = next(row for row in report.tables[3].rows if row[0] == "f = 1, i = 0")
    assert kept[1:-1] == ("1",) * 5
    assert all("all 28 networks" in v for v in report.verdicts if "< 1: vanishing" in v)


def test_the_snippet_compares_the_squared_norm() -> None:
    for n, wanted in ((0.5, 0.5), (2.0, 0.5), (10.0, 0.1)):
        grads = [torch.tensor([0.6 * n]), torch.tensor([[0.8 * n]])]
        clipping.clip_as_in_the_lecture(grads, 1.0)
        assert float(total_norm(grads)) == pytest.approx(wanted)
    grads = [torch.tensor([3.0, 0.0])]  # 3 is below 5, its square is not
    assert clipping.clip_as_in_the_lecture(grads, 5.0)
    assert grads[0].tolist() == pytest.approx([5 / 3, 0.0])
    assert not clipping.clip("none", grads, 99.0)


def test_clipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "T", 40)
    report = clipping.run(LabConfig(steps=25), tmp_path, Silent())
    written(report, tmp_path)
    courses = {w["way"]: w for w in report.numbers["ways"]}
    assert max(courses["by norm"]["after"]) <= 1.0 + 1e-5 < max(courses["by norm"]["before"])
    assert courses["none"]["after"][0] == pytest.approx(courses["none"]["before"][0])
    first = {w["before"][0] for w in courses.values()}
    assert len(first) == 1  # one start, one batch
    for s, before, norm, clipped, after in report.numbers["points"]:
        assert clipped == pytest.approx(min(norm, 1.0), rel=1e-4)
        assert after == pytest.approx(before, abs=0.1 * 40 * math.log10(s) + 0.3)
    low, high = report.numbers["points"][0][1], report.numbers["points"][2][1]
    assert high - low == pytest.approx(40 * math.log10(1.1), abs=0.1)  # T steps of 1.1 I
    assert {w["jacobian"][0][1] for w in courses.values()} == {courses["none"]["jacobian"][0][1]}


def test_the_estimated_norm_of_the_jacobian_is_near_the_true_one() -> None:
    from unrolled.lab.problems import Adding
    from unrolled.lab.trial import Network, Trial

    problem = Adding(clipping.T)
    model = Network(Trial("adding", "rnn-tanh", clipping.T, 1, clipping.HIDDEN, 1, init="orthogonal"), problem)
    torch.nn.init.zeros_(model.layer.weight_ih_l0)  # without input the state stays 0, the Jacobian orthogonal
    assert clipping.log10_jacobian(model, problem) == pytest.approx(0.5 * math.log10(clipping.HIDDEN), abs=1e-4)


def test_truncation_with_k_equal_to_the_text_is_the_whole() -> None:
    ids = torch.randint(0, 7, (31, 2), generator=torch.Generator().manual_seed(1))
    losses = []
    for k in (30, 300):
        torch.manual_seed(2)
        losses.append(texts.train(texts.LanguageModel(7, 5), ids, k, 90, 1e-2)[0])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    torch.manual_seed(2)
    cut, _ = texts.train(texts.LanguageModel(7, 5), ids, 7, 90, 1e-2)
    assert len(cut) == 15  # 4 chunks of 7 and one of 2 a pass
    assert losses[0][0] > losses[0][-1]


def test_truncated_training_carries_the_state_through_a_pass() -> None:
    ids = torch.randint(0, 7, (31, 2), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    model = texts.LanguageModel(7, 5)
    chunks, _ = texts.train(model, ids, 10, 30, 0.0)  # at rate 0 nothing is learnt: the chunks' mean is the whole's
    assert sum(chunks) / 3 == pytest.approx(texts.measure(model, ids), rel=1e-5)


def test_truncation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("unrolled.lab.child_memory.measure", lambda *a: asked.append(a) or 1e6 * a[0])
    report = truncation.run(LabConfig(lengths="110,220", steps=110, quick=True), tmp_path, Silent())
    written(report, tmp_path)
    assert [row[1] for row in report.tables[0].rows] == ["k=5", "k=25", "k=100", "full"] * 2
    assert [a[0] for a in asked] == [5, 25, 100, 110, 5, 25, 100, 220]
    assert "takes 2.0 times the memory" in report.verdicts[0]


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    from unrolled.lab.child_memory import measure

    found = measure(2000, 2000, 8, 64, 20)
    if found is not None:
        assert 10e6 < found < 200e6  # 2000 x 8 steps of some 2 kB each, and copies


def test_one_hot_is_a_lookup_to_the_bit() -> None:
    for cell, product, output, off in embedding.lookup_differences(seed=4):
        assert product, cell
        assert output, cell
        assert off < 1e-5


def test_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "read", lambda n: "def f(x):\n    return x + 1\n\n" * 600)
    report = embedding.run(LabConfig(steps=2, quick=True), tmp_path, Silent())
    written(report, tmp_path)
    counts = [int(row[4].replace(",", "")) for row in report.tables[1].rows]
    for one_hot, embedded in zip(counts[::2], counts[1::2], strict=True):
        assert embedded <= one_hot
        assert embedded > 0.95 * one_hot


def test_words_are_numbered_by_frequency_and_the_rest_is_zero() -> None:
    ids, V = texts.by_word("a b a c a b ;\n", 3)
    assert (ids, V) == ([1, 2, 1, 0, 1, 2, 0, 0], 3)
    ids, V = texts.by_character("abca")
    assert (ids, V) == ([0, 1, 2, 0], 3)


def test_tradeoffs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.lab.child_memory.measure", lambda *a: 1e3 * a[1])
    monkeypatch.setattr(tradeoffs, "WIDE", 8)
    monkeypatch.setattr(reach, "reaches", lambda T: {"a": 3, "b": None})
    report = tradeoffs.run(LabConfig(lengths="5,20", steps=2, quick=True), tmp_path, Silent())
    written(report, tmp_path)
    verdicts = {row[0]: row[2] for row in report.tables[0].rows}
    assert len(verdicts) == 6
    assert verdicts["Step t can (in theory) use information from many steps back"] == "true"
    assert verdicts["Same weights at every step: symmetry"] == "true"
    assert verdicts["Difficult to access information from many steps back"] == "true with conditions"
    assert "1.0 kB a step" in report.verdicts[0]


def test_the_gradient_of_a_chrono_lstm_reaches_further_than_a_vanilla_one() -> None:
    found = reach.reaches(120, H=16)
    assert found["LSTM, chrono"] is None
    vanilla, lstm = found["vanilla tanh, torch's start"], found["LSTM, forget bias 1"]
    assert vanilla is not None
    assert lstm is not None
    assert vanilla < lstm


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    files: list[list[bytes]] = []
    for _ in range(2):
        made, (left, _right) = drawing.figure(2)
        left.plot([1, 2], [3, 4], label="line")
        drawing.label(left, "title", "x", "y")
        report = Report("x", "set so", [], [Picture("x", made, "caption")], ["said"], {"nan": math.nan})
        files += [[p.read_bytes() for p in report.write(tmp_path)] for _ in range(2)]
    assert files[0] == files[1] == files[2] == files[3]
    assert json.loads(files[0][0])["numbers"] == {"nan": None}


def test_a_table_reads_the_same_in_both_forms() -> None:
    table = Table("numbers", ("a", "b"), [("1", "x | y")], "So.")
    assert table.plain() == "numbers\n  a  b\n  1  x | y\nSo."
    assert table.markdown().splitlines() == ["**numbers**", "", "| a | b |", "|---|---|", "| 1 | x \\| y |", "", "So."]
    shown = {number(v) for v in (math.inf, math.nan, None)}
    assert shown == {"-"}
    assert [number(v) for v in (0.0, 0.1666, 1234.5, 1.2e-5)] == ["0", "0.167", "1,234", "1.2e-05"]
