"""The settings of a dataclass as JSON, and back."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


def settings_as_json(what: Any) -> dict[str, Any]:
    """Return the keyword fields of a dataclass, which are its hyperparameters, as JSON can hold them."""
    return {f.name: plain(getattr(what, f.name)) for f in dataclasses.fields(what) if f.init and f.kw_only}


def restore(cls: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the JSON form of hyperparameters back into the field values of a dataclass.

    Raises:
        ValueError: a setting that the class does not have.
    """
    hints, known = typing.get_type_hints(cls), {f.name for f in dataclasses.fields(cls)}
    values = {}
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{key}: {cls.__name__} has no such hyperparameter; it was saved by another version")
        hint = hints[key]
        if isinstance(value, dict) and isinstance(hint, type) and dataclasses.is_dataclass(hint):
            value = hint(**restore(hint, value))
        values[key] = tuple_of(value)
    return values


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def tuple_of(value: Any) -> Any:
    """Return lists, which is what JSON makes of tuples, as tuples again."""
    return tuple(tuple_of(item) for item in value) if isinstance(value, list) else value
