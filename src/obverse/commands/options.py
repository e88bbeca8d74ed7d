"""Options that commands share, and the options of a method out of its fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from obverse.opened import DataOptions
from obverse.runs import Existing


@dataclass(kw_only=True)
class FitOptions:
    """How to train.

    Args:
        run_dir: folder for settings, losses, sample pictures, the last state and the best weights.
        steps: how many.
        batch_size: images a step, rounded down to equally many of each class where a method takes them so.
        validate_every: steps between validations, each with a checkpoint and sample pictures.
        max_minutes: stop then, as if the steps were done.
        average: share of the old averaged weights kept a step.
        precision: auto is bfloat16 where the machine is fast at it.
        seed: of initial weights, data order and noise.
        resume: go on with the run in run_dir.
        overwrite: replace the run in run_dir.
    """

    run_dir: Path
    steps: int = 3000
    batch_size: int = 64
    validate_every: int = 250
    max_minutes: float | None = None
    average: float = 0.99
    precision: Literal["auto", "float32", "bf16"] = "auto"
    seed: int = 0
    resume: bool = False
    overwrite: bool = False

    def existing(self) -> Existing:
        """Return what to do with a run that is there.

        Raises:
            ValueError: both switches.
        """
        if self.resume and self.overwrite:
            raise ValueError(
                "resume, overwrite: expected one of the two, got both; resume goes on, overwrite starts again"
            )
        return "resume" if self.resume else "overwrite" if self.overwrite else "refuse"


def settings_of(kind: type, defaults: Mapping[str, Any] | None = None) -> type:
    """Return a dataclass of the hyperparameters of a method: its keyword fields, without parts and seed.

    One with the name of an option of training is `--METHOD-NAME` on the command line, e.g. `--c3lt-steps`.

    Args:
        kind: the method.
        defaults: that are others than the method's own.
    """
    given = defaults or {}
    hints = typing.get_type_hints(kind)
    fields: list[tuple[str, Any, Any]] = []
    taken = {f.name for options in (DataOptions, FitOptions) for f in dataclasses.fields(options)}
    for field in dataclasses.fields(kind):
        if not (field.init and field.kw_only) or field.name == "seed" or _required(field):
            continue
        if field.name in given:
            default = dataclasses.field(default=given[field.name])
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        else:
            default = dataclasses.field(default=field.default)
        hint = hints[field.name]
        if field.name in taken:
            hint = Annotated[hint, tyro.conf.arg(name=f"{getattr(kind, 'name', 'method')}-{field.name}")]
        fields.append((field.name, hint, default))
    made = dataclasses.make_dataclass(f"{kind.__name__} settings", fields, kw_only=True)
    lines = [line for ancestor in reversed(kind.__mro__) for line in _arguments(ancestor.__dict__.get("__doc__") or "")]
    made.__doc__ = f"Settings of {kind.__name__}.\n\nArgs:\n" + "\n".join(lines)
    return made


def parse(command: str, description: str, options: Mapping[str, type], arguments: list[str]) -> dict[str, Any]:
    """Parse a command line into one object an options class; their fields stand side by side, without prefixes."""
    made = dataclasses.make_dataclass("Command", list(options.items()), kw_only=True)
    parsed: Any = tyro.cli(
        made, prog=f"obverse {command}", description=description, args=arguments, config=(tyro.conf.OmitArgPrefixes,)
    )
    return {name: getattr(parsed, name) for name in options}


def values(settings: Any) -> dict[str, Any]:
    """Return the fields of a settings object by name."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _arguments(text: str) -> list[str]:
    """Return the lines of a docstring's Args section."""
    _, _, rest = text.partition("Args:\n")
    lines = []
    for line in rest.splitlines():
        if not line.strip():
            break
        lines.append(line)
    return lines
