"""The command ``unrolled``: finds the verb, loads that one alone, and turns every user's error into one line.

A verb is a function of its own name in ``unrolled/cli/VERB.py``; what it is for stands here too, so that
``unrolled --help`` need not import it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import io
import os
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

import unrolled
from unrolled.errors import UserError

VERBS = {
    "train": "Train a model: on a text, or on the data of another task.",
    "sample": "Write text with a trained model.",
    "score": "Say how probable a text is to a trained model.",
    "evaluate": "Measure a trained model on what was held out, or on other data.",
    "predict": "Answer with a trained model: a class, tags, a sequence, a number.",
    "inspect": "Look into a network: how far its gradient and its memory reach, what its units follow.",
    "lab": "Rerun the lecture's claims as experiments.",
    "check": "Test a cell that you wrote, forward and backward, and name what is wrong.",
    "runs": "List the runs of this folder.",
    "bench": "Measure speed and memory against other ways to do the same.",
    "doctor": "Say what runs here, and test every kernel on this machine.",
}


class _EscapedError(BaseException):
    """Carries what a verb raised past typer, which has answers of its own to Ctrl-C, closed pipes and ends of files."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; default ``sys.argv[1:]``.
    Returns:
        The exit code: 0; 2 for an error the user can mend (one line on stderr); 130 after Ctrl-C; 141 when the reader
        of our output has gone. Any other exception passes: it is a bug, and shows its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for name in ("stdout", "stderr"):  # None where it was closed (>&-)
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())
    for stream in (sys.stdout, sys.stderr):  # a text may hold what the terminal's encoding cannot say
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(given)
        sys.stdout.flush()  # here, where a closed pipe can still be answered, not at the interpreter's end
        return code
    except UserError as e:
        return _complain(str(e))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _drop_output(141)
    except OSError as e:
        if e.errno != errno.ENOSPC or e.filename is not None:
            raise
        return _drop_output(_complain("standard output: the disk is full; free some space, or write elsewhere"))


def _run(arguments: list[str]) -> int:
    verb = next((a for a in arguments if not a.startswith("-")), None)
    command = typer.main.get_command(build(verb, arguments[arguments.index(verb) + 1 :] if verb else ()))
    try:
        code = command.main(args=arguments, prog_name="unrolled", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _EscapedError as e:
        escaped = e.error
    except typer.Abort:
        return 130
    except typer.Exit as e:
        return e.exit_code
    except _usage_error() as e:
        message = e.format_message().rstrip(".").replace("Value error, ", "")
        return _complain(f"{message}; see unrolled{_page(verb, arguments)} --help")
    raise escaped  # out here, so that a traceback does not tell of our detour


def _page(verb: str | None, arguments: list[str]) -> str:
    """What to put before --help: a task's flags stand on a page of their own."""
    if verb not in VERBS:
        return ""
    from unrolled.cli.tasks import value_of

    task = value_of(arguments, "--task") if verb == "train" else None
    return f" {verb}" if task is None else f" {verb} --task {task}"


def _usage_error() -> Any:
    """The base of what typer raises for wrong usage: click's, or in later versions typer's own copy of it."""
    return next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def _complain(message: str) -> int:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"unrolled: {line}", file=sys.stderr)
    return 2


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")


def _drop_output(code: int) -> int:
    # Python flushes stdout once more when it ends; let that go nowhere.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def build(verb: str | None = None, arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with every verb named, and ``verb`` loaded, whose flags may hang on its ``arguments``.

    The others are names with a line of help: loading one may import a library that takes seconds.
    """
    app = typer.Typer(
        name="unrolled",
        help="Recurrent networks on PyTorch: train, sample, score and predict from one command.",
        epilog="unrolled VERB --help tells a verb's flags. unrolled train FILE is the place to start.",
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for name, line in VERBS.items():
        function = _guarded(load(name, arguments)) if name == verb else _stub
        app.command(name, help=None if name == verb else line, short_help=line)(function)
    return app


def load(verb: str, arguments: Sequence[str] = ()) -> Callable[..., None]:
    """The function of a verb, from ``unrolled/cli/VERB.py``; where its flags are those of the task at hand, that module
    has a ``for_arguments`` which gives it."""
    module = importlib.import_module(f"unrolled.cli.{verb}")
    choose: Callable[[Sequence[str]], Callable[..., None]] | None = getattr(module, "for_arguments", None)
    function: Callable[..., None] = getattr(module, verb) if choose is None else choose(arguments)
    return function


def _stub() -> None:
    raise AssertionError("a verb that was not loaded")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"unrolled {unrolled.__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The verb, with everything it raises wrapped so that typer lets it through."""

    def run(**arguments: Any) -> None:
        try:
            function(**arguments)
        except (typer.Exit, typer.Abort, _usage_error()):
            raise
        except BaseException as e:
            raise _EscapedError(e) from None

    # typer reads a signature and takes its annotations as they are, so they must not be strings any more.
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = [p.replace(annotation=hints[p.name]) for p in inspect.signature(function).parameters.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    run.__doc__, run.__name__ = function.__doc__, function.__name__
    return run


if __name__ == "__main__":
    sys.exit(main())
