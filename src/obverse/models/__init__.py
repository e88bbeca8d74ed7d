"""Generative models that `fit` trains, by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from obverse.checkpoint import read_json, settled
from obverse.generative import LearnedModel

MODELS: dict[str, str] = {
    "gan": "obverse.models.dcgan:DCGAN",
    "vae": "obverse.models.vae:VAE",
}
"""Name to "module:class"; classes are imported when asked for."""


def model(name: str) -> type[LearnedModel]:
    """Return the class of a model.

    Raises:
        ValueError: an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {name!r}; wrap a model of your own with "
                         "obverse.Adapter")  # fmt: skip
    module, _, attribute = MODELS[name].partition(":")
    found: type[LearnedModel] = getattr(import_module(module), attribute)
    return found


def load_model(folder: str | Path) -> LearnedModel:
    """Read a trained model of any kind, from its own folder or from the run folder of `fit`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no generative model.
    """
    folder = Path(folder)
    settings = read_json((settled(folder / "best") if settled(folder / "best").is_dir() else folder) / "settings.json")
    return model(str(settings["method"])).load(folder)
