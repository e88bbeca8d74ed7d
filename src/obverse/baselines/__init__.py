"""What the papers compare with, by name: attributions, masks, searches and the controls that any figure must beat."""

from __future__ import annotations

from obverse.explainer import Explainer
from obverse.methods import LEARNED
from obverse.settings import named

BASELINES: dict[str, str] = {
    "raw_image": "obverse.baselines.controls:RawImage",
    "image_minus_blur": "obverse.baselines.controls:ImageMinusBlur",
    "random_map": "obverse.baselines.controls:RandomMap",
    "identity": "obverse.baselines.controls:Identity",
    "mean_image": "obverse.baselines.controls:MeanImage",
    "reconstruction": "obverse.baselines.controls:Reconstruction",
    "adversarial_noise": "obverse.baselines.controls:AdversarialNoise",
    "gradient": "obverse.baselines.attribution:Gradient",
    "smoothgrad": "obverse.baselines.attribution:SmoothGrad",
    "integrated_gradients": "obverse.baselines.attribution:IntegratedGradients",
    "latent_gradients": "obverse.baselines.latent_gradients:LatentGradients",
    "occlusion": "obverse.baselines.attribution:Occlusion",
    "gradcam": "obverse.baselines.attribution:GradCAM",
    "cam": "obverse.baselines.attribution:CAM",
    "bbmp": "obverse.baselines.masks:BBMP",
    "pgd": "obverse.baselines.pgd:PGD",
    "wachter": "obverse.baselines.wachter:Wachter",
    "cem": "obverse.baselines.cem:CEM",
    "cve": "obverse.baselines.cve:CVE",
    "nearest": "obverse.baselines.nearest:Nearest",
    **LEARNED,
}
"""Name to "module:class"; classes are imported when asked for."""


def baseline(name: str) -> type[Explainer]:
    """Return the class of a baseline.

    Raises:
        ValueError: an unknown name.
    """
    found: type[Explainer] = named(BASELINES, name, "baseline", "`obverse compare --help` lists them")
    return found
