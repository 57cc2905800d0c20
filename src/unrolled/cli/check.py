"""``unrolled check``: a learner's cell, forward and backward, and the first thing in it that is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.check import Outcome

_CELLS = ("rnn", "lstm", "gru")


def check(
    file: Annotated[str | None, typer.Argument(help="your Python file", metavar="[FILE]")] = None,
    cell: Annotated[str | None, typer.Option("--cell", help="rnn, lstm or gru (default: CELL in the file)")] = None,
    blank: Annotated[
        str | None, typer.Option("--blank", help="write a file to fill in, for rnn, lstm or gru", metavar="CELL")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="where --blank writes (default: my_CELL.py)")] = None,
    torch: Annotated[
        bool | None,
        typer.Option("--torch/--numpy", help="tensors or arrays (default: tensors where the file imports torch)"),
    ] = None,
) -> None:
    """Test a cell that you wrote, forward and backward, against finite differences and the cell of this package.

    It names the first result that is wrong, by how much, and the mistake behind it where it is one that people make.
    The file is imported, so it runs. The exit code is 0 if all is right, 1 if something is wrong. unrolled check
    --blank lstm writes a file to fill in.
    """
    for flag, name in (("--cell", cell), ("--blank", blank)):
        if name is not None and name not in _CELLS:
            raise UserError(f"{flag} {name}: not one of {', '.join(_CELLS)}")
    if blank is not None:
        if file is not None or cell is not None:
            raise UserError(f"--blank {blank} writes a new file; it goes with --out and --torch alone")
        _write(Path(out or f"my_{blank}.py"), blank, bool(torch))
        return
    if out is not None:
        raise UserError(f"--out {out}: says where --blank writes; give --blank CELL too")
    if file is None:
        raise UserError("which file? unrolled check my_lstm.py, or unrolled check --blank lstm to begin")
    from unrolled.check import examine

    outcome = examine(file, cell=cell, torch=torch)
    print(tell(file, outcome))
    if not outcome.right:
        raise typer.Exit(1)


def _write(path: Path, cell: str, torch: bool) -> None:
    from unrolled.check.blank import blank

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(blank(cell, torch))
    except FileExistsError:
        raise UserError(f"{path} is there already and stays as it is; --out names another file") from None
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror}); --out names another file") from None
    print(f"wrote {path}; fill it in, then: unrolled check {shlex.quote(str(path))}")


def tell(file: str, outcome: Outcome) -> str:
    """The outcome, for people."""
    lines = [f"{file}: {outcome.cell}, {outcome.arrays}"] if outcome.cell else [file]
    if outcome.findings:
        width = max(len(f.name) for f in outcome.findings)
        lines += ["", f"  {'':<18} {'':<{width}}         error     by finite differences"]
    said = ""
    for f in outcome.findings:
        by = "" if f.by_differences is None else f"{f.by_differences:10.1e}"
        mark = "ok   " if f.right else "WRONG"
        lines.append(
            f"  {f.function if f.function != said else '':<18} {f.name:<{width}}  {mark}  {f.error:.1e}  {by}".rstrip()
        )
        said = f.function
    if outcome.findings:
        lines.append("")
    return "\n".join(lines + _verdict(outcome))


def _verdict(outcome: Outcome) -> list[str]:
    wrong = outcome.first_wrong
    if wrong is not None:
        lines = [f"{wrong.function}: {wrong.name} is wrong, by {100 * wrong.error:.3g} %."]
        if len(outcome.causes) == 1:
            lines.append(f"Cause: {outcome.causes[0]}.")
        elif outcome.causes:
            lines.append("Causes, two at once:")
            lines += [f"  {c}." for c in outcome.causes]
        else:
            lines.append("No mistake known here gives just these numbers.")
        return lines + [f"  {line}" for line in outcome.details]
    if outcome.trouble is not None:
        return [outcome.trouble]
    rest = f" ({' and '.join(outcome.left_out)}: not there yet)" if outcome.left_out else ""
    return [f"All right{rest}."]
