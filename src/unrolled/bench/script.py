"""The scripts in ``benchmarks/``: a case, its settings from the command line, a table, one JSON line."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from unrolled.bench.cases import run
from unrolled.bench.config import BenchConfig
from unrolled.errors import UserError
from unrolled.settings import field_type, flag_name


def main(names: Sequence[str], description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Run the cases and end the process: 0; 1 where a result was wrong; 2 for wrong usage."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(BenchConfig):
        kind, _ = field_type(BenchConfig, field.name)
        parser.add_argument(flag_name(field), dest=field.name, type=kind, default=field.default,
                            help=field.metadata["help"].replace("%", "%%"))  # fmt: skip
    try:
        code = run(names, BenchConfig(**vars(parser.parse_args(arguments))))
    except UserError as error:
        print(error, file=sys.stderr)
        code = 2
    sys.exit(code)
