"""Explainer: a method bound to a classifier. LearnedExplainer: one that is trained first."""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from obverse.checkpoint import load_tensors, saved
from obverse.classifier import Classifier, Targets
from obverse.data.base import Dataset, check_images
from obverse.explanation import Explanation, NotApplicable, as_saved
from obverse.generative import GenerativeModel
from obverse.losses import l1_each
from obverse.probe import WITHOUT_GRADIENT, check_bare, check_part
from obverse.settings import check_choices, restore, settings_as_json
from obverse.training import Trainable

Target = Targets | None
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """What a method is asked, one row an answer.

    Args:
        image: (M, C, H, W) in [0, 1]; M = N x answers, the answers to one image side by side.
        source, target: (M,) int64, decided and asked for.
        answer: (M,) int64, which of the answers to its image a row is.
        seed: of the call.
        posterior: (M,) what `at` asks the posterior of `target` to be, or None.
        before: (M, K) the classifier's posterior of the image, where it is known.
    """

    image: Tensor
    source: Tensor
    target: Tensor
    answer: Tensor
    seed: int
    posterior: Tensor | None = None
    before: Tensor | None = None

    @property
    def asked(self) -> Tensor:
        """(M,) bool, the rows that are not decided as asked already; all where a posterior is asked for."""
        return (self.source != self.target) | (self.posterior is not None)

    def rows(self, where: Tensor) -> tuple[Tensor, ...]:
        """Return the numbers of the rows that `where` (M,) marks, few at a time on a CPU (see `networks.blocks.in_parts`)."""
        found = where.nonzero().flatten()
        parts: tuple[Tensor, ...] = found.split(64 if found.device.type == "cpu" else max(len(found), 1))
        return parts

    def normal(self, *shape: int) -> Tensor:
        """Return (M, *shape) standard normal noise that depends on seed and answer only, not on batch mates."""
        count = int(self.answer.max()) + 1 if len(self.answer) else 1
        draws = [torch.randn(*shape, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + k))
                 for k in range(count)]  # fmt: skip
        return torch.stack(draws).to(self.image.device)[self.answer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a method returns, one row a row of the `Query`; `Explainer.explain` completes it to an `Explanation`.

    Args:
        counterfactual: (M, C, H, W) in [0, 1], or None for a method that only attributes.
        attribution: (M, 1, H, W) >= 0; None means the mean over channels of |difference|.
        stable: (M, C, H, W) in [0, 1], or None.
        residual: (M,) mean absolute error of the method's own picture of the image, or None.
        represented: (M,) bool, the residual is at most that of 9 in 10 validation images, or None.
        posterior_gap: (M,) how far the posterior of `source` is off on the method's own picture of the image, or None.
        requested: (M,) the posterior of `target` that the method searched for of itself, or None.
    """

    counterfactual: Tensor | None = None
    attribution: Tensor | None = None
    stable: Tensor | None = None
    residual: Tensor | None = None
    represented: Tensor | None = None
    posterior_gap: Tensor | None = None
    requested: Tensor | None = None


@dataclass(eq=False, kw_only=True)
class Explainer(ABC):
    """A method bound to a classifier; subclasses are final dataclasses whose fields are the hyperparameters.

    Args:
        classifier: the frozen model under explanation.

    Raises:
        TypeError: a bare module where a model or a classifier is held.
        ValueError: a part for other images, or a setting that is none of the words it can be.
        NotApplicable: the method needs a gradient and the classifier has none.
    """

    classifier: Classifier = field(kw_only=False)

    name: ClassVar[str]
    needs_gradient: ClassVar[bool] = True
    many_answers: ClassVar[bool] = False
    has_knob: ClassVar[bool] = False
    adjustable: ClassVar[tuple[str, ...]] = ()
    calibrated: ClassVar[tuple[str, ...]] = ()  # of `adjustable`, what a usual residual depends on

    def __post_init__(self) -> None:
        check_choices(self)
        check_bare(self)
        if self.needs_gradient and not self.classifier.has_gradient:
            raise NotApplicable(f"{self.name}: needs the classifier's gradient, which a black box does not have; "
                                f"use one that needs none: {WITHOUT_GRADIENT}")  # fmt: skip
        for name, part in self._parts().items():
            if isinstance(part, GenerativeModel):
                setattr(self, name, part.frozen(self.classifier.device))
            check_part(name, getattr(self, name), self.classifier)

    # ------------------------------------------------------------------ what a method writes

    @abstractmethod
    def answer(self, query: Query) -> Answer:
        """Answer every row; called without gradients, in evaluation mode, traces removed afterwards."""

    def frames(self, query: Query, count: int) -> Tensor:
        """Return (M, count, C, H, W) from what the method makes of the query to the counterfactual.

        The default cross-fades pixels; `path_kind` says so.
        """
        answer = self.answer(query)
        if answer.counterfactual is None:
            raise NotApplicable(f"path: {self.name} makes no counterfactual to walk to; use a method that does")
        start = query.image if answer.stable is None else answer.stable
        weight = torch.linspace(0, 1, count, device=start.device).view(1, -1, 1, 1, 1)
        return start[:, None] * (1 - weight) + answer.counterfactual[:, None] * weight

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end, for captions."""
        return "pixels cross-faded"

    @property
    def thin_posteriors(self) -> tuple[tuple[float, float], ...]:
        """Ranges of the last class's posterior in which a knob had too few training images to be relied on."""
        return ()

    # ------------------------------------------------------------------ what a user calls

    def explain(
        self, image: Tensor, target: Target = None, *, answers: int = 1, seed: int = 0,
        precision: Precision = "float32",
    ) -> Explanation:  # fmt: skip
        """Return what the images would have to look like for the classifier to decide `target`.

        Args:
            image: (N, C, H, W) float32 in [0, 1].
            target: class index or name for all, N of them, one an image, or None: the other class, or the runner-up.
            answers: how many counterfactuals an image.
            seed: of the method's noise; the same seed gives the same answer.
            precision: "bf16" runs the method's networks in bfloat16; posteriors stay float32.

        Returns:
            Explanation: N x answers rows, the answers to one image side by side.

        Raises:
            TypeError, ValueError: the image breaks the pixel contract, or the target or the precision is unknown.
            NotApplicable: several answers from a method that has one.
        """
        return self._explain(image, target, answers, seed, precision, None)

    def at(self, image: Tensor, posterior: float, *, of: int | str, seed: int = 0) -> Explanation:
        """Return the image as it would look if the classifier gave `posterior` to class `of`.

        Raises:
            NotApplicable: a method without a knob.
            ValueError: a posterior outside [0, 1].
        """
        if not self.has_knob:
            raise NotApplicable(f"at: {self.name} has no knob; use exaggeration, or path() to cross-fade")
        if not 0.0 <= posterior <= 1.0:
            raise ValueError(f"posterior: expected a probability in [0, 1], got {posterior:g}; pass e.g. 0.5")
        return self._explain(image, of, 1, seed, "float32", posterior)

    @torch.inference_mode(False)  # in which a search would have no gradient
    def path(self, image: Tensor, target: Target = None, *, frames: int = 10, seed: int = 0) -> Tensor:
        """Return (N, frames, C, H, W), from what the method makes of the query to the counterfactual.

        Raises:
            ValueError: fewer than 2 frames.
            NotApplicable: a method without a counterfactual.
        """
        if frames < 2:
            raise ValueError(f"frames: expected at least 2, got {frames}; a path has two ends")
        image, before = self._before(image)
        source = before.argmax(1)
        query = Query(image=image, source=source, target=self._target(target, before), answer=torch.zeros_like(source),
                      seed=seed, before=before)  # fmt: skip
        with self._no_trace("float32"):
            return self.frames(query, frames).float().clamp(0, 1)

    # ------------------------------------------------------------------ inside

    def _before(self, image: Tensor) -> tuple[Tensor, Tensor]:
        check_images(image, self.classifier.image_shape)
        image = image.detach().to(self.classifier.device)
        image = image.clone() if image.is_inference() else image
        with torch.no_grad():
            return image, self.classifier.posterior(image)

    def _target(self, target: Target, posterior: Tensor) -> Tensor:
        if target is None:  # the runner-up, which for two classes is the other one; a tie is not the source again
            return posterior.scatter(1, posterior.argmax(1, keepdim=True), -1).argmax(1)
        return self.classifier.indices(target, len(posterior))

    @torch.inference_mode(False)
    def _explain(
        self, image: Tensor, target: Target, answers: int, seed: int, precision: Precision, posterior: float | None
    ) -> Explanation:
        if precision not in get_args(Precision):
            raise ValueError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision!r}; leave it out")
        if answers < 1:
            raise ValueError(f"answers: expected at least 1, got {answers}; ask for one")
        if answers > 1 and not self.many_answers:
            raise NotApplicable(f"answers: {self.name} gives one answer an image, got {answers}; use a method with "
                                "noise (its many_answers is True)")  # fmt: skip
        image, before = self._before(image)
        source, goal = before.argmax(1), self._target(target, before)
        row = torch.arange(len(image), device=image.device).repeat_interleave(answers)
        which = torch.arange(answers, device=image.device).repeat(len(image))
        requested = None if posterior is None else torch.full((len(row),), posterior, device=image.device)
        query = Query(image=image[row], source=source[row], target=goal[row], answer=which, seed=seed,
                      posterior=requested, before=before[row])  # fmt: skip
        with self._no_trace(precision):
            answer = self.answer(query)
        counterfactual = None if answer.counterfactual is None else as_saved(answer.counterfactual)
        stable = None if answer.stable is None else as_saved(answer.stable)
        difference, attribution = None, answer.attribution
        if counterfactual is not None and answer.counterfactual is not None:
            difference = counterfactual - (query.image if stable is None else stable)
            if attribution is None:  # before rounding to 8 bits, which would add ties
                start = query.image if answer.stable is None else answer.stable.float()
                attribution = (answer.counterfactual.float() - start).abs().mean(1, keepdim=True)
        if attribution is None:
            raise TypeError(f"{self.name}.answer: expected a counterfactual or an attribution, got neither")
        with torch.no_grad():
            after = before[row] if counterfactual is None else self.classifier.posterior(counterfactual)
        valid = _as_asked(after, query) & (counterfactual is not None)
        return Explanation(
            method=self.name, classes=self.classifier.classes, image=query.image, source=query.source,
            target=query.target, counterfactual=counterfactual, stable=stable, attribution=attribution.float(),
            difference=difference, query=row, posterior_before=before[row], posterior_after=after,
            requested=requested if answer.requested is None else answer.requested,
            residual=None if answer.residual is None else answer.residual.float(),
            posterior_gap=None if answer.posterior_gap is None else answer.posterior_gap.float(), valid=valid, asked=query.asked,
            precision=precision, fingerprint=self._fingerprint(), represented=answer.represented,
        )  # fmt: skip

    def _fingerprint(self) -> str:
        cached: str | None = getattr(self, "_classifier_fingerprint", None)
        if cached is None:
            cached = self._classifier_fingerprint = self.classifier.fingerprint
        return cached

    def _parts(self) -> dict[str, GenerativeModel | Classifier]:
        """The models and classifiers that the method holds beside the one it explains, by the name of their field."""
        named = [f.name for f in dataclasses.fields(self) if f.init and not f.kw_only and f.name != "classifier"]
        return {name: part for name in named if isinstance(part := getattr(self, name), (GenerativeModel, Classifier))}

    def _modules(self) -> list[nn.Module]:
        parts = [part.modules() if isinstance(part, GenerativeModel) else [part.module] for part in self._parts().values()]
        return [self.classifier.module, *(module for modules in parts for module in modules)]

    @contextlib.contextmanager
    def _no_trace(self, precision: Precision) -> Iterator[None]:
        """Evaluation mode, no gradients, and afterwards modes, hooks' `.grad` and random state as found."""
        modes = [(module, module.training) for root in self._modules() for module in root.modules()]
        device = self.classifier.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            for module, _ in modes:
                module.training = False
            try:
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    yield
            finally:
                for module, mode in modes:
                    module.training = mode

    def describe(self) -> dict[str, Any]:
        """Return method, hyperparameters and the classifier's fingerprint, as JSON can hold them."""
        described = {"method": self.name, "hyperparameters": settings_as_json(self), "classifier": self._fingerprint()}
        return described | {name: part.fingerprint for name, part in self._parts().items()}


