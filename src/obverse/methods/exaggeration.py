"""Progressive Exaggeration (Singla et al., "Explanation by Progressive Exaggeration").

The posterior of the second class is cut into bins, and one generator makes an image over again for any of them: a knob.
Equation numbers are the paper's.

Deviations:
- A bin's target is its centre, so that the end bins can be reached; the released code takes the lower edge (`target`).
- The gradient of the class term reaches the image through the frozen classifier; in the released code it is cut off, so
  that the term trains nothing.
- Bins with few images (a good classifier leaves hardly any undecided) are trained by class term and reconstructions
  alone: the critic's ordinal term is left out for a real image and for what is made of it together, where either's bin is
  such a one, so that silence says nothing of what is real. So that this differs from the
  lowest bin, whose term in eq. 4 is 0, half the sum of all v_i is counted to realism: the two end bins have opposite
  terms, and none lies in the middle between them.
- Between two bins their gains and offsets are mixed, so that the knob turns without steps.
- The weights of the L1 terms belong to pixels in [-1, 1], which is where the distances are taken and what the critic sees.
- With `search` the knob is turned until the classifier gives the posterior that was asked for, as nearly as it can.
- One forward pass makes the fakes of a step for critic and generator, and one critic's move goes with one generator's
  (released: five).
- The class term of the image there and back, which only the released code has, is an option and off (`cycle_divergence`).
- Of the released code's choices the shared vectors of all thresholds, the encoder that is told the bin, and a selection of
  images by their true labels, which recalibrates the classifier, are not offered.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.explanation import as_saved
from obverse.known import Known
from obverse.latent.inversion import posterior_gap
from obverse.losses import divergence_each, l1_each
from obverse.modules import networks_from
from obverse.networks.blocks import in_parts
from obverse.networks.conditional import ConditionalGenerator, halvings
from obverse.networks.critics_projection import ProjectionCritic, thermometer
from obverse.settings import check_least, check_positive
from obverse.training import Moves
from obverse.translation.domains import check_known


def bernoulli_divergence(probability: Tensor, logits: Tensor) -> Tensor:
    """Return the mean of KL(p || q) between (N,) probabilities of the second class and (N, 2) logits; section 2.2."""
    return divergence_each(torch.stack([1 - probability, probability], 1).float(), logits).mean()


def even_shares(counts: Tensor, most: float) -> Tensor:
    """Return the share of a batch that each bin gets: equal shares, as far as no image comes too often.

    Args:
        counts: (B,) images in each bin.
        most: how many times as often as in the plain data an image may be drawn, at least 1.

    Returns:
        Tensor: (B,) float64, sums to 1; 0 for empty bins.
    """
    highest = most * counts.double() / counts.sum()
    shares, free = torch.zeros_like(highest), counts > 0
    while bool(free.any()):
        even = (1 - shares.sum()) / free.sum()
        full = free & (highest < even)
        if not bool(full.any()):
            shares[free] = even
            break
        shares[full], free = highest[full], free & ~full  # what they cannot take goes to the others
    return shares


@dataclass(eq=False, kw_only=True)
class Exaggeration(LearnedExplainer):
    """Progressive Exaggeration: the image as it would be for any posterior, eq. 2; its map is what changes end to end.

    Both ends and all between come from `at` and `path`; towards the class that is decided already, the image is
    exaggerated beyond what it is.

    Args:
        bins: of the posterior of the second class, the published 10.
        adversarial: lambda_cGAN, eqs 7 and 8.
        divergence: lambda_f of the class term, section 2.2.
        reconstruction: lambda_rec of the image for its own bin, eq. 5.
        cycle: lambda_cyc of the image there and back, eq. 6.
        cycle_divergence: weight of the class term of the image there and back (the released code has one, the paper none).
        latent: weight of the squared distance of the embeddings of image and answer, which the released code has
            instead of eq. 5.
        target: what a bin asks for, its centre or its lower edge.
        thin: a bin with fewer training images is thin.
        most: how many times as often as in the plain data an image may be drawn to balance the bins.
        search: halvings of the knob's range, one forward pass each, to come nearer to the posterior that is asked for;
            0 trusts the bins, as published.
        beyond: bins that the search may go further than the end ones, along the line through the last two; answers and paths
            then end there where an end bin falls short.
        generator_every: critic's moves to one of the generator; the released code has 5, for twenty times as long a run.
        generator_rate, critic_rate: Adam's learning rates; the released code has 2e-4.
        momentum: Adam's betas, of both players.
        decay: share of the run, at its end, over which the rates fall linearly to a tenth (the paper has none).
        width, critic_width: channels at full resolution; the published 64 is for a GPU.
        depth: halvings between image and embedding; 0 takes as many as leave about 4 pixels.
        augment: random geometry of the training images; bins are decided anew on the augmented batch.
        seed: of the initial weights.
    """

    name: ClassVar[str] = "exaggeration"
    has_knob: ClassVar[bool] = True
    adjustable: ClassVar[tuple[str, ...]] = ("search", "beyond")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"calibrated": {"divergence": 10.0, "search": 6}}

    bins: int = 10
    adversarial: float = 1.0
    divergence: float = 1.0
    reconstruction: float = 100.0
    cycle: float = 100.0
    cycle_divergence: float = 0.0
    latent: float = 0.0
    target: Literal["centre", "lower edge"] = "centre"
    thin: int = 100
    most: float = 50.0
    search: int = 0
    beyond: float = 0.0
    generator_every: int = 1
    generator_rate: float = 4e-4
    critic_rate: float = 4e-4
    momentum: tuple[float, float] = (0.0, 0.9)
    decay: float = 0.3
    width: int = 16
    critic_width: int = 16
    depth: int = 0
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        classes, shape = self.classifier.classes, self.classifier.image_shape
        if len(classes) != 2:
            raise ValueError(f"classifier: {self.name} explains a choice between 2 classes, got {len(classes)} "
                             f"({', '.join(classes)}); take a view, classifier.against_rest({classes[0]!r})")  # fmt: skip
        check_least(self, 2, "bins")
        check_least(self, 1, "most", "generator_every", "width", "critic_width")
        weights = ("adversarial", "divergence", "reconstruction", "cycle", "cycle_divergence", "latent")
        check_least(self, 0, *weights, "search", "beyond", "thin", "decay", "depth")
        check_positive(self, "generator_rate", "critic_rate")
        depth = self.depth or halvings(shape)
        self.networks = networks_from(lambda: {
            "generator": ConditionalGenerator(shape, bins=self.bins, width=self.width, depth=depth),
            "critic": ProjectionCritic(shape, bins=self.bins, width=self.critic_width, depth=depth),
            "known": Known({"counts": self.bins}),
        }, seed=self.seed, device=self.device)  # fmt: skip

    # ------------------------------------------------------------------ training

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for encoder and generator and one for the critic; the limit of an earlier fit is forgotten."""
        self._known.forget()
        rates = {"generator": self.generator_rate, "critic": self.critic_rate}
        return {name: Adam(self.networks[name].parameters(), rate, self.momentum) for name, rate in rates.items()}

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        return step.falling(self.decay)

    def weights(self, data: Dataset) -> Tensor:
        """Return how often each image is drawn, so that bins come equally often; remember how many each has.

        Warns:
            UserWarning: names the thin bins.

        Raises:
            ValueError: fewer than two bins with enough images, images of more classes than the classifier's two, or posteriors
                that are not finite.
        """
        check_known(data, self.classifier, self.name)
        posterior = self.classifier.posteriors(data)
        if not bool(posterior.isfinite().all()):
            raise ValueError(f"data: the classifier's posteriors of {int((~posterior.isfinite()).any(1).sum())} of {len(data)} "
                             "images are not finite; check its weights, or leave these images out")  # fmt: skip
        which = self._bin(posterior)
        counts = torch.bincount(which, minlength=self.bins)
        self._counts.copy_(counts)
        few = {name: count for name, count in self._named().items() if count < self.thin}
        said = ", ".join(f"{name}: {count}" for name, count in few.items())
        if self.bins - len(few) < 2:
            raise ValueError(f"data: {self.name} needs two bins of the posterior with {self.thin} images each, got "
                             f"{self.bins - len(few)} (with fewer are {said}); pass images of both decisions, or set "
                             "fewer bins or a lower thin")  # fmt: skip
        if few:
            warnings.warn(f"{self.name}: fewer than {self.thin} of {len(data)} images have these posteriors of "
                          f"{self.classifier.classes[1]!r}: {said}; there the critic does not judge the class, and the "
                          "answers rest on the classifier alone", stacklevel=4)  # fmt: skip
        return (even_shares(counts, self.most) / counts.clamp_min(1))[which]

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the critic's move, and at every `generator_every`th step the generator's, on the same images."""
        generator = self._generator
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        before = self.classifier.posterior(image)
        own = self._bin(before)
        asked = (step.uniform(image[:, 0, 0, 0]) * self.bins).long()
        moves = step.index % self.generator_every == 0
        with torch.set_grad_enabled(moves):
            latent = generator.encode(image)
            made = generator.decode(torch.cat([latent, latent]), torch.cat([asked, own]))
        fake, same = made.chunk(2)
        # both say nothing of their bins where one of them does not: else the code itself would tell them apart
        codes = [self._code(own) * self._enough(asked)[:, None], self._code(asked) * self._enough(own)[:, None]]
        logits = self._judged(torch.cat([image, fake.detach()]), torch.cat(codes))
        losses = {
            "real": self.adversarial * F.relu(1 - logits[: len(own)]).mean(),  # eq. 7
            "fake": self.adversarial * F.relu(1 + logits[len(own) :]).mean(),  # eq. 7
        }
        yield "critic", losses
        if not moves:
            return
        back = generator.encode(fake)
        cycled = generator.decode(back, own)
        away = bernoulli_divergence(self._probability(asked), self.classifier.logits(fake))
        losses = {
            "adversarial": -self.adversarial * self._judged(fake, codes[1]).mean(),  # eq. 8
            "divergence": self.divergence * away,  # section 2.2
            "reconstruction": self.reconstruction * 2 * (same - image).abs().mean(),  # eq. 5
            "cycle": self.cycle * 2 * (cycled - image).abs().mean(),  # eq. 6
        }
        if self.cycle_divergence:
            kept = bernoulli_divergence(before[:, 1], self.classifier.logits(cycled))
            losses["cycle_divergence"] = self.cycle_divergence * kept
        if self.latent:
            losses["latent"] = self.latent * (back - latent).float().square().mean()
        yield "generator", losses  # eq. 9

    @torch.no_grad()
    def validate(self, data: Dataset) -> float:
        """Return the error of the knob + mean L1 of the reconstruction + the share without two valid ends; 256 images.

        The residual that 9 in 10 of them keep is remembered, as what counts as well represented.
        """
        rows = torch.linspace(0, len(data) - 1, min(256, len(data))).long()
        image = data[rows].image.to(self.device)
        latent, own = in_parts(self._generator.encode, image), self._bin(self.classifier.posterior(image))
        lost = l1_each(self._decode(latent, own), image)
        self._known.calibrate(lost)
        found = torch.stack([self._obtained(latent, torch.full_like(lost, k)) for k in range(self.bins)], 1)
        wanted = self._probability(torch.arange(self.bins, device=self.device))
        ends = (found[:, 0] < 0.5) & (found[:, -1] > 0.5)
        return float((found - wanted).abs().mean() + lost.mean() + 1 - ends.float().mean())

    def pictures(self, data: Dataset) -> Tensor:
        """Return 8 images with what the knob makes of them, from the lowest bin to the highest, as one picture."""
        image = data[torch.linspace(0, len(data) - 1, min(8, len(data))).long()].image.to(self.device)
        latent = self._generator.encode(image)
        shown = [image, *(self._decode(latent, torch.full_like(image[:, 0, 0, 0], k)) for k in range(self.bins))]
        return torch.cat([torch.cat(list(line), 1) for line in shown], 2)

    # ------------------------------------------------------------------ answers

    def answer(self, query: Query) -> Answer:
        """Return eq. 2 for what is asked, for the image's own bin (delta = 0), and the map between the two end bins."""
        latent, own = in_parts(self._generator.encode, query.image), self._own(query)
        ends = self._ends(latent, beyond=self.beyond if query.posterior is None else 0.0)  # the knob's map need not be searched
        low, high = (self._decode(latent, end) for end in ends)
        if query.posterior is None:
            towards = (query.target == 1).view(-1, 1, 1, 1)
            counterfactual = torch.where(towards, high, low)
        else:
            counterfactual = self._decode(latent, self._placed(latent, self._position(query.posterior, query.target)))
        stable = self._decode(latent, own)
        residual = l1_each(stable, query.image)
        return Answer(
            counterfactual=counterfactual,
            stable=stable,
            attribution=(high - low).abs().mean(1, keepdim=True),
            residual=residual,
            represented=self._known.represented(residual),
            posterior_gap=posterior_gap(self.classifier, query.image, stable, query.before),
        )

    def frames(self, query: Query, count: int) -> Tensor:
        """Return images at equal steps of the posterior, from the image's own bin to the end of the target's side."""
        latent = in_parts(self._generator.encode, query.image)
        own, (low, high) = self._own(query).float(), self._ends(latent, beyond=self.beyond)
        end, last = torch.where(query.target == 1, high, low), (query.target == 1).float() * (self.bins - 1)
        between = [self._placed(latent, own.lerp(last, k / (count - 1))) for k in range(1, count - 1)]
        return torch.stack([self._decode(latent, position) for position in (own, *between, end)], 1)

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end."""
        return "a walk along the posterior"

    def describe(self) -> dict[str, Any]:
        """Return method, hyperparameters, classifier, and once it was trained what was found: how many images each bin had."""
        counts = self._named()
        if not sum(counts.values()):
            return super().describe()
        few = [name for name, count in counts.items() if count < self.thin]
        return super().describe() | {"found": {"images a bin": counts, "thin bins": few}}

    @property
    def thin_posteriors(self) -> tuple[tuple[float, float], ...]:
        """The ranges of bins that had fewer than `thin` training images; none before training."""
        counts = self._counts.tolist()
        return tuple((k / self.bins, (k + 1) / self.bins) for k, count in enumerate(counts)
                     if count < self.thin and sum(counts))  # fmt: skip

    # ------------------------------------------------------------------ inside

    @property
    def _generator(self) -> ConditionalGenerator:
        return cast(ConditionalGenerator, self.networks["generator"])

    @property
    def _known(self) -> Known:
        return cast(Known, self.networks["known"])

    @property
    def _counts(self) -> Tensor:
        return self._known.get_buffer("counts")  # training images in each bin

    def _named(self) -> dict[str, int]:
        edges = [f"{k / self.bins:.3g} to {(k + 1) / self.bins:.3g}" for k in range(self.bins)]
        return dict(zip(edges, self._counts.tolist()))

    def _bin(self, posterior: Tensor) -> Tensor:
        """Return c_f(x, 0), the bins (N,) of posteriors (N, 2); a posterior of 1 falls into the last one."""
        return (posterior[:, 1] * self.bins).floor().long().clamp(0, self.bins - 1)

    def _own(self, query: Query) -> Tensor:
        """Return the bins (N,) of the query's images."""
        return self._bin(self.classifier.posterior(query.image) if query.before is None else query.before)

    def _probability(self, which: Tensor) -> Tensor:
        """Return the posterior that a bin asks for."""
        return (which + (0.5 if self.target == "centre" else 0.0)) / self.bins

    def _position(self, posterior: Tensor, of: Tensor) -> Tensor:
        """Return where among the bins (N,) a posterior of class `of` is asked for."""
        second = torch.where(of == 1, posterior, 1 - posterior)
        return second * self.bins - (0.5 if self.target == "centre" else 0.0)

    def _ends(self, latent: Tensor, *, beyond: float) -> tuple[Tensor, Tensor]:
        """Return the positions (N,) of the two ends: the end bins, or with a search beyond them where these fall short."""
        low, high = (torch.full((len(latent),), end, device=latent.device) for end in (0.0, self.bins - 1.0))
        if not (self.search and beyond):
            return low, high
        return torch.minimum(self._placed(latent, low), low), torch.maximum(self._placed(latent, high), high)

    def _placed(self, latent: Tensor, position: Tensor) -> Tensor:
        """Return the position (N,) whose posterior is nearest to what `position` asks for, of those that the search tries."""
        asked, best = self._probability(position), position.clamp(0, self.bins - 1)
        error = torch.full_like(position, torch.inf)
        low, high = (torch.full_like(position, end) for end in (-self.beyond, self.bins - 1 + self.beyond))
        for step in range(self.search + 1 if self.search else 0):
            tried = best if step == 0 else (low + high) / 2
            obtained = self._obtained(latent, tried)
            nearer = (obtained - asked).abs() < error
            best, error = torch.where(nearer, tried, best), torch.where(nearer, (obtained - asked).abs(), error)
            low, high = torch.where(obtained < asked, tried, low), torch.where(obtained < asked, high, tried)
        return best

    def _judged(self, image: Tensor, code: Tensor) -> Tensor:
        """Return the critic's logits (N,) of images, which it sees in [-1, 1], for what it is told of their bins."""
        logit: Tensor = self.networks["critic"](2 * image - 1, code)
        return logit

    def _enough(self, which: Tensor) -> Tensor:
        """Return (N,) bool, whether bins had enough training images."""
        return (self._counts >= self.thin)[which]

    def _code(self, which: Tensor) -> Tensor:
        """Return what the critic is told of bins, -1/2 or 1/2 a threshold; 0 where there are too few images to learn from."""
        return (thermometer(which, self.bins) - 0.5) * self._enough(which)[:, None]  # eq. 4, with half the sum of the v_i in psi

    def _decode(self, latent: Tensor, position: Tensor) -> Tensor:
        """Return G(latent, position), a part at a time."""
        size = 64 if latent.device.type == "cpu" else max(len(latent), 1)
        parts = zip(latent.split(size), position.split(size), strict=True)
        return torch.cat([self._generator.decode(part, where) for part, where in parts])

    def _obtained(self, latent: Tensor, position: Tensor) -> Tensor:
        """Return the posterior (N,) of the second class that a position leads to, as saved."""
        return self.classifier.posterior(as_saved(self._decode(latent, position)))[:, 1]
