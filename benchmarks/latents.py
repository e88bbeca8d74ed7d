"""What medXGAN's latents hold: samples, walks, repeated searches, and latent integrated gradients (tables 1 and 3, sec. 4.2)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

import obverse.data
from benchmarks.runner import RESULTS, hardware
from benchmarks.runner import figures as as_json
from benchmarks.tables.medxgan_brain import TABLE
from benchmarks.training import Workshop, cache, train_classifier
from obverse.baselines.attribution import GradCAM, IntegratedGradients
from obverse.baselines.latent_gradients import LatentGradients
from obverse.checkpoint import write_json
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.evaluation import evaluate
from obverse.explainer import Explainer
from obverse.latent.inversion import Inversion
from obverse.methods.medxgan import MedXGAN
from obverse.metrics.base import Context
from obverse.metrics.calibration import FALL
from obverse.metrics.distances import kernel_distance
from obverse.metrics.judges import JudgeSettings
from obverse.metrics.proximity import ssim
from obverse.metrics.realism import real
from obverse.metrics.statistics import interval
from obverse.runs import versions
from obverse.settings import adjust

ANATOMIES, REALISATIONS = 1000, 3
POSITIVES, MAPPED, SEARCHED, RESTARTS = 128, 128, 32, 3
FROM_NOISE = {"search_rate": 0.1, "search_steps": 600, "patience": 100}
"""Chosen on 8 validation images: with a rate of 0.02 and 500 steps hardly any search had settled."""
PAPER = {
    "accuracy on generated images": 0.992, "AUC on generated images": 0.995, "accuracy on real images": 0.852,
    "repeated searches: cosine": 0.965, "repeated searches: SSIM": 0.970, "pixels in the map, LIG to IG": 0.21,
}  # fmt: skip


def run(*, quick: bool) -> dict[str, Any]:
    """Measure, print, and write results/medxgan-latents.json and .png after every part (a quick run writes nothing)."""
    table = TABLE.quick() if quick else TABLE
    splits = {
        name: obverse.data.open(table.data, split=name, size=table.size) for name in ("train", "validation", "test")
    }
    classifier, _ = train_classifier(table.classifier, splits["train"], splits["validation"], 0)
    explainer, history = Workshop(table.rows, classifier, splits).make("medXGAN", 0)
    if not isinstance(explainer, MedXGAN) or history is None:
        raise TypeError(f"medXGAN: expected a trained medxgan, got {explainer.name}; mend the table {table.name}")
    limit = explainer.calibrate(splits["validation"], count=4 if quick else 430)
    result: dict[str, Any] = {
        "table": "medxgan-latents", "about": __doc__, "explains": classifier.fingerprint[:12],
        "training minutes": round(history.seconds / 60, 1), "steps": history.steps, "paper": PAPER,
        "limit of the residual, 90th percentile on validation": limit, "versions": versions(), "hardware": hardware(),
    }  # fmt: skip

    def add(name: str, found: Any) -> None:
        result[name] = found
        sys.stdout.write(f"{name}: {found}\n")
        if not quick:
            write_json(RESULTS / "medxgan-latents.json", result)

    few = 8 if quick else None
    add("samples", samples(explainer, splits, few or ANATOMIES))
    positives = decided_present(classifier, splits["test"], few or POSITIVES)
    add("walks", walks(explainer, positives))
    fewer = decided_present(classifier, splits["test"], few or SEARCHED)
    add("latent integrated gradients", summed(explainer, fewer))
    settings = {name: getattr(explainer, name) for name in FROM_NOISE}
    adjust(explainer, FROM_NOISE)
    searched = searched_limit(explainer, splits["validation"], few or SEARCHED)
    add("repeated searches", repeated(explainer, fewer, searched))
    adjust(explainer, settings)
    add("maps", maps(explainer, splits["test"], classifier, few or MAPPED))
    if not quick:
        curves(result["maps"]).savefig(RESULTS / "medxgan-curves.png", dpi=110)
        sheet(explainer, decided_present(classifier, splits["test"], 8).image).savefig(RESULTS / "medxgan-latents.png", dpi=110)
    return result


def samples(explainer: MedXGAN, splits: dict[str, Dataset], anatomies: int) -> dict[str, Any]:
    """Return table 1: what the classifier decides for anatomies without, and with several pathologies each."""
    model, classifier = explainer.model, explainer.classifier
    absent = model.sample(anatomies, target=0, seed=1)
    noise = torch.randn(REALISATIONS * anatomies, explainer.pathology, generator=torch.Generator().manual_seed(2))
    target = torch.ones(REALISATIONS * anatomies, dtype=torch.int64, device=explainer.device)
    present = model.realise(absent.repeat_interleave(REALISATIONS, 0), target, noise.to(explainer.device))
    with torch.no_grad():
        made = [model.decode(latent) for latent in (absent, present)]
        posterior = [classifier.posterior(image)[:, 1].cpu() for image in made]
    label = torch.cat([torch.full_like(p, k) for k, p in enumerate(posterior)])
    right = [((p > 0.5) == bool(k)).float() for k, p in enumerate(posterior)]
    found: dict[str, Any] = {f"decided {name} as asked": share(r) for name, r in zip(classifier.classes, right)}
    found["balanced accuracy"] = round(float(sum(r.mean() for r in right)) / 2, 4)
    found["AUC"] = round(float(roc_auc_score(label, torch.cat(posterior))), 4)
    labels, decided = torch.as_tensor(splits["test"].labels()), classifier.posteriors(splits["test"]).argmax(1)
    found["accuracy on real test images"] = share((decided == labels).float(), splits["test"][:].group)
    context = Context(explainer=explainer, data=splits["test"], reference=splits["train"], judges=cache() / "judges")
    for space in ("classifier features", "embedding"):
        known = real(context, space, JudgeSettings())
        with torch.no_grad():
            features = [torch.cat([known.extract(part) for part in image.split(128)]).float().cpu() for image in made]
        others = [known.of(torch.tensor([k]), False) for k in (0, 1)]
        between = kernel_distance(others[0], others[1])
        away = {name: kernel_distance(f, o) for name, f, o in zip(classifier.classes, features, others)}
        found[f"kernel distance, {space}"] = {**away, "between the real classes": between}
    return found


def walks(explainer: MedXGAN, sample: Sample) -> dict[str, Any]:
    """Return whether the posterior rises from the negative realisation to the image's own, in ten steps."""
    image, group = sample.image, sample.group
    frames = explainer.path(image, explainer.classifier.classes[0], frames=11).flip(1)
    posterior = explainer.classifier.posterior(frames.flatten(0, 1))[:, 1].unflatten(0, (len(image), 11))
    return {
        "series that rise": share((posterior.diff(dim=1) >= -FALL).all(1).float(), group),
        "negative realisations decided negative": share((posterior[:, 0] < 0.5).float(), group),
        "negative realisations that are not": int((posterior[:, 0] >= 0.5).sum()),
        "own realisations decided positive": share((posterior[:, -1] >= 0.5).float(), group),
        "mean posterior along the walk": [round(float(p), 4) for p in posterior.mean(0)],
    }


