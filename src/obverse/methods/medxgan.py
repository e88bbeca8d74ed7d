"""medXGAN (Dravid et al., "Visual Explanations for Medical Classifiers through a Generative Latent Space").

A generator makes an image of two latents: z1 for the anatomy, z2 for what the classifier looks for. z2 is 0 where the
class is absent. To explain an image, its latents are searched for; then z2 is changed and z1 kept. Equation numbers are
the paper's.

Deviations:
- The class term of eq. 4 is the log loss of the classifier's logits; the released code takes it of probabilities, which
  leaves next to no gradient where a decision is wrong.
- Both players see every class equally often; real images are sorted by what the classifier decides.
- Real and made images reach the critic through the same random geometry (`augment`), as the paper advises for small sets,
  and its gradient at real images is penalised; the released critic has dropout instead.
- The networks have no batch norm: an image does not depend on its batch mates.
- With start="encoder" an encoder learns beside the generator (`rebuild`), so that a search takes a few steps.
- More than two classes (the paper's next step): z2 has a block for each class, and only the block of one is not 0.
- The search minimises eq. 5 with Adam, at most 1000 steps with an early stop, and leaves the generator alone; the released code
  trains it further on each image.
- The search also holds z1 to what eq. 4 made of it: without z2 it is of the absent class (`negative`). Measured on brain MRI,
  32 validation images with a tumour: of those found by eq. 5 alone a third is decided negative once z2 is 0, with this term
  all are, and the error of the image is no larger (0.029, 0.030).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query, Target
from obverse.explanation import NotApplicable
from obverse.known import Known
from obverse.latent.gradients import Form, latent_gradients
from obverse.latent.inversion import Inversion
from obverse.latent.search import LatentSearch
from obverse.losses import class_loss, energy_distance, fake_loss, real_loss, real_penalty
from obverse.models.anatomy import AnatomyModel
from obverse.modules import networks_from
from obverse.networks.dcgan import Generator, Pyramid
from obverse.settings import check_least, check_positive
from obverse.training import Moves
from obverse.translation.domains import decisions

Start = Literal["normal", "encoder"]


@dataclass(eq=False, kw_only=True)
class MedXGAN(LearnedExplainer):
    """medXGAN: the image's latents are searched for (eq. 5), then z2 is set to 0, or drawn anew, and z1 kept.

    The stable image is the generator's own of the latents found, so the difference map is of two made images.

    Args:
        absent: the class that has no pathology, by index or name: its z2 is 0. None gives every class a z2; "auto" is the
            first of two classes, and None of more.
        anatomy, pathology: how many numbers z1 and z2 (of each class) have; the published ones for brain MRI.
        class_weight: of the classifier's term, eq. 4.
        penalty: weight of the squared gradient norm of the critic at real images.
        penalty_every: steps between two penalties, which then weigh that much more.
        generator_rate, critic_rate: Adam's learning rates.
        rebuild: weight of eq. 5 for an encoder's latents of real images, and of its error in those of made ones; generator
            and encoder learn it together (not the paper's, which has no encoder).
        momentum: Adam's betas, of both players.
        decay: share of the run, at its end, over which the rates fall linearly to a tenth (the paper has none).
        width, critic_width: channels at full resolution.
        augment: random geometry through which the critic sees real and made images.
        start: where the search starts: from noise, or at the output of an encoder that is trained beside the generator.
        encoder: whether there is one; None is yes where the search starts at its output.
        restarts: searches from independent noise, of which the best is taken; one from the encoder.
        search_steps, refine_steps: at most, from noise and from the encoder's output.
        search_rate: Adam's learning rate in the search.
        image_weight: of the mean squared error against the class term in eq. 5; 16 on [0, 1] is 4 on [-1, 1].
        patience: steps in which the loss must fall by a hundredth, or the search of that image stops.
        negative: weight in the search of the log loss of the absent class for z1 without z2; 0 searches as printed.
        seed: of the initial weights.
    """

    name: ClassVar[str] = "medxgan"
    many_answers: ClassVar[bool] = True
    adjustable: ClassVar[tuple[str, ...]] = (
        "start", "restarts", "search_steps", "refine_steps", "search_rate", "image_weight", "patience", "negative",
    )  # fmt: skip
    calibrated: ClassVar[tuple[str, ...]] = adjustable
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {
            "start": "encoder", "anatomy": 96, "pathology": 16, "generator_rate": 1e-3, "critic_rate": 1e-3, "rebuild": 3.0,
            "momentum": (0.5, 0.99), "decay": 0.5, "image_weight": 60.0, "refine_steps": 100,
        }
    }  # fmt: skip

    absent: str | int | None = "auto"
    anatomy: int = 1000
    pathology: int = 100
    class_weight: float = 1.0
    penalty: float = 0.5
    penalty_every: int = 8
    generator_rate: float = 2e-4
    critic_rate: float = 2e-4
    rebuild: float = 1.0
    momentum: tuple[float, float] = (0.5, 0.999)
    decay: float = 0.3
    width: int = 16
    critic_width: int = 16
    augment: Augment = field(default_factory=Augment)
    start: Start = "normal"
    encoder: bool | None = None
    restarts: int = 3
    search_steps: int = 1000
    refine_steps: int = 20
    search_rate: float = 1e-2
    image_weight: float = 16.0
    patience: int = 50
    negative: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "anatomy", "pathology", "restarts", "search_steps", "refine_steps", "patience", "penalty_every",
                    "width", "critic_width")  # fmt: skip
        check_least(self, 0, "class_weight", "penalty", "rebuild", "decay", "image_weight", "negative")
        check_positive(self, "generator_rate", "critic_rate", "search_rate")
        self.encoder = self.start == "encoder" if self.encoder is None else self.encoder
        if self.start == "encoder" and not self.encoder:
            raise ValueError(f"start: expected 'normal' for a {self.name} without an encoder, got 'encoder'; fit anew with "
                             "start='encoder'")  # fmt: skip
        if self.absent == "auto" and "auto" not in self.classifier.classes:
            self.absent = 0 if len(self.classifier.classes) == 2 else None
        shape, absent = self.classifier.image_shape, None if self.absent is None else self.classifier.index(self.absent)
        blocks = len(self.classifier.classes) - (absent is not None)
        size = self.anatomy + blocks * self.pathology

        def networks() -> dict[str, nn.Module]:
            made: dict[str, nn.Module] = {
                "generator": Generator(shape, size, width=self.width),
                "critic": Pyramid(shape, 1, width=self.critic_width),
                "known": Known(),
            }
            return made | ({"encoder": Pyramid(shape, size, width=self.width)} if self.encoder else {})

        self.networks = networks_from(networks, seed=self.seed, device=self.device)
        self.model = AnatomyModel(self.networks, self.classifier, anatomy=self.anatomy, pathology=self.pathology,
                                  absent=absent)  # fmt: skip

    @property
    def remark(self) -> str:
        """What a user must know before training: which class has no z2."""
        if self.model.absent is None:
            return "every class has a z2 of its own; name a class without pathology in absent"
        absent = self.classifier.classes[self.model.absent]
        return f"z2 is 0 for {absent!r}; if another class is the one without pathology, name it in absent"

    # ------------------------------------------------------------------ training

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for the critic and one for the generator, with the encoder where there is one; see `calibrate`."""
        self._known.forget()  # what an earlier fit found usual
        made = [
            p for name in ("generator", "encoder") if name in self.networks for p in self.networks[name].parameters()
        ]
        return {
            "critic": Adam(self.networks["critic"].parameters(), self.critic_rate, self.momentum),
            "generator": Adam(made, self.generator_rate, self.momentum),
        }

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        return step.falling(self.decay)

    def groups(self, data: Dataset) -> Tensor:
        """Return what the classifier decides, so that a batch has equal numbers of each.

        Raises:
            ValueError: a class that is never decided.
        """
        return decisions(data, self.classifier, self.name)

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the critic's move and then the generator's, on the same images."""
        real, critic = batch.image, self.model.criticise
        each, classes = len(real) // len(self.classifier.classes), torch.arange(len(self.classifier.classes))
        target = classes.repeat_interleave(each).to(real.device)  # p_y: as the batch, every class equally often
        latent = self.model.from_normal(step.normal(real.new_empty(len(real), self.model.normal_size)), target)
        fake = self.model.decode(latent)
        shown, seen = self._seen(real, step), self._seen(fake, step)
        logits = critic(torch.cat([shown, seen.detach()]))
        losses = {"real": real_loss(logits[: len(real)]), "fake": fake_loss(logits[len(real) :])}  # eq. 4
        if self.penalty > 0 and step.index % self.penalty_every == 0:
            losses["penalty"] = self.penalty * self.penalty_every * real_penalty(critic, shown)
        yield "critic", losses
        losses = {"realism": real_loss(critic(seen))}  # eq. 4, in the form that does not saturate
        losses["class"] = self.class_weight * class_loss(self.classifier.logits(fake), target)  # eq. 4
        yield "generator", losses | self._found_again(real, fake, latent, target)

    def _found_again(self, real: Tensor, fake: Tensor, latent: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return eq. 5 for the encoder's latents of real images, and how far it misses those of made images."""
        if not self.encoder:
            return {}
        code = self.model.encode_as(torch.cat([real, fake]), target.repeat(2))
        objective = self._eq5(1).objective(code[: len(real)], real, self.classifier.posterior(real))
        return {
            "search": self.rebuild * objective.mean(),
            "latent": self.rebuild * (code[len(real) :] - latent).square().mean(),
        }

    def _seen(self, image: Tensor, step: Step) -> Tensor:
        return self.augment(image, step.uniform(image.new_empty(len(image), 6)))

    def validate(self, data: Dataset) -> float:
        """Return, as means over classes, the share of samples decided otherwise + their energy distance to real images."""
        if self.start == "encoder":  # for a run that is stopped; the end takes more images
            self.calibrate(data, count=32)
        real = torch.cat([batch.image for batch in data.batches(256, self.device)])
        decided, score = self.classifier.decide(real), 0.0
        for k in range(len(self.classifier.classes)):
            fake = self.model.decode(self.model.sample(128, target=k, seed=k)).detach()
            score += float((self.classifier.decide(fake) != k).float().mean())
            if int((decided == k).sum()) > 1:
                score += float(energy_distance(real[decided == k], fake))
        return score / len(self.classifier.classes)

    def finish(self, data: Dataset) -> bool:
        """Calibrate, on 32 images where searches start from noise: they take minutes."""
        self.calibrate(data, count=32 if self.start == "normal" else 100)
        return True

    def pictures(self, data: Dataset) -> Tensor:
        """Return the grid of 8 anatomies, without and with three pathologies, as one picture."""
        return torch.cat([torch.cat(list(row), 2) for row in self.model.grid(8)], 1)

    # ------------------------------------------------------------------ the latents of an image

    @torch.inference_mode(False)  # in which a search would have no gradient
    def invert(
        self, image: Tensor, *, start: Start | None = None, restarts: int | None = None, seed: int = 0
    ) -> Inversion:
        """Search for the latents of images, eq. 5.

        Args:
            image: (N, C, H, W) in [0, 1].
            start, restarts: None takes the explainer's own.
            seed: of the noise to start from.

        Raises:
            NotApplicable: the encoder's start without an encoder.
            ValueError: no restarts, or an unknown start.
        """
        image, before = self._before(image)
        start, restarts = start or self.start, self.restarts if restarts is None else restarts
        if start not in get_args(Start):
            raise ValueError(f"start: expected one of {', '.join(get_args(Start))}, got {start!r}; leave it out for {self.start}")
        if restarts < 1:
            raise ValueError(f"restarts: expected at least 1, got {restarts}; leave it out for {self.restarts}")
        with self._no_trace("float32"):
            noise = self._query(image, before.argmax(1), seed).normal(restarts, self.model.normal_size)
            return self._search(image, noise, start)

    def calibrate(self, data: Dataset, *, count: int = 100, share: float = 0.9, seed: int = 0) -> float:
        """Set the limit of a good representation to a quantile of the residuals of held-out images, and return it.

        The end of training does so, where there are validation images, and where searches start from an encoder each validation.

        Args:
            data: the validation split, of which `count` images are taken evenly.
            count: how many are searched for.
            share: of them that count as well represented.
            seed: of the noise to start from.

        Raises:
            ValueError: no images, or a share outside (0, 1].
        """
        if len(data) == 0 or count < 1 or not 0 < share <= 1:
            raise ValueError(f"data, count, share: expected at least one image and a share in (0, 1], got {len(data)} images, "
                             f"{count} and {share:g}; leave out count and share")  # fmt: skip
        rows = torch.linspace(0, len(data) - 1, min(count, len(data))).long()
        found = self.invert(data[rows].image.to(self.device), seed=seed)
        return self._known.calibrate(found.residual, share)

    def _search(self, image: Tensor, noise: Tensor, start: Start) -> Inversion:
        """Search from noise (N, restarts, normal_size), or from the encoder's output."""
        if start == "encoder":
            if not self.model.has_encoder:
                raise NotApplicable(f"start: this {self.name} has no encoder; train one with start='encoder', or search "
                                    "from 'normal'")  # fmt: skip
            return self._eq5(self.refine_steps)(image, self.model.encode(image)[None])
        decided, restarts = self.classifier.decide(image), noise.shape[1]
        latent = self.model.from_normal(noise.transpose(0, 1).flatten(0, 1), decided.repeat(restarts))
        return self._eq5(self.search_steps)(image, latent.unflatten(0, (restarts, -1)))

    def _eq5(self, steps: int) -> LatentSearch:
        return LatentSearch(
            model=self.model, classifier=self.classifier, steps=steps, rate=self.search_rate,
            image_weight=self.image_weight, patience=self.patience, negative=self.negative,
        )  # fmt: skip

    def _latents(self, query: Query) -> tuple[Inversion, Tensor]:
        """Return what is found for each row, and the latents of its counterfactual; answers to one image share z1."""
        first = query.answer == 0
        start = query.normal(self.restarts, self.model.normal_size)[first]
        found = self._search(query.image[first], start, self.start)
        other = replace(query, seed=query.seed + 1).normal(self.pathology)  # not what the search started from
        row = first.cumsum(0) - 1  # the answers to an image lie side by side
        found = Inversion(*(getattr(found, name.name)[row] for name in fields(found)))
        return found, self.model.realise(found.latent, query.target, other)

    # ------------------------------------------------------------------ answers

    def answer(self, query: Query) -> Answer:
        """Return G(z1, 0), or with a z2 drawn anew, beside G(z1, z2); the map is their difference."""
        found, changed = self._latents(query)
        return Answer(
            counterfactual=self.model.decode(changed),
            stable=found.image,
            residual=found.residual,
            represented=self._known.represented(found.residual),
            posterior_gap=found.posterior_gap,
        )

    def frames(self, query: Query, count: int) -> Tensor:
        """Return G(z1, z2) on the straight walk from the image's z2 to the counterfactual's (section 3.1)."""
        found, changed = self._latents(query)
        return torch.stack([self.model.decode(found.latent.lerp(changed, k / (count - 1))) for k in range(count)], 1)

    @property
    def path_kind(self) -> str:
        """How `path` gets from end to end."""
        return "a straight walk through z2"

    @torch.inference_mode(False)
    def latent_gradients(
        self, image: Tensor, *, form: Form = "walk", steps: int = 100, target: Target = None, seed: int = 0
    ) -> Tensor:
        """Return the signed latent integrated gradients of the decided class's posterior, eq. 7.

        Args:
            image: (N, C, H, W) in [0, 1], decided present.
            form: "walk" sums to the difference of the posteriors of the walk's ends; "printed" is eq. 7.
            steps: of the walk.
            target: the class where the walk starts; None takes the absent class, or the runner-up if there is none.
            seed: of the search.

        Returns:
            (N, C, H, W), in units of the posterior.

        Raises:
            ValueError: an image of the absent class, or one that is decided as the class where the walk would start.
        """
        image, before = self._before(image)
        source = before.argmax(1)
        self._check_present(source)
        start = self._target(self.absent if target is None else target, before)
        if bool((same := start == source).any()):
            name = self.classifier.classes[int(start[same][0])]
            raise ValueError(f"target: expected another class than is decided, got {name!r} for {int(same.sum())} images that "
                             "are decided so; leave it out")  # fmt: skip
        with self._no_trace("float32"):
            found, changed = self._latents(self._query(image, source, seed, start))
            parts = [self._gradients(*rows, form=form, steps=steps)
                     for rows in zip(changed.split(64), found.latent.split(64), source.split(64), strict=True)]  # fmt: skip
            return torch.cat(parts)

    def _gradients(self, start: Tensor, end: Tensor, source: Tensor, *, form: Form, steps: int) -> Tensor:
        def score(image: Tensor) -> Tensor:
            return self.classifier.posterior(image).gather(1, source[:, None]).squeeze(1)

        return latent_gradients(self.model.decode, score, start, end, steps=steps, form=form)

    def _check_present(self, source: Tensor) -> None:
        absent = [row for row, k in enumerate(source.tolist()) if self.model.blocks[k] is None]
        if absent:
            names = [name for name, block in zip(self.classifier.classes, self.model.blocks) if block is not None]
            raise ValueError(f"image: latent integrated gradients need images decided {' or '.join(map(repr, names))}, whose "
                             f"z2 is not 0, got {len(absent)} that are not (rows {', '.join(map(str, absent[:5]))}); leave "
                             "them out, or take the difference map of explain")  # fmt: skip

    def _query(self, image: Tensor, source: Tensor, seed: int, target: Tensor | None = None) -> Query:
        return Query(image=image, source=source, target=source if target is None else target,
                     answer=torch.zeros_like(source), seed=seed)  # fmt: skip

    @property
    def _known(self) -> Known:
        return cast(Known, self.networks["known"])
