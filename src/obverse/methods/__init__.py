"""The methods of the five papers, by name."""

from __future__ import annotations

from importlib import import_module

from obverse.explainer import Explainer

METHODS: dict[str, str] = {
    "syce": "obverse.methods.syce:SyCE",
    "cyce": "obverse.methods.syce:CyCE",
}
"""Name to "module:class"; classes are imported when asked for."""


def method(name: str) -> type[Explainer]:
    """Return the class of a method.

    Raises:
        ValueError: an unknown name.
    """
    if name not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {name!r}; `obverse fit --help` lists them")
    module, _, attribute = METHODS[name].partition(":")
    found: type[Explainer] = getattr(import_module(module), attribute)
    return found
