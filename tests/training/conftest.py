from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.char_task import Runner


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Runs trainings, each in its own folder by name."""
    return Runner(tmp_path)