def summed(explainer: MedXGAN, sample: Sample) -> dict[str, Any]:
    """Return how far the sum of each map of latent integrated gradients is from the difference of the walk's posteriors."""
    image, group = sample.image, sample.group
    ends = explainer.path(image, explainer.classifier.classes[0], frames=2)
    high, low = (explainer.classifier.posterior(end)[:, 1] for end in ends.unbind(1))
    sums = explainer.latent_gradients(image, form="walk").flatten(1).sum(1)
    off = (sums - (high - low)).abs()
    return {"difference of the posteriors": mean(high - low, group), "sum of the map, off by": mean(off, group)}


def searched_limit(explainer: MedXGAN, validation: Dataset, count: int) -> float:
    """Return the residual that 9 in 10 validation images decided present keep, searched as `repeated` searches."""
    image = decided_present(explainer.classifier, validation, count).image
    return float(_least(_searches(explainer, image)).quantile(0.9))


def _searches(explainer: MedXGAN, image: Tensor) -> list[Inversion]:
    return [explainer.invert(image, start="normal", restarts=1, seed=k) for k in range(RESTARTS)]


def _least(found: list[Inversion]) -> Tensor:
    return torch.stack([one.residual for one in found]).amin(0)


def repeated(explainer: MedXGAN, sample: Sample, limit: float) -> dict[str, Any]:
    """Return table 3: how alike searches from independent noise end, without the encoder.

    An image is well represented if the best of its searches leaves at most `limit`; all of them are compared.
    """
    image, group = sample.image, sample.group
    found = _searches(explainer, image)
    good = _least(found) <= limit
    model, split = explainer.model, explainer.anatomy

    def alike(part: Any) -> Tensor:
        return torch.stack([part(a, b) for a, b in combinations(found, 2)]).mean(0)

    def cosine(of: Any) -> Tensor:
        return alike(lambda a, b: F.cosine_similarity(of(a), of(b), dim=1))

    def first(f: Inversion) -> Tensor:
        return model.first_layer(f.latent).detach()

    rows = {
        "cosine of the first layer's output": cosine(first),
        "SSIM": alike(lambda a, b: ssim(a.image, b.image)),
        "cosine of z1": cosine(lambda f: f.latent[:, :split]),
        "cosine of z2": cosine(lambda f: f.latent[:, split:]),
    }
    others = F.cosine_similarity(first(found[0]), first(found[1]).roll(1, 0), dim=1)
    return {
        "images": len(image), "limit of the residual": limit, "well represented": share(good.float(), group),
        "residual": [round(float(f.residual.mean()), 4) for f in found],
        "posterior gap": [round(float(f.posterior_gap.mean()), 4) for f in found if f.posterior_gap is not None],
        "steps": [round(float(f.steps.float().mean()), 1) for f in found],
        "well represented images": {
            name: mean(values[good], None if group is None else group[good]) for name, values in rows.items()
        },
        "all images": {name: mean(values, group) for name, values in rows.items()},
        "cosine of the first layer's output, other images": mean(others, group),
    }  # fmt: skip


