"""unrolled check: right solutions pass, wrong ones are recognised by name, and every accident is told in one line."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.check.solutions import EDITS, RNN, SOLUTIONS, in_torch
from unrolled.check import CELLS, Outcome, blank, examine
from unrolled.check import slips_sequence as ours
from unrolled.check.diagnose import causes, relative
from unrolled.check.learner import Learner, Trouble
from unrolled.check.slips import Slips
from unrolled.check.truth import Truth, differences, draw
from unrolled.cli.check import tell
from unrolled.cli.main import main
from unrolled.errors import UserError


def outcome(folder: Path, source: str, **options: object) -> Outcome:
    path = folder / "my_cell.py"
    path.write_text(source, encoding="utf-8")
    return examine(path, **options)  # type: ignore[arg-type]


def edited(cell: str, old: str, new: str) -> str:
    assert old in SOLUTIONS[cell]
    return SOLUTIONS[cell].replace(old, new, 1)


@pytest.mark.parametrize("cell", SOLUTIONS)
@pytest.mark.parametrize("torch", [False, True], ids=["numpy", "torch"])
def test_right_solutions_pass(tmp_path: Path, cell: str, torch: bool) -> None:
    got = outcome(tmp_path, in_torch(SOLUTIONS[cell]) if torch else SOLUTIONS[cell])
    assert got.right, tell("my_cell.py", got)
    assert (got.cell, got.arrays) == (cell, "torch" if torch else "NumPy")
    assert {f.function for f in got.findings} == {"forward", "backward", "forward_sequence", "backward_sequence"}
    assert not got.left_out
    gradients = [f for f in got.findings if f.function.startswith("backward")]
    assert all(f.by_differences is not None and f.by_differences < 1e-7 for f in gradients)


@pytest.mark.parametrize(("cell", "edit"), [(c, e) for c, edits in EDITS.items() for e in edits])
def test_wrong_solutions_are_recognised_by_name(tmp_path: Path, cell: str, edit: tuple[str, str, str]) -> None:
    old, new, phrase = edit
    got = outcome(tmp_path, edited(cell, old, new))
    assert not got.right
    assert got.first_wrong is not None
    assert got.first_wrong.error > 1e-3
    if new == "range(len(dhs))":  # dxs is then in another order as well: two mistakes at once
        assert any("the loop runs forward in time" in c for c in got.causes), got.causes
        return
    assert len(got.causes) == 1, got.causes
    assert phrase in got.causes[0]


def test_two_mistakes_at_once_are_both_named(tmp_path: Path) -> None:
    source = edited("lstm", "dc_prev = dc * f", "dc_prev = dc").replace("df = dc * c_prev", "df = dc * c")
    got = outcome(tmp_path, source)
    assert len(got.causes) == 2
    assert "f missing" in got.causes[0]
    assert "c where df" in got.causes[1]


def test_an_unknown_mistake_still_has_its_term_gate_and_size(tmp_path: Path) -> None:
    got = outcome(tmp_path, edited("lstm", "d.T @ x, d.T", "d.T @ x * np.r_[[1.]*10, [1.7]*5, [1.]*5][:, None], d.T"))
    assert got.causes == []
    assert got.first_wrong is not None
    assert got.first_wrong.name == "dW_xh"
    assert "only the block of g differs" in "\n".join(got.details)
    assert "largest difference at [1" in "\n".join(got.details)  # rows 10 to 14


def test_a_factor_is_told(tmp_path: Path) -> None:
    got = outcome(tmp_path, edited("rnn", "dW_xh = dhraw.T @ x", "dW_xh = -2 * dhraw.T @ x"))
    assert "it is -2 times what is right" in got.details


def test_backward_that_fits_a_wrong_forward_is_said_to(tmp_path: Path) -> None:
    source = edited("rnn", "np.tanh(x @ W_xh.T + h_prev @ W_hh.T + b)", "x @ W_xh.T + h_prev @ W_hh.T + b")
    got = outcome(tmp_path, source.replace("(1 - h * h) * dh", "dh"))
    assert got.first_wrong is not None
    assert got.first_wrong.function == "forward"
    assert "backward is the right gradient of this forward (finite differences)" in got.details


ACCIDENTS = [
    ("def backward", "def backwards", "no function backward(dh, cache); unrolled check --blank rnn"),
    ("def forward(", "def forwards(", "no function forward(x, h_prev, W_xh, W_hh, b)"),
    ("dx = dhraw @ W_xh", "dx = dhraw @ W_xh.T", "backward raises ValueError: matmul"),
    ("dx = dhraw @ W_xh", "dx = dhraw @ W_xh.T", "(line 12: dx = dhraw @ W_xh.T)"),
    ("db = dhraw.sum(0)", "db = dhraw", "db has shape (3, 5), expected (5,): db (H,); the sum over the first axis"),
    ("dW_xh = dhraw.T @ x", "dW_xh = x.T @ dhraw", "expected (5, 4): dW_xh (H, I); it is transposed"),
    ("return h, (x, h_prev, W_xh, W_hh, h)", "return h", "returns one ndarray, where it returns 2 values: h, cache"),
    ("dW_hh, db\n", "dW_hh\n", "backward returns 4 values, where it returns 5 values: dx, dh_prev, dW_xh, dW_hh, db"),
    ("return h, (x", "return None, (x", "forward: h is None, not an array of numbers"),
    ("dx = dhraw @ W_xh", "dx = dhraw @ W_xh / (0 * dhraw[:, :4])", "backward: dx holds 12 of 12 values that are NaN"),
    ("    h = np.tanh", "    W_hh *= 1.1\n    h = np.tanh", "forward changes its argument W_hh in place"),
    ("    dhraw =", "    dh[:] = 0\n    dhraw =", "backward changes its argument dh in place"),
    ("    dhraw =", "    h *= 0.5\n    dhraw =", "it writes into its cache"),
    ("    h = np.tanh(", "    h = np.random.rand() + np.tanh(", "forward gives another h when it is called again"),
    ("    h = np.tanh(", "    h = np.tanh((", "not Python: "),
    ("CELL = \"rnn\"", "import nothing_of_this_name", "the file itself raises ModuleNotFoundError: No module named"),
    ("CELL = \"rnn\"", "exit(3)", "the file itself raises SystemExit: 3"),
    ("    dx = dhraw", "    while True:\n        pass\n    dx = dhraw", "backward was still running after 0.5 seconds"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), ACCIDENTS)
def test_accidents_are_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    with np.errstate(all="ignore"):
        got = outcome(tmp_path, edited("rnn", old, new), seconds=0.5)
    text = tell("my_cell.py", got)
    assert said in (text if got.trouble is None else got.trouble), text
    assert "Traceback" not in text
    assert got.trouble is None or "\n" not in got.trouble


def test_float32_is_measured_by_its_own_precision(tmp_path: Path) -> None:
    source = edited("rnn", "    h = np.tanh(", "    x, h_prev = x.astype('f4'), h_prev.astype('f4')\n    h = np.tanh(")
    source = source.replace("W_hh.T + b)", "W_hh.T + b).astype('f4')")
    assert outcome(tmp_path, source).right
    got = outcome(tmp_path, source.replace("(1 - h * h) * dh", "dh"))
    assert "1 − h² missing" in got.causes[0]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("torch", [False, True], ids=["numpy", "torch"])
def test_a_blank_file_is_python_and_asks_to_be_filled_in(tmp_path: Path, cell: str, torch: bool) -> None:
    got = outcome(tmp_path, blank(cell, torch))
    assert got.cell == cell
    assert got.arrays == ("torch" if torch else "NumPy")
    assert got.trouble is not None
    assert got.trouble.startswith("forward is still to be written (line ")


def test_a_blank_sequence_does_not_spoil_a_right_step(tmp_path: Path) -> None:
    step = RNN[: RNN.index("def forward_sequence")]
    rest = blank("rnn")
    got = outcome(tmp_path, step + rest[rest.index("def forward_sequence") :])
    assert got.right
    assert got.left_out == ["forward_sequence", "backward_sequence"]


def test_the_cell_is_known_from_the_arguments_or_asked_for(tmp_path: Path) -> None:
    for cell, source in SOLUTIONS.items():
        assert outcome(tmp_path, source.replace("CELL", "OTHER")).cell == cell
    with pytest.raises(UserError, match="which cell is it"):
        outcome(tmp_path, "def forward(a, b): return a")
    with pytest.raises(UserError, match="'elman': not one of rnn, lstm, gru"):
        outcome(tmp_path, 'CELL = "elman"')


# -- the instrument itself --------------------------------------------------------------------------------------------


def both(cell: str) -> list[tuple[str, Truth, tuple[np.ndarray, ...]]]:
    face = CELLS[cell]
    drawn = [(n, draw(face, n)) for n in ("forward", "forward_sequence")]
    return [(n, Truth(face, a), a) for n, a in drawn]


@pytest.mark.parametrize("cell", CELLS)
def test_without_slips_the_numpy_twin_is_the_cell_and_the_cell_is_its_differences(cell: str) -> None:
    face = CELLS[cell]
    for name, truth, arguments in both(cell):
        sequence = name == "forward_sequence"
        run = ours.forward_sequence if sequence else ours.forward
        results, cache = run(face, Slips(), arguments)
        for a, b in zip(results, truth.forward(), strict=True):
            assert relative(a, b) < 1e-14
        given = draw(face, name.replace("forward", "backward"))
        right = truth.backward(given)
        back = (
            ours.backward_sequence(face, Slips(), given[0], cache)
            if sequence
            else ours.backward(face, Slips(), given, cache)
        )
        numeric = differences(lambda a, run=run: run(face, Slips(), a)[0], arguments, given)
        for a, b, c in zip(back, right, numeric, strict=True):
            assert relative(a, b) < 1e-13
            assert relative(c, b) < 1e-8


@pytest.mark.parametrize("cell", CELLS)
def test_every_slip_of_one_step_changes_something_and_is_told_from_every_other(cell: str) -> None:
    face = CELLS[cell]
    _, truth, arguments = both(cell)[0]
    given = draw(face, "backward")
    cache = ours.forward(face, Slips(), arguments)[1]
    for run, right in (
        (lambda s: ours.forward(face, s, arguments)[0], truth.forward()),
        (lambda s: ours.backward(face, s, given, cache), truth.backward(given)),
    ):
        seen = Slips()
        run(seen)
        results = {p: run(Slips([p])) for p in seen.seen}
        for p, r in results.items():
            assert max(map(relative, r, right)) > 1e-3, p
        for (p, a), (q, b) in itertools.combinations(results.items(), 2):
            assert max(map(relative, a, b)) > 1e-3, (p, q)
        for p, r in results.items():
            assert causes(run, r, right) == [p]


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--blank", "lstm"]) == 0
    assert "wrote my_lstm.py; fill it in, then: unrolled check my_lstm.py" in capsys.readouterr().out
    assert main(["check", "--blank", "lstm"]) == 2
    assert "my_lstm.py is there already and stays as it is" in capsys.readouterr().err
    assert main(["check", "--blank", "gru", "--torch", "--out", "g.py"]) == 0
    assert "import torch" in (tmp_path / "g.py").read_text(encoding="utf-8")
    assert main(["check", "my_lstm.py"]) == 1
    assert "forward is still to be written (line 34: raise NotImplementedError)" in capsys.readouterr().out
    (tmp_path / "mine.py").write_text(edited("rnn", "dh = dhs[t] + dh_next", "dh = dhs[t]"), encoding="utf-8")
    assert main(["check", "mine.py"]) == 1
    said = capsys.readouterr().out
    assert "Cause: dh_next not added: dh = dhs[t] + dh_next." in said
    assert "backward_sequence: dxs is wrong, by" in said
    (tmp_path / "mine.py").write_text(RNN, encoding="utf-8")
    assert main(["check", "mine.py"]) == 0
    assert capsys.readouterr().out.endswith("All right.\n")
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.py"], "nowhere.py: no such file; unrolled check --blank lstm --out nowhere.py writes one"),
        ([], "which file?"),
        (["--blank", "elman"], "--blank elman: not one of rnn, lstm, gru"),
        (["--cell", "elman", "x.py"], "--cell elman: not one of rnn, lstm, gru"),
        (["x.py", "--out", "y.py"], "--out y.py: says where --blank writes"),
        (["x.py", "--blank", "rnn"], "--blank rnn writes a new file"),
        (["--blank", "rnn", "--out", "no/such/folder.py"], "no/such/folder.py: cannot be written"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_my_cell.py").write_text("import numpy as np\nphi = np.tanh\n", encoding="utf-8")
    got = outcome(tmp_path, "from beside_my_cell import phi\n" + RNN.replace("np.tanh(", "phi("))
    assert got.right
    with pytest.raises(Trouble, match="raises"):
        Learner(tmp_path / "my_cell.py", None, False)._guard("it", lambda: 1 / 0)


def test_the_page_shows_what_is_said(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    source = page.split("```python\n")[1].split("```")[0]
    shown = page.split("$ unrolled check my_rnn.py\n")[1].split("```")[0]
    said = tell("my_rnn.py", outcome(tmp_path, source))
    assert said.splitlines()[-3:] == shown.splitlines()[-3:]
    rows = [line.split()[:-2] for line in said.splitlines()[4:-4]]  # but for figures in the last digit
    assert rows == [line.split()[:-2] for line in shown.splitlines()[4:-4]]
