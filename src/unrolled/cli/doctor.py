"""``unrolled doctor``: what runs on this machine, and whether it computes what it should."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unrolled.doctor.examination import Verdict

NO_CORE = (
    "no compiled core here: the layers run on torch's kernels (aten) and on the reference engine, slower and right"
)

ADVICE = (
    "Do not train with these kernels: UNROLLED_ISA picks other instructions, engine='reference' always works. "
    "Please report it, with what unrolled doctor --json prints."
)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
    threads: Annotated[int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)] = None,
) -> None:
    """Say what runs here (instructions, threads, torch, engines), and test every kernel against the reference engine.

    The exit code is 1 if a kernel computes something wrong on this machine. Without the compiled core torch's kernels
    are tested alone.
    """
    import torch

    from unrolled.doctor.examination import examine
    from unrolled.doctor.facts import gather

    if threads is not None:
        torch.set_num_threads(threads)
    facts = gather()
    if as_json:
        verdicts = list(examine())
        tests = [dataclasses.asdict(v) for v in verdicts]
        print(json.dumps({"facts": facts, "tests": tests, "passed": all(v.passed for v in verdicts)}))
    else:
        _tell_facts(facts)
        verdicts = _tell(examine())
        wrong = [v for v in verdicts if not v.passed]
        if facts["engines"]["native"] != "yes":
            print(f"\n{NO_CORE}")
        print(f"\n{len(verdicts) - len(wrong)} of {len(verdicts)} passed")
        for v in wrong:
            print(f"FAILED  {v.what}: {v.result}, allowed {v.limit} ({v.note})")
        if wrong:
            print(ADVICE)
    if not all(v.passed for v in verdicts):
        raise typer.Exit(1)


def _tell_facts(facts: dict[str, dict[str, str]]) -> None:
    width = max(len(name) for section in facts.values() for name in section)
    for title, section in facts.items():
        print(title)
        for name, value in section.items():
            print(f"  {name:<{width}}  {value}")


def _tell(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """A table where a person watches, a line each where none does; both as they come."""
    if not sys.stdout.isatty():
        shown = []
        print("tests (largest difference from the reference, as a share of the largest element)")
        for v in verdicts:
            shown.append(v)
            print(f"  {'ok    ' if v.passed else 'FAILED'}  {v.what:<44} {v.result:>10}  of {v.limit:<6}  {v.note}",
                  flush=True)  # fmt: skip
        return shown
    from rich.console import Console
    from rich.live import Live
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "kernel", "difference", "allowed", "", title="tests against the reference engine",
                  title_justify="left")  # fmt: skip
    shown = []
    with Live(table, console=Console(), refresh_per_second=8, vertical_overflow="visible"):
        for v in verdicts:
            shown.append(v)
            mark = "[green]ok[/]" if v.passed else "[bold red]FAILED[/]"
            table.add_row(mark, escape(v.what), v.result, v.limit, escape(v.note))
    return shown
