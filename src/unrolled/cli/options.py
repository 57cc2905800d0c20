"""A verb's flags from the configuration dataclasses that the library takes.

::

    @options(SampleConfig)
    def sample(given: Given, run: Annotated[str, typer.Argument(help="model folder")] = "@latest") -> None:
        '''Write text with a trained model.'''
        config = given.build(SampleConfig)

Every generated flag is None when it was not given, so that a preset's or a saved value can stand below an explicit one.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import typer

from unrolled.decoding.config import WEIGHTS
from unrolled.errors import UserError
from unrolled.settings import field_type, flag_name, from_dict

C = TypeVar("C")

ONE_OF = (("minutes", "epochs", "steps"),)  # settings of which an explicit one removes the others below it
GOES_WITH = {
    "tied": ("embedding",),
    "input": ("embedding", "tied"),
    "cell": ("forget_bias", "init"),
    "optimiser": ("weight_decay", "momentum"),
}
"""An explicit setting removes these below it: what a preset chose for its own cell is no reason to refuse another."""

Weights = typing.Annotated[
    str | None,
    typer.Option("--weights", help=f"keep the weights as {', '.join(WEIGHTS)}: fewer bits are faster, and what they "
                 "cost is printed (default: as trained)"),
]  # fmt: skip


def check_weights(weights: str | None) -> None:
    """Raises UserError where ``--weights`` is none of those that there are."""
    if weights is not None and weights not in WEIGHTS:
        raise UserError(f"--weights {weights}: not one of {', '.join(WEIGHTS)}")


class Given:
    """What stood on the command line, by setting."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def values(self, config: type) -> dict[str, Any]:
        """The settings of ``config`` that were given explicitly."""
        names = {f.name for f in dataclasses.fields(config)}
        return {name: value for name, value in self._values.items() if name in names}

    def build(self, config: type[C], *below: Mapping[str, Any], where: str = "settings") -> C:
        """The configuration: its defaults, under ``below`` (the first lowest), under the flags.

        Args:
            below: settings of a preset or of a saved model, by name.
            where: where those came from, for the message.
        Raises:
            UserError: unknown, out of range, or settings that contradict each other.
        """
        merged: dict[str, Any] = {}
        for values in (*below, self.values(config)):
            for group in ONE_OF:
                if any(values.get(name) is not None for name in group):
                    merged = {name: value for name, value in merged.items() if name not in group}
            for name, others in GOES_WITH.items():
                if name in values and values[name] != merged.get(name):
                    merged = {key: value for key, value in merged.items() if key not in others}
            merged.update(values)
        return from_dict(config, merged, where)


Verb = Callable[..., None]


def options(
    *configs: type, leave_out: Sequence[str] = (), defaults: Mapping[str, Any] | None = None, **titles: type
) -> Callable[[Verb], Verb]:
    """Give a verb the flags of these dataclasses; its first parameter receives a :class:`Given`.

    A flag that two dataclasses share is given once and sets both.

    Args:
        configs: dataclasses whose flags stand under "Options" in the help.
        leave_out: names of settings that get no flag.
        defaults: values that the help shows instead of the dataclasses' own (those of a preset that always applies).
        titles: dataclasses whose flags stand under a title of their own: ``Model=LanguageConfig``.
    """

    def decorate(function: Verb) -> Verb:
        hints = typing.get_type_hints(function, include_extras=True)
        receiver, *own = inspect.signature(function).parameters.values()
        parameters = [p.replace(annotation=hints[p.name]) for p in own]
        panels: list[tuple[str | None, type]] = [*((None, c) for c in configs), *titles.items()]
        generated = _parameters(panels, set(leave_out), {p.name for p in own}, defaults or {})

        @functools.wraps(function)
        def verb(**arguments: Any) -> None:
            values = {}
            for name in generated:
                value = arguments.pop(name)
                if value is not None:
                    values[name] = value.value if isinstance(value, enum.Enum) else value
            function(**{receiver.name: Given(values)}, **arguments)

        # typer reads a signature; it must not look through to the function's own, where Given stands.
        del verb.__wrapped__
        parameters += generated.values()
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        verb.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        verb.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return verb

    return decorate


def _parameters(
    panels: Sequence[tuple[str | None, type]], leave_out: set[str], own: set[str], defaults: Mapping[str, Any]
) -> dict[str, inspect.Parameter]:
    """One keyword parameter a setting, None by default."""
    made: dict[str, tuple[type, Any, inspect.Parameter]] = {}
    for title, config in panels:
        for field in dataclasses.fields(config):
            if field.name in leave_out:
                continue
            if field.name in own:
                raise TypeError(f"{config.__name__}.{field.name}: the verb has a parameter of this name")
            kind, _ = field_type(config, field.name)
            choices = field.metadata.get("choices") or ()
            if field.name in made:
                if made[field.name][:2] != (kind, choices):
                    raise TypeError(f"{config.__name__}.{field.name}: another dataclass has it with another type")
                continue
            parameter = inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_flag(field, kind, title, defaults),
                annotation=typing.Optional[_choice(field.name, choices) if choices else kind],  # noqa: UP045
            )
            made[field.name] = (kind, choices, parameter)
    return {name: parameter for name, (_, _, parameter) in made.items()}


def _choice(name: str, choices: Sequence[str]) -> Any:
    """typer takes choices as an enumeration."""
    return enum.Enum(name, {choice: choice for choice in choices})


def _flag(field: dataclasses.Field[Any], kind: type, title: str | None, defaults: Mapping[str, Any]) -> Any:
    name = flag_name(field)
    if kind is bool and name.startswith("--"):
        name = f"{name}/--no-{name[2:]}"
    # The choices stand in the help and not in the metavar: at 80 columns that one squeezes the flags' names.
    metavar = {int: "N", float: "X", str: "WORD"}.get(kind)
    return typer.Option(
        None,
        name,
        help=_help(field, defaults),
        metavar=metavar,
        show_choices=False,
        show_default=False,
        rich_help_panel=title,
    )


def _help(field: dataclasses.Field[Any], defaults: Mapping[str, Any]) -> str:
    text = str(field.metadata.get("help", ""))
    if field.metadata.get("choices"):
        text += f": {', '.join(field.metadata['choices'])}"
    default = defaults.get(field.name, field.default)
    if default is None or default is dataclasses.MISSING:
        return text
    shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
    return f"{text} (default: {shown})"
