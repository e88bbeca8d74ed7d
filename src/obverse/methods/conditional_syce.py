"""SyCE and CyCE for more than two classes, each against each, with one generator and one critic (supplement B).

The supplement asks for "a unique couple of generator and discriminator, but conditioned by the decision" and leaves out
how. Here generator g is told the decision i and the target k, and g(x; i, k) stands for SyCE's g_i: the stable image is
g(g(x; i, k); i, k), the cycled one g(g(x; i, k); k, i), so that with two classes every term is SyCE's. The critic is
told the class that an image is, or shall be, decided. Equation numbers are the main paper's, with an S the supplement's.

Deviations from `syce`:
- All classes are one move. Every image gets a random target; of each class there are as many fakes as real images.
- No weights are published for this form: the defaults are those for two digits, but for `refine=True`: convolutions
  follow the last skip, as the supplement advises where one generator leads both ways (E.1, SSyE).
- The gain and offset of every block depend on the two classes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from obverse.batches import Step
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, Query
from obverse.losses import class_loss, l1_each, l1_l2, real_loss, shared_change
from obverse.networks.conditional_translators import ConditionalCritic, ConditionalUNet
from obverse.training import Moves
from obverse.translation.adversarial import Translation


@dataclass(eq=False, kw_only=True)
class _Conditional(Translation):
    """One generator and one critic for all classes; what both forms share.

    Args:
        noise: numbers that choose among the answers to an image; 0 gives one answer.
        diversity: lambda of what two answers to an image have in common, where there is noise.
    """

    refine: bool = True
    noise: int = 0
    diversity: float = 0.1

    @property
    def many_answers(self) -> bool:  # type: ignore[override]
        """Whether noise chooses among answers."""
        return self.noise > 0

    def _networks(self) -> dict[str, nn.Module]:
        shape, classes = self.classifier.image_shape, len(self.classifier.classes)
        return {
            "generator": ConditionalUNet(
                shape[0], classes, width=self.width, depth=self.depth, refine=self.refine, residual=self.residual,
                noise=self.noise,
            ),
            "critic": ConditionalCritic(shape, classes, width=self.critic_width, levels=self.critic_levels),
        }

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the generator's move, then the critic's."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        source, target, same = self._targets(image, step)
        decided = self.classifier.decide(image)
        # the other of the two classes, where augmentation has taken an image to its target already; as SyCE's 1 - decided
        wanted = torch.where(decided == target, source, target)
        made = self._made(image, source, target, self._drawn(image, step))
        adversary, cycled = made[0], self._translated(made[0], target, source)
        shown = [*made, cycled]
        logits = self.classifier.logits(torch.cat(shown)).chunk(len(shown))
        critic = self.networks["critic"]
        losses = {
            "adversarial_class": self.adversarial_class * class_loss(logits[0], wanted),  # eq. 9
            "realism": self.realism * real_loss(critic(adversary, target)),  # eq. S21
            "cycle": self.cycle * l1_l2(image, cycled),  # eq. 13
            "cycle_class": self.cycle_class * class_loss(logits[-1], decided),  # eq. 14
        } | self._stable_terms(image, made, logits, decided)
        if self.noise > 0 and self.diversity > 0:  # not the paper's
            other = self._translated(image, source, target, self._drawn(image, step))
            losses["diversity"] = self.diversity * shared_change(adversary, other, image)
        yield "generators", losses

        def criticise(some: Tensor) -> Tensor:  # the batch's classes, twice over for real images with their fakes
            logit: Tensor = critic(some, source.repeat(len(some) // len(source)))
            return logit

        # a fake of each real image's class beside it
        yield "critics", self._criticised(criticise, image, adversary.detach()[same], step)

    def _targets(self, image: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Return the domain and a random other target of each row, and the row whose target is its domain; (N,) each."""
        classes = len(self.classifier.classes)
        each = len(image) // classes
        # the j-th images of all domains go equally far round, so that their targets are all classes again
        turn = 1 + (step.uniform(image.new_empty(each)) * (classes - 1)).long()
        domain = torch.arange(classes, device=image.device)[:, None].expand(-1, each)
        same = (domain - turn) % classes * each + torch.arange(each, device=image.device)
        return domain.flatten(), ((domain + turn) % classes).flatten(), same.flatten()

    def _drawn(self, image: Tensor, step: Step) -> Tensor | None:
        return step.uniform(image.new_empty(len(image), self.noise)) if self.noise else None

    def _translated(self, image: Tensor, source: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return g(image; source, target); without noise the middle of all answers, which is how a cycle goes back."""
        made: Tensor = self.networks["generator"](image, source, target, noise)
        return made

    @abstractmethod
    def _made(self, image: Tensor, source: Tensor, target: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        """Return the counterfactuals and, where there is one, the stable images."""

    def _stable_terms(
        self, image: Tensor, made: tuple[Tensor, ...], logits: tuple[Tensor, ...], decided: Tensor
    ) -> dict[str, Tensor]:
        return {}

    def _images(self, query: Query) -> list[Tensor]:
        """Return what the generator makes of each row; what is decided as asked already stays."""
        noise = torch.special.ndtr(query.normal(self.noise)) if self.noise else None  # uniform, as in training
        whole: list[Tensor] = []
        for part in query.rows(query.asked):
            given = None if noise is None else noise[part]
            made = self._made(query.image[part], query.source[part], query.target[part], given)
            whole = whole or [query.image.clone() for _ in made]
            for image, piece in zip(whole, made):
                image[part] = piece.float()
        return whole or [query.image, query.image]

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 + the share of stable images with another decision, all pairs of classes in turn."""
        classes, first = len(self.classifier.classes), 0
        lost, distance, count = 0.0, 0.0, 0
        several = self.many_answers  # the images of one call share their noise: then few images a call, each its own
        for call, batch in enumerate(data.batches(16 if several else 256, self.device)):
            turn = 1 + torch.arange(first, first + len(batch), device=self.device) % (classes - 1)
            answer = self.explain(batch.image, (self.classifier.decide(batch.image) + turn) % classes,
                                  seed=call if several else 0)  # fmt: skip
            lost += float((~answer.valid).sum())
            if answer.counterfactual is not None:
                distance += float(l1_each(answer.counterfactual, answer.image).sum())
            if answer.stable is not None:
                lost += float((self.classifier.decide(answer.stable) != answer.source).sum())
            count, first = count + len(answer), first + len(batch)
        return (lost + distance) / count

    def pictures(self, data: Dataset) -> Tensor | None:
        """Return a column for an image of each decision, and below it a row for every target."""
        decided = self.classifier.posteriors(data).argmax(1)
        classes = range(len(self.classifier.classes))
        rows = torch.tensor([int((decided == k).nonzero()[0]) for k in classes if bool((decided == k).any())])
        image = data[rows].image.to(self.device)
        lines = [image, *(self.explain(image, k).counterfactual for k in classes)]
        return torch.cat([torch.cat(list(line), 2) for line in lines if line is not None], 1)


@dataclass(eq=False, kw_only=True)
class ConditionalSyCE(_Conditional):
    """SyCE for any number of classes: map |stable - counterfactual| for every target (eq. S20).

    Hyperparameters: see the shared ones above.

    Args:
        symmetry: lambda of the distance to the stable image, eq. 11.
        stable_class: lambda of the class of the stable image, eq. 12.
    """

    name: ClassVar[str] = "conditional_syce"

    symmetry: float = 10.0
    stable_class: float = 0.01

    def _made(self, image: Tensor, source: Tensor, target: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        adversary = self._translated(image, source, target, noise)
        return adversary, self._translated(adversary, source, target, noise)  # eqs 4, 5

    def _stable_terms(
        self, image: Tensor, made: tuple[Tensor, ...], logits: tuple[Tensor, ...], decided: Tensor
    ) -> dict[str, Tensor]:
        return {
            "symmetry": self.symmetry * l1_l2(image, made[1]),  # eq. 11
            "stable_class": self.stable_class * class_loss(logits[1], decided),  # eq. 12
        }

    def answer(self, query: Query) -> Answer:
        """Return one of eq. S20's explanations: the decision against the target."""
        counterfactual, stable = self._images(query)
        return Answer(counterfactual=counterfactual, stable=stable, residual=l1_each(stable, query.image))


@dataclass(eq=False, kw_only=True)
class ConditionalCyCE(_Conditional):
    """CyCE for any number of classes: map |x - counterfactual| for every target (eq. S20 with the image as stable).

    Hyperparameters: see the shared ones above.
    """

    name: ClassVar[str] = "conditional_cyce"

    cycle: float = 10.0

    def _made(self, image: Tensor, source: Tensor, target: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        return (self._translated(image, source, target, noise),)

    def answer(self, query: Query) -> Answer:
        """Return one of eq. S20's explanations: the decision against the target."""
        return Answer(counterfactual=self._images(query)[0])
