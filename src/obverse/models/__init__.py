"""Generative models that `fit` trains, by name."""

from __future__ import annotations

from pathlib import Path

from obverse.checkpoint import saved
from obverse.generative import LearnedModel
from obverse.settings import named

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
    found: type[LearnedModel] = named(MODELS, name, "model", "wrap a model of your own with obverse.Adapter")
    return found


def load_model(folder: str | Path) -> LearnedModel:
    """Read a trained model of any kind, from its own folder or from the run folder of `fit`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no generative model.
    """
    return model(str(saved(folder)[1]["method"])).load(folder)
