"""C3LT (Khorram and Li, "Cycle-Consistent Counterfactuals by Latent Transformations").

A generative model, a classifier and an encoder stay as they are; for each pair of classes two small networks g and h learn to
walk through the latent space, one in each direction. Equation numbers are the main paper's. `C3LT.published` has the weights of
the paper's supplement, and scales and schedule of the authors' released code.

Deviations:
- Both directions of all pairs are one move, averaged, as released. Distances of pixels are doubled: the paper's lie in [-1, 1].
- The mask of eq. 5 is the squared change, scaled to [0, 1] in each image, as released, where it is printed as the
  absolute change. Where nothing changes it is 0 (released: 0 / 0).
- Eq. 4 is the mean of max(0, margin - log-odds of the target) unless `margin` is 0, and lets go where an answer is decided as
  surely as the median image of the target's class: a cross entropy lets the hardest images go undecided for the sake of the
  others' proximity, and wants of all more than the classifier makes of images.
- `population` holds the counterfactuals of a class together to its images, as a set: the unconditional critic of eq. 7 cannot
  tell whether a 9 is one that is written. It compares pictures: walks can end among the latents of a class in pictures that
  are not. The more it weighs, the more the answers change and look like their class. Beside it the cycle needs far more than 0.1.
- Proximity and cycle weigh far more, the class term twice as much, the mask far less; walks are wider; the rate falls less.
- The image's own pixels stay where the walk does not change the model's picture (`own_pixels`, see `latent.pixels`), in
  training too: what the model cannot draw is no change. Published: the model's picture alone.
- Eq. 7 is minimised in its usual form, -log D, as released; log(1 - D), as printed, has no gradient where D is sure.
- Domains are what the classifier decides, on images and on samples; the paper takes images by label (domains="label").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.known import Known
from obverse.latent.inversion import Inversion, located
from obverse.latent.perception import Perception
from obverse.latent.pixels import changed
from obverse.latent.refinement import refine
from obverse.latent.rejection import draw
from obverse.losses import changes, energy_distance, margin_loss, mask_entropy, mask_smoothness, own_odds, real_loss
from obverse.modules import networks_from
from obverse.networks.walk import Step as Kind
from obverse.networks.walk import Walk, along, walked
from obverse.settings import check_least, check_positive, check_share
from obverse.training import Moves
from obverse.translation.domains import Domains
from obverse.translation.pairs import PairExplainer

SCALE = 2.0
"""The paper's pixels lie in [-1, 1]."""


