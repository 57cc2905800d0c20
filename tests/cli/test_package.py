"""``import unrolled`` is lazy, and gives what it promises."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, unrolled; dir(unrolled); unrolled.__version__; assert not {'torch', 'numpy'} & set(sys.modules)"
    source = str(Path(unrolled.__file__).parents[1])
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"], check=True)


@pytest.mark.parametrize("name", sorted(unrolled._MODULE))
def test_every_name_is_the_one_of_its_module(name: str) -> None:
    assert getattr(unrolled, name) is getattr(importlib.import_module(unrolled._MODULE[name]), name)
    assert name in unrolled.__dict__  # the second use costs nothing


def test_names_agree_for_people_tools_and_type_checkers() -> None:
    assert set(unrolled._MODULE) | {"UserError", "__version__"} == set(unrolled.__all__)
    assert set(unrolled.__all__) <= set(dir(unrolled))
    for node in ast.walk(ast.parse(Path(unrolled.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.If):
            imported = {alias.name for part in node.body if isinstance(part, ast.ImportFrom) for alias in part.names}
            assert imported == set(unrolled._MODULE)
            break


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lstm'"):
        unrolled.lstm  # noqa: B018
    assert unrolled.__version__.count(".") >= 1
