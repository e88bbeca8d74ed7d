"""The methods of the five papers, by name."""

from __future__ import annotations

from pathlib import Path

from obverse.checkpoint import read_json, saved
from obverse.classifier import Classifier
from obverse.explainer import Explainer, LearnedExplainer
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.settings import named

METHODS: dict[str, str] = {
    "syce": "obverse.methods.syce:SyCE",
    "cyce": "obverse.methods.syce:CyCE",
    "c3lt": "obverse.methods.c3lt:C3LT",
    "ssye": "obverse.methods.syce:SSyE",
    "cycsae": "obverse.methods.syce:CyCSAE",
    "conditional_syce": "obverse.methods.conditional_syce:ConditionalSyCE",
    "conditional_cyce": "obverse.methods.conditional_syce:ConditionalCyCE",
    "sagen": "obverse.methods.sagen:SAGen",
    "cyclegan": "obverse.methods.cyclegan:CycleGAN",
    "cxgan": "obverse.methods.cxgan:CXGAN",
    "cxgan_cascaded": "obverse.methods.cxgan:CXGANCascaded",
    "vagan": "obverse.methods.vagan:VAGAN",
    "exaggeration": "obverse.methods.exaggeration:Exaggeration",
    "medxgan": "obverse.methods.medxgan:MedXGAN",
    "xgem": "obverse.methods.xgem:XGEM",
}
"""Name to "module:class"; classes are imported when asked for."""

LEARNED: dict[str, str] = {
    "cxplain": "obverse.baselines.cxplain:CXPlain",
    "explaingan": "obverse.baselines.explaingan:ExplainGAN",
    "mgen": "obverse.baselines.mgen:MGen",
}
"""Those of obverse.BASELINES that are trained first, and opened again like methods."""


def method(name: str) -> type[Explainer]:
    """Return the class of a method.

    Raises:
        ValueError: an unknown name.
    """
    found: type[Explainer] = named(METHODS, name, "method", "`obverse fit --help` lists them")
    return found


def fitted(name: str) -> type[Explainer]:
    """Return the class of a method, or of a baseline that is trained first.

    Raises:
        ValueError: an unknown name.
    """
    found: type[Explainer] = named(METHODS | LEARNED, name, "method", "`obverse fit --help` lists them")
    return found


def load(
    folder: str | Path, classifier: Classifier | None = None, *parts: GenerativeModel | Classifier
) -> LearnedExplainer:
    """Read a trained explainer, a method or a baseline, from its own folder or from the run folder of `fit`.

    Args:
        folder: the folder.
        classifier: the one it explains; None takes the copy, and the view of it, that `obverse fit` left in the folder.
        parts: what else it was made with, e.g. the generative model; none takes the copy in the folder, if there is one.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: of an unknown method, or trained for another classifier or with another model.
        NotApplicable: of a method that is not trained.
    """
    folder = Path(folder)
    found = fitted(str(saved(folder)[1]["method"]))
    if not issubclass(found, LearnedExplainer):
        raise NotApplicable(f"load: {found.name} is not trained; make it with obverse.{found.__name__}(classifier)")
    if not parts and (folder / "model").is_dir():
        from obverse.models import load_model

        parts = (load_model(folder / "model"),)
    return found.load(folder, classifier_for(folder, folder) if classifier is None else classifier, *parts)


def classifier_for(run: Path, folder: Path) -> Classifier:
    """Return the classifier in `folder`, narrowed to the class or label that the run in `run` explains."""
    inner = folder / "classifier"
    if not inner.is_dir() and not (folder / "classifier.json").exists():
        raise FileNotFoundError(f"classifier: {folder} holds none; pass it, obverse.load(folder, classifier), or name the folder "
                                "of a finished `obverse fit`")  # fmt: skip
    classifier = Classifier.load(inner if inner.is_dir() else folder)
    for view, name in read_json(run / "run.json")["view"].items():
        if name is not None:
            classifier = {"against_rest": classifier.against_rest, "label": classifier.label}[view](name)
    return classifier