@dataclass(eq=False, kw_only=True)
class C3LT(PairExplainer):
    """Counterfactual G(g^n(E(x))), g and h trained together with a cycle h^n(g^n(z)) = z (eqs 1 to 7, 11).

    `fit(explainer, data)` trains on images and needs a model with an encoder; `fit(explainer, None)` trains on samples of
    the model alone. The residual is the mean absolute distance of G(E(x)) to the image. If `own_pixels` is 0, that is the stable
    image, it bounds how well the counterfactual can keep to the image, and its posterior gap is told. See `PairExplainer` too.

    Args:
        model: the generator with encoder and critic, of the classifier's images.
        perception: whose layers the cycle compares images by; None is the classifier under explanation.
        steps: n, of a walk.
        step: a norm-keeping residual step as released, or the plain map as printed.
        hidden: numbers between the two layers of a step; None is the latent's size.
        classification: weight of the target's class (eq. 4); 0 leaves out this term, and any other.
        margin: log-odds of the target at which eq. 4 lets go; None is the median of those of the target's images in the batch,
            at least 1; 0 is the cross entropy, as printed.
        proximity: weight of the distance to the image (eq. 5).
        cycle: weight of the way back (eq. 6).
        adversarial: weight of the critic's opinion (eq. 7).
        population: weight of the energy distance between counterfactuals and images of the target's class; it needs at least
            two images of each class in a batch.
        smoothness: of the change, against a weight of 1 for its L1 norm in eq. 5.
        entropy: of the change, likewise.
        own_pixels: change of the model's picture, in [0, 1], from which on a pixel of the answer is the model's alone, and below
            which it is in proportion the image's own; 0 is the model's picture, as published.
        layers: of the perception; None takes the last convolution at each size of feature map (see `Perception`). Where the
            classifier under explanation has none, the cycle compares images and latents only.
        learning_rate: Adam's.
        halvings: of the learning rate, at equal distances over the run.
        least_acceptance: on samples alone, the share of samples of a class below which training gives up.
        inversion_steps: of a search for each image's latent, which starts from the encoder's; None is 0 with an encoder and
            200 without.
        inversion_restarts: searches an image, the further ones from noise.
        refine_steps: at most so many steps of a search from each answer until the target is decided with `confidence`.
        confidence: posterior of the target that the search wants.
        refine_rate: Adam's, in the latent space.
        seed: of the initial weights.

    Raises:
        NotApplicable: an adversarial term with a model that has no critic, or a perception without a gradient.
        ValueError: impossible numbers, unknown classes or layers, a perception in which no layer is found, or a model of
            other images.
    """

    name: ClassVar[str] = "c3lt"
    from_samples: ClassVar[bool] = True
    adjustable: ClassVar[tuple[str, ...]] = (
        "own_pixels", "refine_steps", "confidence", "refine_rate", "inversion_steps", "inversion_restarts",
    )  # fmt: skip
    calibrated: ClassVar[tuple[str, ...]] = ("inversion_steps", "inversion_restarts")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {
            "hidden": None, "classification": 1.0, "margin": 0.0, "proximity": 0.1, "cycle": 0.1, "population": 0.0,
            "smoothness": 10.0, "entropy": 1.0, "own_pixels": 0.0, "learning_rate": 1e-3, "halvings": 7,
        },
        "closer": {"population": 25.0},
    }  # fmt: skip

    model: GenerativeModel = field(kw_only=False)
    perception: Classifier | None = field(default=None, kw_only=False)
    steps: int = 1
    step: Kind = "residual"
    hidden: int | None = 512
    classification: float = 2.0
    margin: float | None = None
    proximity: float = 30.0
    cycle: float = 5.0
    adversarial: float = 0.001
    population: float = 50.0
    smoothness: float = 0.5
    entropy: float = 0.1
    own_pixels: float = 0.3
    layers: tuple[str, ...] | None = None
    learning_rate: float = 2e-3
    halvings: int = 3
    least_acceptance: float = 0.01
    inversion_steps: int | None = None
    inversion_restarts: int = 1
    refine_steps: int = 0
    confidence: float = 0.9
    refine_rate: float = 0.05
    seed: int = 0

    @classmethod
    def published(
        cls, classifier: Classifier, model: GenerativeModel, perception: Classifier | None = None, *,
        pairs: tuple[tuple[str, str], ...] = (), domains: Domains = "decision", adversarial: float = 0.001,
    ) -> Self:  # fmt: skip
        """Return C3LT with the weights of the supplement, and masks, walks and schedule as released."""
        return cls(classifier, model, perception, pairs=pairs, domains=domains, adversarial=adversarial,
                   **cls.presets["published"])  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()
        self._sees = Perception(self.perception or self.classifier, self.layers if self.cycle else ())
        if self.perception is not None and self.cycle and self.layers is None and not self._sees.layers:
            raise ValueError("layers: expected a perception with convolutions, got "
                             f"{type(self.perception.module).__name__}, which has none that runs; name layers of it")  # fmt: skip
        if self.cycle:
            self.layers = self._sees.layers
        self.networks = networks_from(lambda: {
            "walks": nn.ModuleList(
                Walk(self.model.latent_size, steps=self.steps, step=self.step, hidden=self.hidden) for _ in self.ways
            ),
            "known": Known({"drawn": len(self.used), "accepted": len(self.used)}),
        }, seed=self.seed, device=self.device)  # fmt: skip

    # ------------------------------------------------------------------ training

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for all walks; what an earlier fit remembered is forgotten."""
        self._known.forget()
        for name in ("drawn", "accepted"):
            self._known.get_buffer(name).zero_()
        return {"walks": Adam(self.networks.parameters(), self.learning_rate)}

    def rate(self, step: Step) -> float:
        """Return 1, halved `halvings` times at equal distances."""
        return float(0.5 ** (step.index * (self.halvings + 1) // step.total))

    def groups(self, data: Dataset) -> Tensor:
        """Return the classes that are decided, see `PairExplainer`.

        Raises:
            NotApplicable: the model has no encoder.
        """
        if not self.model.has_encoder:
            raise NotApplicable(f"data: {self.model.name} has no encoder to train on images with; pass data=None, which "
                                "trains on samples, or a model with an encoder")  # fmt: skip
        return super().groups(data)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the one move: eq. 3 for every direction (eq. 2), with the weights of eq. 11."""
        image, latent = self._queries(batch, step)
        walks = self._walks
        of_class = dict(zip(self.used, zip(image.chunk(len(self.used)), latent.chunk(len(self.used)))))
        x, z = (torch.cat([of_class[source][part] for source, _ in self.ways]) for part in (0, 1))
        ended = torch.cat([walk(rows) for walk, rows in zip(walks, z.chunk(len(walks)))])  # z'_x = g^n(z_x), eq. 3
        losses, back = dict[str, Tensor](), torch.empty(0)
        if self.cycle or self.adversarial:
            order = [index ^ 1 for index in range(len(walks))]  # a pair's directions are neighbours
            back = torch.cat([walks[other](rows) for other, rows in zip(order, ended.chunk(len(walks)))])  # h^n(g^n(z_x))
            made, cycled = self.model.decode(torch.cat([ended, back])).chunk(2)
        else:
            made = cycled = self.model.decode(ended)
        if self.own_pixels:
            with torch.no_grad():
                start = self.model.decode(z) if len(batch) else x  # a sample is the model's picture already
            made = changed(x, start, made, self.own_pixels)
        goals = [of_class[target][0] for _, target in self.ways]
        if self.classification:
            losses["classification"] = self.classification * self.class_term(self.classifier.logits(made), goals)
        if self.proximity:
            losses["proximity"] = self.proximity * self.proximity_loss(x, made)
        if self.population:
            losses["population"] = self.population * self.population_loss(made, goals)
        if self.cycle:
            losses["cycle"] = self.cycle * self.cycle_loss(x, cycled, z, back)
        if self.adversarial:
            opinion = self.model.criticise(torch.cat([cycled, made])).chunk(2)
            losses["adversarial"] = self.adversarial * (real_loss(opinion[0]) + real_loss(opinion[1]))  # eq. 7
        yield "walks", losses

    def class_term(self, logits: Tensor, images: list[Tensor]) -> Tensor:
        """Return eq. 4 of each direction's counterfactuals, up to the margin; `images` are its target's."""
        target = torch.tensor([target for _, target in self.ways], device=logits.device).repeat_interleave(len(images[0]))
        with torch.no_grad():
            margin = own_odds(self.classifier.logits(torch.cat(images)), target) if self.margin is None else self.margin
        return margin_loss(logits, target, margin)

    def proximity_loss(self, image: Tensor, made: Tensor) -> Tensor:
        """Return eq. 5, as a weighted mean of its three terms."""
        mask = changes(image, made)
        total = SCALE * (made - image).abs().mean()  # eq. 5, ||x - x'||_1
        total = total + self.entropy * mask_entropy(mask) + self.smoothness * mask_smoothness(mask)  # eq. 5
        return total / (1 + self.entropy + self.smoothness)

    def population_loss(self, made: Tensor, images: list[Tensor]) -> Tensor:
        """Return the energy distance of each direction's counterfactuals to the images of its target's class, their mean."""
        if len(images[0]) < 2:
            raise ValueError("batch_size: expected at least 2 images of each class for the population, got 1; pass population=0")
        pairs = zip(made.chunk(len(images)), images)
        return torch.stack([energy_distance(one, other) for one, other in pairs]).mean()

    def cycle_loss(self, image: Tensor, cycled: Tensor, latent: Tensor, back: Tensor) -> Tensor:
        """Return eq. 6: the mean over layers and the image itself, and the latent."""
        distances = self._sees.distances(cycled, image)  # eq. 6, the sum over layers
        distances.append(SCALE * (cycled - image).abs().mean())  # eq. 6, ||x_cyc - x||_1
        return torch.stack(distances).mean() + (latent - back).abs().mean()  # eq. 6, ||z_x - z_cyc||_1

    @property
    def acceptance(self) -> dict[str, float]:
        """Share of samples that were decided as each class in training without images; empty after one with images."""
        pairs = zip(self.used, self._known.get_buffer("accepted").tolist(), self._known.get_buffer("drawn").tolist())
        return {self.classifier.classes[k]: accepted / drawn for k, accepted, drawn in pairs if drawn}

    # ------------------------------------------------------------------ answers

    def answer(self, query: Query) -> Answer:
        """Return x' = G(g^n(z_x)), z_x = E(x) or found (section 3.3); stable is G(z_x), or none where own pixels stay."""
        way, start, places = self._places(query)
        made = changed(query.image, start.image, self.model.decode(places[:, -1]), self.own_pixels)
        stays = (way < 0).view(-1, 1, 1, 1)  # asked for what is decided already: the image stays
        return Answer(
            counterfactual=torch.where(stays, query.image, made),
            stable=None if self.own_pixels else torch.where(stays, query.image, start.image),
            residual=start.residual,
            represented=self._known.represented(start.residual),
            posterior_gap=start.posterior_gap,
            requested=torch.full_like(start.residual, self.confidence) if self.refine_steps else None,
        )

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 over the images of a pair, unrefined; 256 of them where latents are searched for."""
        data = self.of_pairs(data)
        if self._searched:
            data = data.subset(torch.linspace(0, len(data) - 1, min(256, len(data))).long())
        if not bool(self._known.limit.isfinite()):  # the first time in a fit: the residual that one in ten exceeds
            self._known.calibrate(torch.cat([self._start(b.image, 0).residual for b in data.batches(256, self.device)]))
        steps, self.refine_steps = self.refine_steps, 0  # what a search puts right is no merit of the walk
        try:
            return LearnedExplainer.validate(self, data)
        finally:
            self.refine_steps = steps

    def frames(self, query: Query, count: int) -> Tensor:
        """Return the walk from G(z_x), or the image where its own pixels stay, to x'.

        With n + 1 frames these are the start and the n steps, with others straight lines between; refining is a step more.
        """
        way, start, places = self._places(query)
        made = self.model.decode(along(places, count, keep_norm=self.step == "residual").flatten(0, 1))
        image, own = (part.repeat_interleave(count, 0) for part in (query.image, start.image))
        shown = changed(image, own, made, self.own_pixels).view(len(places), count, *query.image.shape[1:])
        return torch.where((way < 0).view(-1, 1, 1, 1, 1), query.image[:, None], shown)

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end."""
        return f"a walk of {self.steps} step{'s' if self.steps > 1 else ''} through the latent space of {self.model.name}"

    def walk(self, latent: Tensor, source: int | str, target: int | str) -> Tensor:
        """Return (N, n + 1, D), the start and the n steps from known latents of made images that are decided `source`.

        Raises:
            ValueError: no pair holds these two classes, or latents of another size.
        """
        if latent.ndim != 2 or latent.shape[1] != self.model.latent_size:
            raise ValueError(f"latent: expected (N, {self.model.latent_size}) for {self.model.name}, got "
                             f"{tuple(latent.shape)}; pass latents of the same model")  # fmt: skip
        with torch.no_grad():
            return self._walks[self.way_of(source, target)].path(latent.to(self.device, torch.float32))

    def round_trip(self, data: Dataset) -> dict[str, float]:
        """Return for each direction with images how far h^n(g^n(z)) is from z, as a share of how far g^n(z) is."""
        apart, moved = [0.0] * len(self.ways), [0.0] * len(self.ways)
        with torch.no_grad():
            for batch in data.batches(256, self.device):
                decided = self.classifier.decide(batch.image)
                latent = self._start(batch.image, 0).latent
                for index, (source, _) in enumerate(self.ways):
                    start = latent[decided == source]
                    end = self._walks[index](start)
                    moved[index] += float((end - start).abs().sum())
                    apart[index] += float((self._walks[index ^ 1](end) - start).abs().sum())
        names = [" -> ".join(self.classifier.classes[k] for k in way) for way in self.ways]
        return {name: a / m for name, a, m in zip(names, apart, moved) if m > 0}

    # ------------------------------------------------------------------ inside

    @property
    def _walks(self) -> list[Walk]:
        return list(cast("nn.ModuleList", self.networks["walks"]))  # type: ignore[arg-type]

    @property
    def _known(self) -> Known:
        return cast("Known", self.networks["known"])

    @property
    def _searched(self) -> int:
        """Steps of the search for each image's latent."""
        return (0 if self.model.has_encoder else 200) if self.inversion_steps is None else self.inversion_steps

    def _queries(self, batch: Sample, step: Step) -> tuple[Tensor, Tensor]:
        """Return images and their latents, equal numbers of each class in use, the classes side by side."""
        if len(batch):
            with torch.no_grad():
                return batch.image, self.model.encode(batch.image)  # z_x = E(x), eq. 3
        count = len(self.used)
        if step.rows < count:
            raise ValueError(f"batch_size: expected at least one sample of each of {count} classes (for each process), got "
                             f"{step.rows * step.world}; pass e.g. {count * 32}")  # fmt: skip

        def normal(rows: int) -> Tensor:
            return step.normal(torch.empty(rows, self.model.normal_size))

        before = tuple(self._known.get_buffer(name) for name in ("drawn", "accepted"))
        drawn = draw(self.model, self.classifier, self.used, step.rows // count, normal, least=self.least_acceptance,
                     before=(before[0].tolist(), before[1].tolist()))  # fmt: skip
        for total, more in zip(before, (drawn.drawn, drawn.accepted)):
            total.add_(more.to(self.device))
        return drawn.image, drawn.latent

    def _refined(self, query: Query, way: Tensor, latent: Tensor, start: Tensor) -> Tensor:
        rows = (way >= 0).nonzero().flatten()
        image, stable = query.image[rows], start[rows]
        found = refine(
            self.model, self.classifier, latent[rows], image, query.target[rows], posterior=self.confidence,
            steps=self.refine_steps, rate=self.refine_rate,
            shown=lambda made, these: changed(image[these], stable[these], made, self.own_pixels),
        )  # fmt: skip
        return latent.index_copy(0, rows, found.value)

    def _places(self, query: Query) -> tuple[Tensor, Inversion, Tensor]:
        """Return the ways (M,), the start, and (M, P, D): z_x, the n steps and, if answers are refined, where that ends."""
        way, start = self.way(query), self._start(query.image, query.seed, query.before)
        places = walked(self._walks, way, start.latent)
        if self.refine_steps:
            places = torch.cat([places, self._refined(query, way, places[:, -1], start.image)[:, None]], 1)
        return way, start, places

    def _start(self, image: Tensor, seed: int, before: Tensor | None = None) -> Inversion:
        return located(self.model, image, self.classifier, steps=self._searched, restarts=self.inversion_restarts, seed=seed,
                       before=before, gap=not self.own_pixels)  # fmt: skip

    def _check(self) -> None:
        weights = ("classification", "proximity", "cycle", "adversarial", "population")
        check_least(self, 0, *weights, "margin", "smoothness", "entropy", "halvings", "own_pixels", "refine_steps")
        check_least(self, 1, "steps", "hidden", "inversion_restarts")
        check_least(self, 0 if self.model.has_encoder else 1, "inversion_steps")
        check_positive(self, "learning_rate", "refine_rate")
        check_share(self, "least_acceptance", "confidence")
        if self.inversion_restarts > 1 and not self._searched:
            raise ValueError(f"inversion_restarts: expected 1 for c3lt without a search, got {self.inversion_restarts}; pass "
                             "inversion_steps too")  # fmt: skip
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"{', '.join(weights)}: expected one weight above 0 for c3lt, got none; leave them out")
        if self.adversarial and not self.model.has_critic:
            raise NotApplicable(f"model: {self.model.name} has no critic for the adversarial term; pass adversarial=0, or a "
                                "model that has one")  # fmt: skip
