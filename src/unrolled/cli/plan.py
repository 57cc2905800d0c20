"""``unrolled train --dry-run``: what would be read, built and spent."""

from __future__ import annotations

from typing import Any

from unrolled.cli.console import duration
from unrolled.tasks.registry import TaskKind
from unrolled.training.config import TrainConfig


def tell_plan(task: Any, kind: TaskKind, config: TrainConfig) -> None:
    """Print sizes, and an estimate of the time from a few updates of a model that is thrown away.

    Args:
        task: an opened task.
    """
    from unrolled.tasks.language.sizes import readable
    from unrolled.training.estimate import seconds_per_update
    from unrolled.training.machine import memory_errors

    told = len(task.notes)
    with memory_errors():
        task.build()
    described = task.describe()
    for note in task.notes[told:]:
        print(f"  {note}")
    updates_a_pass, side_by_side = described["steps_per_epoch"], "streams" if kind.name == "language" else "examples"
    print(f"units per pass    {described['units_per_epoch']:,} in {updates_a_pass:,} updates of {described['batch']} "
          + side_by_side)  # fmt: skip
    print(f"parameters        {described['parameters']:,}")
    if described.get("memory"):
        print(
            f"memory            about {readable(described['memory']['total'])} for weights, optimiser and activations"
        )
    each = seconds_per_update(task, config)
    if config.minutes is not None:
        updates, seconds = int(60 * config.minutes / each), 60 * config.minutes
    else:
        updates = config.steps or max(1, round((config.epochs or 1.0) * updates_a_pass))
        seconds = updates * each
    print(f"estimated         {duration(seconds)} for {updates:,} updates of {1000 * each:.1f} ms, "
          f"{updates / updates_a_pass:.1f} passes")  # fmt: skip
