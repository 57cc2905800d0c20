"""The whole examination: facts, then every kernel, whole updates, every activation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from unrolled.doctor import activations, selftest, updates
from unrolled.doctor.activations import Accuracy
from unrolled.doctor.selftest import Finding
from unrolled.engines.select import native_missing


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One line of the examination."""

    what: str
    result: str
    limit: str
    passed: bool
    note: str


def examine() -> Iterator[Verdict]:
    """torch's kernels, and where it is there the compiled core's, its whole updates and its activations."""
    for finding in selftest.torch_kernels():
        yield _of_kernel(finding)
    if native_missing() is not None:
        return
    for finding in selftest.kernels():
        yield _of_kernel(finding)
    for finding in updates.whole_updates():
        yield _of_kernel(finding)
    for accuracy in activations.measure():
        yield _of_activation(accuracy)


def _of_kernel(found: Finding) -> Verdict:
    return Verdict(
        f"{found.engine}: {found.cell} {found.dtype}", f"{found.distance:.1e}", f"{found.limit:.0e}", found.passed,
        f"{found.tests} tests, the worst: {found.where}",
    )  # fmt: skip


def _of_activation(found: Accuracy) -> Verdict:
    told = "no wider type here" if found.ulp is None else f"{found.ulp:.2f} ulp"
    note = found.wrong or ("" if found.ulp is None else f"at {found.at:.6g}")
    return Verdict(
        f"{found.engine}: {found.activation} {found.dtype}", told, f"{found.limit:g} ulp", found.passed, note
    )
