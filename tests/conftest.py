"""What every test stands on: one thread, a fixed seed, a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unrolled.cli.main import main


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(int(os.environ.get("UNROLLED_TEST_THREADS", "1")))
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``cli("train", path, "--steps", 3)``: the command line's exit code and what it wrote to stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run