def _as_asked(posterior: Tensor, query: Query) -> Tensor:
    """Return (M,) bool, whether the target is decided, or of a posterior that was asked for the right side of one half."""
    if query.posterior is None:
        return posterior.argmax(1) == query.target
    return (posterior.gather(1, query.target[:, None]).squeeze(1) - 0.5) * (query.posterior - 0.5) >= 0


@dataclass(eq=False, kw_only=True)
class LearnedExplainer(Explainer, Trainable):
    """An explainer whose networks `fit` trains; they are held, not inherited, so that the classifier is not saved."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    networks: nn.ModuleDict = field(init=False, repr=False)

    @classmethod
    def preset_settings(cls, name: str) -> dict[str, Any]:
        """Return the hyperparameters of a preset, the paper's for this or another problem.

        Raises:
            ValueError: an unknown name.
        """
        if name not in cls.presets:
            raise ValueError(f"preset: expected one of {', '.join(cls.presets) or 'none'} for {cls.name}, got {name!r}; leave "
                             "it out for the defaults")  # fmt: skip
        return dict(cls.presets[name])

    @property
    def device(self) -> torch.device:
        """Where it trains: where the classifier is."""
        return self.classifier.device

    def _modules(self) -> list[nn.Module]:
        return [*super()._modules(), self.networks]

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 over the rows that are asked; lower is better.

        Raises:
            ValueError: no image is asked.
            NotApplicable: the method makes no counterfactual.
        """
        valid, distance, count = 0.0, 0.0, 0
        several = self.many_answers  # the images of one call share their noise: then few images a call, each its own
        for call, batch in enumerate(data.batches(16 if several else 256, self.classifier.device)):
            answer = self.explain(batch.image, seed=call if several else 0)
            rows = answer.select(answer.asked)
            if rows.counterfactual is None:
                raise NotApplicable(f"{self.name}: makes no counterfactual, so it needs a validate of its own")
            valid += float(rows.valid.sum())
            distance += float(l1_each(rows.counterfactual, rows.image).sum())
            count += len(rows)
        if count == 0:
            raise ValueError(f"validation: expected images that {self.name} can be asked about, got none among {len(data)}; "
                             "pass images of the classes that it was made for")  # fmt: skip
        return 1 - valid / count + distance / count

    def pictures(self, data: Dataset) -> Tensor | None:
        """Return 8 columns of image, stable, counterfactual and map as one picture, for the run folder."""
        labels = data.labels()
        order = torch.arange(len(data)) if labels is None else labels.argsort(stable=True)
        rows = order[torch.linspace(0, len(order) - 1, min(8, len(order))).long()]
        answer = self.explain(data[rows].image.to(self.classifier.device))
        channels = answer.image.shape[1]
        attribution = answer.attribution / answer.attribution.flatten(1).amax(1).clamp_min(1e-8).view(-1, 1, 1, 1)
        lines = [answer.image, answer.stable, answer.counterfactual, attribution.expand(-1, channels, -1, -1)]
        shown = [line for line in lines if line is not None]
        return torch.cat([torch.cat(list(line), 2) for line in shown], 1)

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, *parts: GenerativeModel | Classifier) -> Self:
        """Read a trained explainer from `save`, or the best weights from a run folder of `fit`.

        Args:
            folder: the folder, or the run folder that holds `best/`.
            classifier: the classifier it was trained for.
            parts: what else it was made with, in the same order, e.g. the generative model.

        Raises:
            FileNotFoundError: nothing there.
            ValueError: of another method, or trained for another classifier or with other parts.
        """
        folder, settings = saved(folder)
        if settings["method"] != cls.name:
            raise ValueError(f"{folder}: holds {settings['method']!r}, expected {cls.name!r}; load it with its own "
                             "class, or with obverse.load(folder)")  # fmt: skip
        names = [f.name for f in dataclasses.fields(cls) if f.init and not f.kw_only]
        given = dict(zip(names, (classifier, *parts)))
        for name in names:
            expected, got = settings.get(name), getattr(given.get(name), "fingerprint", None)
            if expected != got:
                raise ValueError(f"{folder}: was trained for another {name} (fingerprint {str(expected)[:12]}, got "
                                 f"{str(got)[:12]}); pass that {name}, or fit the explainer again")  # fmt: skip
        explainer = cls(classifier, *parts, **restore(cls, settings["hyperparameters"]))
        explainer.networks.load_state_dict(load_tensors(folder / "networks.safetensors"))
        explainer.networks.to(classifier.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return explainer
