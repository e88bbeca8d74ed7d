"""audit(): five questions that an explainer must be able to answer before its figures mean anything."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.baselines.common import evaluating
from obverse.baselines.controls import AdversarialNoise, reconstruct
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, LearnedExplainer
from obverse.explanation import Explanation, NotApplicable, as_saved
from obverse.metrics.validity import check_second

SIMILAR, KEPT, AHEAD, AGREED, MOVED = 0.5, 0.95, 0.2, 0.8, 0.1
"""Where the lines are drawn; ours, and part of every verdict's words."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question and its answer.

    Args:
        name: of the check.
        question: what is asked of the explainer.
        value: the figure, or None where it could not be asked.
        passed: the verdict, or None where it could not be asked.
        means: what a pass means, and what it does not.
        words: the finding in one sentence, or why there is none.
    """

    name: str
    question: str
    value: float | None
    passed: bool | None
    means: str
    words: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What `audit` found.

    Args:
        explainer: its name.
        images: how many were asked about.
        checks: one each, in the order asked.
    """

    explainer: str
    images: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed and at least one could be asked."""
        verdicts = [check.passed for check in self.checks if check.passed is not None]
        return bool(verdicts) and all(verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        checks = [dataclasses.asdict(check) for check in self.checks]
        return dataclasses.asdict(self) | {"checks": checks, "passed": self.passed}

    def lines(self) -> list[str]:
        """Return the report as text: two lines a check, what was found and what a pass means."""
        marks = {True: "pass", False: "FAIL", None: "not asked"}
        lines = []
        for check in self.checks:
            lines += [f"{marks[check.passed]:>9}  {check.name}: {check.words}", f"{'':>9}  {check.means}"]
        return lines


def audit(
    explainer: Explainer,
    data: Dataset,
    *,
    second_classifier: Classifier | None = None,
    attribute_classifier: Classifier | None = None,
    autoencoder: nn.Module | None = None,
    rebuild: Callable[[Classifier], Explainer] | None = None,
    target: int | str | None = None,
    images: int = 256,
    seed: int = 0,
) -> AuditReport:
    """Ask whether the explanations are about this classifier, and about what it sees rather than how it can be fooled.

    Args:
        explainer: the method, bound to its classifier.
        data: what is explained; `images` of them, evenly spread.
        second_classifier: trained independently on the same classes; for transfer and for adversarial noise.
        attribute_classifier: multi-label classifier of things that should stay as they are; for attribute flips.
        autoencoder: images to images; what its reconstructions do stands beside a method that makes none itself.
        rebuild: makes the explainer for another classifier, training it where it learns; it is called for the
            randomised classifier and, as a control, for the same one. None binds the same settings to the randomised
            one, which is right for methods that learn nothing.
        target: class index or name for all images; None is the other class, or the runner-up.
        images: how many at most.
        seed: of the random weights and of the explainer's noise.

    Returns:
        AuditReport: five checks; those whose argument is missing say which.

    Raises:
        ValueError: no images, or none of which anything is asked; a second classifier of other classes.
    """
    if len(data) == 0 or images < 1:
        raise ValueError(f"data, images: expected at least one image, got {len(data)} and images={images}; check the "
                         "split")  # fmt: skip
    classifier = explainer.classifier
    if second_classifier is not None:
        check_second(second_classifier, classifier)
    rows = torch.linspace(0, len(data) - 1, min(images, len(data))).long()
    sample = data.subset(rows)
    parts = [explainer.explain(batch.image, target, seed=seed) for batch in sample.batches(64, classifier.device)]
    whole = Explanation.cat(parts)
    if not bool(whole.asked.any()):
        raise ValueError(f"target: the classifier already decides {target!r} for all {len(whole)} images; ask for "
                         "another class")  # fmt: skip
    found = whole.select(whole.asked)
    checks = (
        _randomised(explainer, found, rebuild, target, seed),
        _reconstruction(explainer, found, autoencoder),
        _noise(explainer, found, second_classifier, seed),
        _transfer(found, second_classifier),
        _attributes(found, attribute_classifier),
    )
    return AuditReport(explainer=explainer.name, images=len(found), checks=checks)


def randomised(classifier: Classifier, seed: int = 0, image: Tensor | None = None) -> Classifier:
    """Return the same classifier with the values of every weight tensor shuffled: it has learnt nothing.

    Shuffling keeps each layer's scale, so that its outputs stay finite and its posteriors as sharp (Adebayo et al. 2018
    draw new weights layer by layer).

    Args:
        classifier: whose weights are shuffled, in a copy.
        seed: of the order.
        image: (N, C, H, W); its logits are shifted so that it decides each class equally often for these, since most
            explainers need images of every decision, and a shuffled network often decides one class for all.

    Raises:
        NotApplicable: a black box, which has no weights.
    """
    if not classifier.has_gradient:
        raise NotApplicable("classifier: a black box has no weights to randomise; pass the module itself")
    other = copy.copy(classifier)  # keeps views and normalisation
    other.module, other._feature_layer = copy.deepcopy(classifier.module), None
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.module.parameters():
            order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
            parameter.copy_(parameter.reshape(-1)[order].view(parameter.shape))
        if image is not None:
            logits = torch.cat([other.logits(part).float() for part in image.split(64)])
            middle = logits.median(0).values
            for _ in range(200):  # from there, whatever is decided too often is pushed down
                share = F.one_hot((logits - middle).argmax(1), logits.shape[1]).float().mean(0)
                middle = middle + 0.1 * logits.std(0).mean() * (share - 1 / logits.shape[1])
            inner = other._reduce
            other._reduce = lambda scores: (scores if inner is None else inner(scores)) - middle
    return other


def _randomised(
    explainer: Explainer, found: Explanation, rebuild: Callable[[Classifier], Explainer] | None,
    target: int | str | None, seed: int,
) -> Check:  # fmt: skip
    about = ("randomised weights", "Does the explanation change when the classifier has learnt nothing?",
             f"A mean rank correlation of the maps below {SIMILAR:g} passes: the map depends on what was learnt. A method "
             "that is trained anew for it must, trained equally long for the true classifier, come to similar maps, or "
             "nothing can be told. It does not say that the map is right (Adebayo et al. 2018).")  # fmt: skip
    if rebuild is None and isinstance(explainer, LearnedExplainer):
        return _unasked(about, f"{explainer.name} learns, so it must be trained for the randomised classifier; pass "
                               "rebuild")  # fmt: skip

    def similar(other: Explainer) -> float:
        answers = [other.explain(part, target, seed=seed) for part in found.image.split(64)]
        asked = torch.cat([answer.asked for answer in answers])  # the others' maps are of no change
        if not bool(asked.any()):
            raise ValueError(f"the classifier to compare with already decides {target!r} for all {len(found)} images")
        maps = torch.cat([answer.attribution for answer in answers])
        return float(rank_correlation(found.attribution[asked], maps[asked]).mean())

    try:
        other = randomised(explainer.classifier, seed, found.image)
        value = similar(_rebind(explainer, other) if rebuild is None else rebuild(other))
        again = None if rebuild is None else similar(rebuild(explainer.classifier))
    except ValueError as error:  # as for a black box, or where the randomised one decides one class for all
        return _unasked(about, str(error))
    words = f"maps of the trained and the randomised classifier correlate by {value:.2f}"
    if again is not None:
        words += f", those of another training for the trained one by {again:.2f}"
        if again < SIMILAR:
            return dataclasses.replace(_unasked(about, f"{words}: too little to tell; train longer"), value=value)
    return _asked(about, value, value < SIMILAR, words)


def _reconstruction(explainer: Explainer, found: Explanation, autoencoder: nn.Module | None) -> Check:
    about = ("reconstruction only", "Is the decision kept when the method only reconstructs the image?",
             f"At least {KEPT:.0%} kept passes: flips come from what was changed on purpose. A method that makes no "
             "reconstruction is not asked; what an autoencoder's would do stands there to compare with.")  # fmt: skip
    if found.counterfactual is None:
        return _unasked(about, f"{explainer.name} makes no counterfactual")
    own = found.stable is not None
    if found.stable is not None:
        again = found.stable
    elif autoencoder is not None:
        with torch.no_grad(), evaluating(autoencoder):
            again = as_saved(torch.cat([reconstruct(autoencoder, part) for part in found.image.split(64)]))
    else:
        return _unasked(about, f"{explainer.name} makes no reconstruction, it starts from the image itself; pass "
                               "autoencoder to see what one would do")  # fmt: skip
    kept = torch.cat([explainer.classifier.decide(part) for part in again.split(256)]) == found.source
    value = float(kept.float().mean())
    if not own:
        words = f"{explainer.name} makes no reconstruction; of an autoencoder's {value:.1%} are decided as their images"
        return dataclasses.replace(_unasked(about, words), value=value)
    return _asked(about, value, value >= KEPT, f"{value:.1%} of the reconstructions are decided as their images")


def _noise(explainer: Explainer, found: Explanation, second: Classifier | None, seed: int) -> Check:
    about = ("adversarial noise of equal L1", "Does a second classifier follow it further than noise of the same size?",
             f"A lead of at least {AHEAD:.0%} of all images passes: the change is worth more than what fools the "
             "classifier under explanation alone. Asked of the second classifier, since on the first noise always "
             "looks as good.")  # fmt: skip
    if found.counterfactual is None:
        return _unasked(about, f"{explainer.name} makes no counterfactual")
    if second is None:
        return _unasked(about, "pass second_classifier")
    if not explainer.classifier.has_gradient:
        return _unasked(about, "noise needs the classifier's gradient, which a black box does not have")
    noise = AdversarialNoise(explainer.classifier, explainer)
    answers = [noise.explain(image, target, seed=seed).counterfactual
               for image, target in zip(found.image.split(64), found.target.split(64))]  # fmt: skip
    noisy = torch.cat([answer for answer in answers if answer is not None])
    own, other = (
        float((_decide(second, image) == found.target).float().mean()) for image in (found.counterfactual, noisy)
    )
    words = f"a second classifier follows {own:.1%} of its counterfactuals and {other:.1%} of noise of the same size"
    return _asked(about, own - other, own - other >= AHEAD, words)


def _transfer(found: Explanation, second: Classifier | None) -> Check:
    about = ("transfer", "Does a second, independently trained classifier decide the counterfactuals as asked?",
             f"At least {AGREED:.0%} of the valid ones (on whose image both agree) passes: they change what both look "
             "at. A failure may also be a quirk of the first classifier that is shown faithfully.")  # fmt: skip
    if found.counterfactual is None:
        return _unasked(about, f"{found.method} makes no counterfactual")
    if second is None:
        return _unasked(about, "pass second_classifier")
    rows = found.valid & (_decide(second, found.image) == found.source)
    if not bool(rows.any()):
        return _asked(about, 0.0, False, "there is no valid counterfactual of an image on which both classifiers agree")
    value = float((_decide(second, found.counterfactual)[rows] == found.target[rows]).float().mean())
    words = f"the second classifier agrees with {value:.1%} of {int(rows.sum())} flips"
    return _asked(about, value, value >= AGREED, words)


def _attributes(found: Explanation, attributes: Classifier | None) -> Check:
    about = ("attribute flips", "Do attributes that were not asked for stay as they are?",
             f"At most {MOVED:.0%} flipped, over attributes that are no class, passes.")  # fmt: skip
    if found.counterfactual is None:
        return _unasked(about, f"{found.method} makes no counterfactual")
    if attributes is None or attributes.head != "multilabel":
        return _unasked(about, "pass attribute_classifier, a multi-label classifier (head='multilabel')")
    names = [name for name in attributes.classes if name not in found.classes]
    if not names:
        return _unasked(about, "every attribute is one of the classes")
    flips = {}
    for name in names:
        view = attributes.label(name)
        flips[name] = float((_decide(view, found.image) != _decide(view, found.counterfactual)).float().mean())
    value, worst = sum(flips.values()) / len(flips), max(names, key=lambda name: flips[name])
    words = f"{value:.1%} of {len(names)} other attributes flip, most often {worst!r} ({flips[worst]:.1%})"
    return _asked(about, value, value <= MOVED, words)


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return (N,) Spearman's correlation of two stacks of maps, ties sharing their mean rank.

    Two constant maps have 1, one that is constant and one that is not 0.
    """
    ranks = [torch.from_numpy(rankdata(maps.detach().flatten(1).cpu().numpy(), axis=1)) for maps in (one, other)]
    first, second = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    scale = first.norm(dim=1) * second.norm(dim=1)
    alike = ((first.norm(dim=1) == 0) & (second.norm(dim=1) == 0)).to(scale)
    return torch.where(scale > 0, (first * second).sum(1) / scale.clamp_min(1e-12), alike)


def _rebind(explainer: Explainer, classifier: Classifier) -> Explainer:
    """Return the same settings for another classifier; parts that are explainers are bound to it too."""
    changes: dict[str, Any] = {"classifier": classifier}
    for field in dataclasses.fields(explainer):
        value = getattr(explainer, field.name) if field.init else None
        if isinstance(value, LearnedExplainer):
            raise NotApplicable(f"its part {field.name} ({value.name}) learns, so it must be trained for the "
                                "randomised classifier; pass rebuild")  # fmt: skip
        if isinstance(value, Explainer):
            changes[field.name] = _rebind(value, classifier)
    return dataclasses.replace(explainer, **changes)


def _decide(classifier: Classifier, image: Tensor) -> Tensor:
    parts = [classifier.decide(part.to(classifier.device)) for part in image.split(256)]
    return torch.cat(parts).to(image.device)


def _asked(about: tuple[str, str, str], value: float, passed: bool, words: str) -> Check:
    return Check(name=about[0], question=about[1], value=value, passed=passed, means=about[2], words=words)


def _unasked(about: tuple[str, str, str], words: str) -> Check:
    return Check(name=about[0], question=about[1], value=None, passed=None, means=about[2], words=words)
