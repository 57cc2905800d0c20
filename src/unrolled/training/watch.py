"""Watchers: what sees a run while it goes, and the picture of it at the end."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Protocol

from unrolled.bundle.files import disk_errors, replace_file
from unrolled.bundle.metrics import MetricsLog
from unrolled.training.records import Result

LN2 = math.log(2.0)


class Watcher(Protocol):
    """Called by the training loop, with the random streams kept apart: a watcher may draw what it likes.

    The time a watcher takes counts as training time.
    """

    def on_start(self, info: dict[str, Any]) -> None:
        """``info``: run, step, total (None until a budget in minutes is fixed), minutes, describe, resumed."""

    def on_step(self, record: dict[str, Any]) -> None:
        """A line of ``metrics.jsonl`` about the updates since the last one, with ``total`` added."""

    def on_evaluation(self, record: dict[str, Any]) -> None:
        """``dev_loss`` and the like; the last one has ``final`` and ``test_loss``."""

    def on_sample(self, text: str, record: dict[str, Any]) -> None:
        """A live sample; ``record`` has step and units."""

    def on_message(self, text: str) -> None:
        """One line for the user."""

    def on_checkpoint(self, step: int) -> None:
        """A checkpoint is whole on disk."""

    def on_end(self, result: Result | None) -> None:
        """The run is over; None where an error ended it."""


class Silent:
    """A watcher that does nothing; inherit and fill in what is wanted."""

    def on_start(self, info: dict[str, Any]) -> None:
        """Nothing."""

    def on_step(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def on_evaluation(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def on_sample(self, text: str, record: dict[str, Any]) -> None:
        """Nothing."""

    def on_message(self, text: str) -> None:
        """Nothing."""

    def on_checkpoint(self, step: int) -> None:
        """Nothing."""

    def on_end(self, result: Result | None) -> None:
        """Nothing."""


class TensorBoardWatcher(Silent):
    """Event files for TensorBoard, one scalar for each number of a record, and the live samples as text.

    tensorboard's own writer is used: ``torch.utils.tensorboard`` writes the same files but takes longer to import.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def on_start(self, info: dict[str, Any]) -> None:
        """Open the event file. Raises UserError where the folder is not writable."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventFileWriter(str(self.folder))
        if info["resumed"]:  # hides what an earlier part wrote past the checkpoint
            log = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=info["step"] + 1, session_log=log))

    def on_step(self, record: dict[str, Any]) -> None:
        """Scalars under ``train/``."""
        self._scalars("train", record)

    def on_evaluation(self, record: dict[str, Any]) -> None:
        """Scalars under ``dev/`` and ``test/``."""
        for part in ("dev", "test"):
            fields = {k[len(part) + 1 :]: v for k, v in record.items() if k.startswith(part + "_")}
            self._scalars(part, fields | {"step": record["step"]})

    def _scalars(self, group: str, record: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        skipped = ("step", "total")
        values = [
            Summary.Value(tag=f"{group}/{name}", simple_value=value)
            for name, value in record.items()
            if name not in skipped and isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        if values and self._writer is not None:
            event = Event(wall_time=time.time(), step=record["step"], summary=Summary(value=values))
            self._writer.add_event(event)

    def on_sample(self, text: str, record: dict[str, Any]) -> None:
        """The sample under ``sample``, as preformatted text."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # type: ignore[import-untyped]

        if self._writer is None:
            return
        block = "\n".join("    " + line for line in text.splitlines())  # Markdown's preformatted block
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[block.encode()], tensor_shape=shape)
        data = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag="sample", metadata=data, tensor=tensor)
        self._writer.add_event(Event(wall_time=time.time(), step=record["step"], summary=Summary(value=[value])))

    def on_end(self, result: Result | None) -> None:
        """Write out and close."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class LossPicture(Silent):
    """Draws ``loss.png`` from ``metrics.jsonl`` when the run ends.

    Args:
        run: the run's folder.
        baseline: a name and nats per unit for a dashed line.
    """

    def __init__(self, run: Path, baseline: tuple[str, float] | None = None) -> None:
        self.run, self.baseline = run, baseline

    def on_end(self, result: Result | None) -> None:
        """Draw, where there is anything to draw."""
        if result is not None:
            plot_losses(self.run / "metrics.jsonl", self.run / "loss.png", self.baseline)


def plot_losses(metrics: Path, picture: Path, baseline: tuple[str, float] | None = None) -> bool:
    """Draw the losses of a run over its updates: nats per unit on the left, bits per unit on the right.

    Args:
        metrics: a ``metrics.jsonl``.
        picture: the PNG to write (replaced as a whole).
        baseline: a name and nats per unit for a dashed line.

    Returns:
        False where there are no losses yet and nothing was drawn.

    Raises:
        UserError: the folder is not writable.
    """
    records = [r for r in MetricsLog(metrics).records() if "final" not in r]
    final = [r for r in MetricsLog(metrics).records() if r.get("final")]
    train = [(r["step"], r["loss_smoothed"]) for r in records if r.get("loss_smoothed") is not None]
    dev = [(r["step"], r["dev_loss"]) for r in [*records, *final] if r.get("dev_loss") is not None]
    if not train and not dev:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if train:
        axes.plot(*zip(*train, strict=True), color="tab:blue", lw=1.2, label=f"training, smoothed: {train[-1][1]:.3f}")
    if dev:
        axes.plot(*zip(*dev, strict=True), color="tab:orange", marker="o", ms=3, label=f"dev: {dev[-1][1]:.3f}")
    if final and final[-1].get("test_loss") is not None:
        axes.axhline(final[-1]["test_loss"], color="tab:red", lw=1.2, label=f"test: {final[-1]['test_loss']:.3f}")
    if baseline is not None:  # its name without the caps: a legend as wide as the picture leaves no room for axes
        axes.axhline(baseline[1], color="0.4", ls="--", lw=1.2, label=f"{baseline[0].split(',')[0]}: {baseline[1]:.3f}")
    axes.set(xlabel="updates", ylabel="loss, nats per unit")
    bits: Any = (lambda nats: nats / LN2, lambda bits: bits * LN2)
    axes.secondary_yaxis("right", functions=bits).set_ylabel("loss, bits per unit")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    replace_file(picture, lambda file: figure.savefig(file, format="png", dpi=120))
    return True