def maps(explainer: MedXGAN, test: Dataset, classifier: Classifier, count: int) -> dict[str, Any]:
    """Return drop of confidence and share of the image for all maps of test images decided present."""
    rows = rows_present(classifier, test, count)
    shown: dict[str, Explainer] = {
        "difference": explainer,
        "LIG": LatentGradients(classifier, explainer),
        "LIG as printed": LatentGradients(classifier, explainer, form="printed"),
        "integrated gradients": IntegratedGradients(classifier),
        "integrated gradients of the posterior": IntegratedGradients(classifier, score="posterior"),  # the score that LIG has
        "Grad-CAM": GradCAM(classifier),
    }
    found = {}
    for name, one in shown.items():
        report = evaluate(one, test.subset(rows), metrics=("confidence_drop", "map_area", "deletion"))
        found[name] = {"figures": as_json(report), "curves": report.to_dict()["curves"]}
    return found


def curves(found: Mapping[str, Any]) -> Figure:
    """Return two plots of what `maps` found: the posterior as a map's highest pixels go, and how much of the image it marks."""
    figure, boxes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = (
        ("deletion", "share of the pixels set to the image's mean", "mean posterior of the class decided"),
        ("share of the image in the map", "threshold, as a share of the map's maximum", "share of the pixels above it"),
    )
    for axes, (name, across, up) in zip(boxes, shown, strict=True):
        for label, one in found.items():
            axes.plot(*one["curves"][name], label=label)
        axes.set(xlabel=across, ylabel=up)
    control = next(iter(found.values()))["curves"]["deletion, random ranking (control)"]
    boxes[0].plot(*control, "k--", label="pixels at random")
    boxes[0].legend(fontsize=8)
    return figure


def sheet(explainer: MedXGAN, image: Tensor) -> Figure:
    """Return two pictures: walks from the image to its negative realisation, and anatomies by pathologies."""
    walk = explainer.path(image, explainer.classifier.classes[0], frames=7)
    grid = explainer.model.grid(8, realisations=5)
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 8), layout="constrained")
    rows = torch.cat([image[:, None], walk], 1)
    for axes, tiles, title in (
        (left, rows, "image, its reconstruction, and the walk to its negative realisation"),
        (right, grid, "anatomies (columns) by pathologies (rows; the first is none)"),
    ):
        picture = torch.cat([torch.cat(list(row), 2) for row in tiles], 1)
        axes.imshow(picture.permute(1, 2, 0).cpu().squeeze(-1), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    return figure


def rows_present(classifier: Classifier, data: Dataset, count: int) -> Tensor:
    """Return rows that the classifier decides present, taken evenly: the data lie in the order of the kinds of tumour."""
    rows = (classifier.posteriors(data).argmax(1) == 1).nonzero().flatten()
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]


def decided_present(classifier: Classifier, data: Dataset, count: int) -> Sample:
    """Return the images of `rows_present`."""
    return data[rows_present(classifier, data, count)].to(classifier.device)


def share(values: Tensor, group: Tensor | None = None) -> dict[str, Any]:
    """Return a share with its interval."""
    return mean(values, group, whole=True)


def mean(values: Tensor, group: Tensor | None = None, *, whole: bool = False) -> dict[str, Any]:
    """Return a mean with its interval and number; with a group, slices of one head are drawn together."""
    if not len(values):
        return {"value": None, "n": 0}
    low, high = interval(values.cpu(), group, share=whole) or (None, None)
    return {"value": round(float(values.mean()), 4), "low": low, "high": high, "n": len(values)}
