"""obverse: what would this image have to look like for the classifier to decide otherwise?

    import obverse as ob
    explainer = ob.SyCE(ob.Classifier(module, classes=["3", "8"], image_shape=(1, 28, 28)))
    ob.fit(explainer, train, validation=validation, steps=4000, run_dir="runs/syce")
    explanation = explainer.explain(images, target="8")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obverse import data as data
    from obverse.audit import audit as audit
    from obverse.baselines import BASELINES as BASELINES
    from obverse.classification import ClassifierTraining as ClassifierTraining
    from obverse.classifier import Classifier as Classifier
    from obverse.compare import compare as compare
    from obverse.data.base import Dataset as Dataset
    from obverse.data.base import MemoryDataset as MemoryDataset
    from obverse.data.base import Sample as Sample
    from obverse.evaluation import Report as Report
    from obverse.evaluation import evaluate as evaluate
    from obverse.explainer import Explainer as Explainer
    from obverse.explanation import Explanation as Explanation
    from obverse.explanation import NotApplicable as NotApplicable
    from obverse.generative import GenerativeModel as GenerativeModel
    from obverse.latent.inversion import invert as invert
    from obverse.methods import METHODS as METHODS
    from obverse.methods import load as load
    from obverse.methods.c3lt import C3LT as C3LT
    from obverse.methods.conditional_syce import ConditionalCyCE as ConditionalCyCE
    from obverse.methods.conditional_syce import ConditionalSyCE as ConditionalSyCE
    from obverse.methods.cxgan import CXGAN as CXGAN
    from obverse.methods.cxgan import CXGANCascaded as CXGANCascaded
    from obverse.methods.cyclegan import CycleGAN as CycleGAN
    from obverse.methods.exaggeration import Exaggeration as Exaggeration
    from obverse.methods.medxgan import MedXGAN as MedXGAN
    from obverse.methods.sagen import SAGen as SAGen
    from obverse.methods.syce import CyCE as CyCE
    from obverse.methods.syce import CyCSAE as CyCSAE
    from obverse.methods.syce import SSyE as SSyE
    from obverse.methods.syce import SyCE as SyCE
    from obverse.methods.vagan import VAGAN as VAGAN
    from obverse.methods.xgem import XGEM as XGEM
    from obverse.metrics import METRICS as METRICS
    from obverse.models import load_model as load_model
    from obverse.models.adapters import Adapter as Adapter
    from obverse.models.adapters import BigGAN as BigGAN
    from obverse.models.dcgan import DCGAN as DCGAN
    from obverse.models.vae import VAE as VAE
    from obverse.search import minimise as minimise
    from obverse.training import Trainable as Trainable
    from obverse.training import fit as fit

__version__ = "0.1.0"

_PUBLIC = {
    "Adapter": "models.adapters",
    "BASELINES": "baselines",
    "BigGAN": "models.adapters",
    "C3LT": "methods.c3lt",
    "CXGAN": "methods.cxgan",
    "CXGANCascaded": "methods.cxgan",
    "Classifier": "classifier",
    "ClassifierTraining": "classification",
    "ConditionalCyCE": "methods.conditional_syce",
    "ConditionalSyCE": "methods.conditional_syce",
    "CyCE": "methods.syce",
    "CycleGAN": "methods.cyclegan",
    "CyCSAE": "methods.syce",
    "DCGAN": "models.dcgan",
    "Dataset": "data.base",
    "Exaggeration": "methods.exaggeration",
    "Explainer": "explainer",
    "Explanation": "explanation",
    "GenerativeModel": "generative",
    "METHODS": "methods",
    "METRICS": "metrics",
    "MedXGAN": "methods.medxgan",
    "MemoryDataset": "data.base",
    "NotApplicable": "explanation",
    "Report": "evaluation",
    "SAGen": "methods.sagen",
    "SSyE": "methods.syce",
    "Sample": "data.base",
    "SyCE": "methods.syce",
    "Trainable": "training",
    "VAE": "models.vae",
    "VAGAN": "methods.vagan",
    "XGEM": "methods.xgem",
    "audit": "audit",
    "compare": "compare",
    "evaluate": "evaluation",
    "fit": "training",
    "invert": "latent.inversion",
    "load": "methods",
    "load_model": "models",
    "minimise": "search",
}
__all__ = [*_PUBLIC, "__version__", "data"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import: `import obverse` does not wait for it
    if name == "data":
        return import_module("obverse.data")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'obverse' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"obverse.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
