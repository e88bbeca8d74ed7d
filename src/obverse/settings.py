"""What is named in files and on the command line: the settings of a dataclass as JSON, and classes by name."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal


def settings_as_json(what: Any) -> dict[str, Any]:
    """Return the keyword fields of a dataclass, which are its hyperparameters, as JSON can hold them."""
    return {f.name: plain(getattr(what, f.name)) for f in dataclasses.fields(what) if f.init and f.kw_only}


def check_choices(what: Any) -> None:
    """Raise unless every field of a dataclass that is one of a few words is one of them.

    Raises:
        ValueError: naming the first that is not.
    """
    try:
        hints = typing.get_type_hints(type(what))
    except NameError:  # an explainer of the user's own, with types that only a type checker imports
        return
    for field in dataclasses.fields(what):
        choices = typing.get_args(hints[field.name]) if typing.get_origin(hints[field.name]) is Literal else ()
        if choices and getattr(what, field.name) not in choices:
            raise ValueError(f"{field.name}: expected one of {', '.join(map(repr, choices))} for {what.name}, got "
                             f"{getattr(what, field.name)!r}; pass one of these")  # fmt: skip


def check_positive(what: Any, *names: str) -> None:
    """Raise unless every named hyperparameter is above 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        value = getattr(what, name)
        if not value > 0:
            raise ValueError(f"{name}: expected more than 0 for {what.name}, got {value:g}; leave it out for the "
                             "default")  # fmt: skip


def check_least(what: Any, least: float, *names: str) -> None:
    """Raise unless every named hyperparameter is at least `least`, or None.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        value = getattr(what, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name}: expected at least {least:g} for {what.name}, got {value:g}; leave it out for the "
                             "default")  # fmt: skip


def check_share(what: Any, *names: str) -> None:
    """Raise unless every named hyperparameter is above 0 and below 1.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        value = getattr(what, name)
        if not 0 < value < 1:
            raise ValueError(f"{name}: expected a number between 0 and 1 for {what.name}, got {value:g}; leave it out for "
                             "the default")  # fmt: skip


def adjust(what: Any, changes: Mapping[str, Any]) -> None:
    """Set hyperparameters that count when explaining, on an explainer that is trained.

    Another search leaves other residuals: what is usual of them is forgotten where one of `calibrated` changes.

    Args:
        what: the explainer; its `adjustable` names them.
        changes: by name.

    Raises:
        ValueError: one that is not adjustable, of another type, or what the explainer itself refuses.
    """
    for name, value in changes.items():
        if name not in what.adjustable:
            known = ", ".join(what.adjustable) or "none"
            raise ValueError(f"{name}: expected a setting of {what.name} that counts after training ({known}), got {name!r}; "
                             "fit anew with it")  # fmt: skip
        check_type(type(what), name, value, getattr(what, name))
    if changes:
        checked = dataclasses.replace(what, **changes)
        others = any(getattr(what, name) != getattr(checked, name) for name in changes if name in what.calibrated)
        for name in changes:
            setattr(what, name, getattr(checked, name))
        if others:
            what.networks["known"].forget()


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "none"}


def check_type(kind: Any, name: str, value: Any, example: Any) -> None:
    """Raise unless a value is of the type that a hyperparameter is declared with, where that is a number, a truth or a word.

    Args:
        kind: the class that declares it, which has a `name`.
        name: of the hyperparameter.
        value: given.
        example: a value that it may have.

    Raises:
        ValueError: naming what is expected.
    """
    hint = typing.get_type_hints(kind)[name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    wide = {*kinds, int} if float in kinds else set(kinds)  # a whole number is a number, but true is none
    if set(kinds) <= _WORDS.keys() and type(value) not in wide:
        expected = " or ".join(_WORDS[kind] for kind in kinds)
        raise ValueError(f"{name}: expected {expected} for {kind.name}, got {value!r}; pass e.g. {name}={json.dumps(example)}")


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


def named(table: Mapping[str, str], name: str, what: str, remedy: str) -> Any:
    """Return the class that a table names "module:class"; it is imported now.

    Args:
        table: name to "module:class".
        name: of the class.
        what: the argument that named it, for the message.
        remedy: what to do about an unknown name.

    Raises:
        ValueError: an unknown name.
    """
    if name not in table:
        raise ValueError(f"{what}: expected one of {', '.join(table)}, got {name!r}; {remedy}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def tuple_of(value: Any) -> Any:
    """Return lists, which is what JSON makes of tuples, as tuples again."""
    return tuple(tuple_of(item) for item in value) if isinstance(value, list) else value
