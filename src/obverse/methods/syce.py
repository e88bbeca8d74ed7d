"""SyCE, CyCE, SSyE and CyCSAE (Charachon et al., "Leveraging Conditional Generative Models in a General Explanation
Framework").

Domain i is the set of training images that the classifier *decides* i; generator g_i takes it to the other domain.
Equation numbers are the main paper's, with an S the supplement's.

Deviations (the first two are what the authors' released models do):
- The norm of the generators is a learned gain and offset: their batch norm never ran in training mode.
- ||.||_{1,2} is the sum of mean squared and mean absolute difference, to which the printed weights belong.
- The class terms are cross entropies of logits, so they never lose their gradient as clipped probabilities do.
- The clip to [0, 1] passes gradients that lead back into the range.
- The critics see the fakes of this step's generator moves, made just before the update, instead of fresh ones.
- Critics and generators have an Adam each whose counter runs once an update.
- `noise` is not the papers': their translators know one answer to an image, and put a finding where they always do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, Query
from obverse.losses import class_loss, l1_each, l1_l2, real_loss, shared_change, soft_l1, weight_distance
from obverse.networks.critics import Critic
from obverse.networks.translators import Norm, UNet
from obverse.networks.two_headed import TwoHeaded
from obverse.training import Moves
from obverse.translation.adversarial import Translation
from obverse.translation.domains import check_two_classes


@dataclass(eq=False, kw_only=True)
class _TwoDecisions(Translation):
    """Generators and critics for the two decisions of a classifier; what the four explainers share.

    Args:
        identity: lambda of leaving images alone that are decided as wanted already (not the paper's, but CycleGAN's: it
            keeps a generator from painting the same pattern over every image).
        norm: of the generators.
        noise: numbers that choose among the answers to an image (see `UNet`); 0, as published, gives one answer.
        diversity: lambda of what two answers to an image have in common, where there is noise.
    """

    generator_of: ClassVar[tuple[str, str]] = ("generator_0", "generator_1")

    identity: float = 0.0
    norm: Norm = "affine"
    noise: int = 0
    diversity: float = 0.1

    def __post_init__(self) -> None:
        check_two_classes(self.classifier, self.name)
        super().__post_init__()

    @property
    def many_answers(self) -> bool:  # type: ignore[override]
        """Whether noise chooses among answers."""
        return self.noise > 0

    @classmethod
    def preset(cls, classifier: Classifier, name: str) -> Self:
        """Return the explainer with the paper's weights and depth for another problem (tables S1a and S1b).

        Raises:
            ValueError: an unknown name.
        """
        return cls(classifier, **cls.preset_settings(name))

    @classmethod
    def preset_settings(cls, name: str) -> dict[str, Any]:
        """Return the hyperparameters of a preset; the weights for digits are the defaults.

        Raises:
            ValueError: an unknown name.
        """
        return {"depth": 3, **super().preset_settings(name)}

    def _networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {}
        for i, name in enumerate(self.generator_of):
            if name not in networks:
                networks[name] = self._generator()
            networks[f"critic_{i}"] = Critic(
                self.classifier.image_shape, width=self.critic_width, levels=self.critic_levels
            )
        return networks

    def _generator(self) -> nn.Module:
        return UNet(
            self.classifier.image_shape[0], width=self.width, depth=self.depth, norm=self.norm, refine=self.refine,
            residual=self.residual, noise=self.noise,
        )  # fmt: skip

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the generators' moves, then the critics' (supplement E.1, optimisation steps)."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        real = list(image.chunk(2))
        decided = list(self.classifier.decide(image).chunk(2))
        fakes: list[Tensor] = []
        yield from self._generator_moves(real, decided, fakes, step)
        losses: dict[str, Tensor] = {}
        for i in range(2):
            fake = fakes[1 - i].detach()  # g_{1-i} leads into domain i
            found = self._criticised(self.networks[f"critic_{i}"], real[i], fake, step)
            losses |= {f"{name}_{i}": loss for name, loss in found.items()}
        yield "critics", losses

    @abstractmethod
    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor], step: Step) -> Moves:
        """Yield the generators' moves and put the two batches of counterfactuals into `fakes`."""

    @abstractmethod
    def _made(self, i: int, image: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        """Return the counterfactuals of images of domain i and, where there is one, their stable images."""

    def _translated(self, i: int, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return g_i(image); without noise the middle of all answers, which is how a cycle goes back."""
        made: Tensor = self.networks[self.generator_of[i]](image, noise)
        return made

    def _drawn(self, image: Tensor, step: Step) -> Tensor | None:
        return step.uniform(image.new_empty(len(image), self.noise)) if self.noise else None

    def _more_terms(self, i: int, real: list[Tensor], adversary: Tensor, step: Step) -> dict[str, Tensor]:
        """Return the terms of generator i that are not the paper's and off by default."""
        terms: dict[str, Tensor] = {}
        if self.identity > 0:
            kept = self._translated(i, real[1 - i])
            terms[f"identity_{i}"] = self.identity * soft_l1(kept, real[1 - i])
        if self.noise > 0 and self.diversity > 0:
            other = self._translated(i, real[i], self._drawn(real[i], step))
            terms[f"diversity_{i}"] = self.diversity * shared_change(adversary, other, real[i])
        return terms

    def _images(self, query: Query) -> tuple[Tensor, ...]:
        """Return what the generator of each row's decision makes; what is decided as asked already stays."""
        noise = torch.special.ndtr(query.normal(self.noise)) if self.noise else None  # uniform, as in training
        whole: list[Tensor] = []
        for i in range(2):
            for part in query.rows(query.asked & (query.source == i)):
                made = self._made(i, query.image[part], None if noise is None else noise[part])
                whole = whole or [query.image.clone() for _ in made]
                for image, piece in zip(whole, made):
                    image[part] = piece.float()
        return tuple(whole)


@dataclass(eq=False, kw_only=True)
class CyCE(_TwoDecisions):
    """Cyclic conditioned explanation (section 5, eq. 16): counterfactual g_i(x), map |x - counterfactual|.

    Defaults are the paper's digits weights (supplement table 1a). Both directions are one move, as released.
    Hyperparameters: see the shared ones above.
    """

    name: ClassVar[str] = "cyce"
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {  # table S1a
        "pneumonia-resnet50": {"cycle": 10.0, "adversarial_class": 0.05, "cycle_class": 0.01, "realism": 0.025},
        "pneumonia-densenet121": {"cycle": 10.0, "adversarial_class": 0.05, "cycle_class": 0.01, "realism": 0.05},
        "tumour-resnet50": {"cycle": 20.0, "adversarial_class": 0.1, "cycle_class": 0.01, "realism": 0.05},
        "tumour-densenet121": {"cycle": 20.0, "adversarial_class": 0.2, "cycle_class": 0.01, "realism": 0.05},
    }

    cycle: float = 10.0

    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor], step: Step) -> Moves:
        losses: dict[str, Tensor] = {}
        for i, x in enumerate(real):
            adversary = self._translated(i, x, self._drawn(x, step))
            cycled = self._translated(1 - i, adversary)
            fakes.append(adversary)
            logits = self.classifier.logits(torch.cat([adversary, cycled])).chunk(2)
            losses[f"adversarial_class_{i}"] = self.adversarial_class * class_loss(logits[0], 1 - decided[i])  # eq. 9
            losses[f"realism_{i}"] = self.realism * real_loss(self.networks[f"critic_{1 - i}"](adversary))  # eq. S21
            losses[f"cycle_{i}"] = self.cycle * l1_l2(x, cycled)  # eq. 13
            losses[f"cycle_class_{i}"] = self.cycle_class * class_loss(logits[1], decided[i])  # eq. 14
            losses |= self._more_terms(i, real, adversary, step)
        yield "generators", losses

    def _made(self, i: int, image: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        return (self._translated(i, image, noise),)  # eqs S7, S8

    def answer(self, query: Query) -> Answer:
        """Return section 5's explanation for the generator of each image's decision."""
        made = self._images(query)
        return Answer(counterfactual=made[0] if made else query.image)


@dataclass(eq=False, kw_only=True)
class _WithStable(_TwoDecisions):
    """Explainers that compare the counterfactual with a stable image of their own: SyCE, SSyE and CyCSAE.

    Args:
        symmetry: lambda of the distance to the stable image, eq. 11.
        stable_class: lambda of the class of the stable image, eq. 12.
        compared: what the counterfactual is compared with; "image" is the paper's "without stable image".
    """

    symmetry: float = 10.0
    stable_class: float = 0.01
    compared: Literal["stable", "image"] = "stable"

    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor], step: Step) -> Moves:
        for i, x in enumerate(real):
            adversary, stable = self._made(i, x, self._drawn(x, step))
            fakes.append(adversary)
            shown = [adversary, stable]
            if self.cycle > 0 or self.cycle_class > 0:
                shown.append(self._translated(1 - i, adversary))
            logits = self.classifier.logits(torch.cat(shown)).chunk(len(shown))
            losses = {
                f"adversarial_class_{i}": self.adversarial_class * class_loss(logits[0], 1 - decided[i]),  # eq. 9
                f"realism_{i}": self.realism * real_loss(self.networks[f"critic_{1 - i}"](adversary)),  # eq. S21
                f"symmetry_{i}": self.symmetry * l1_l2(x, stable),  # eq. 11
                f"stable_class_{i}": self.stable_class * class_loss(logits[1], decided[i]),  # eq. 12
            }
            if len(shown) == 3:
                losses[f"cycle_{i}"] = self.cycle * l1_l2(x, shown[2])  # eq. 13
                losses[f"cycle_class_{i}"] = self.cycle_class * class_loss(logits[2], decided[i])  # eq. 14
            yield "generators", losses | self._more_terms(i, real, adversary, step)

    def _made(self, i: int, image: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        adversary = self._translated(i, image, noise)
        return adversary, self._translated(i, adversary, noise)  # eqs 4, 5

    def answer(self, query: Query) -> Answer:
        """Return eqs 5 and 7 for the generator of each image's decision."""
        counterfactual, stable = self._images(query) or (query.image, query.image)
        if self.compared == "image":
            return Answer(counterfactual=counterfactual)
        return Answer(counterfactual=counterfactual, stable=stable, residual=l1_each(stable, query.image))

    def validate(self, data: Dataset) -> float:
        """Return 1 - validity + mean L1 + the share of stable images with another decision."""
        score, lost, count = super().validate(data), 0, 0
        for batch in data.batches(256, self.device):
            answer = self.explain(batch.image)
            if answer.stable is not None:
                lost += int((self.classifier.decide(answer.stable) != answer.source).sum())
            count += len(answer)
        return score + lost / count


@dataclass(eq=False, kw_only=True)
class SyCE(_WithStable):
    """Symmetrically conditioned explanation: counterfactual g_i(x), stable image g_i(g_i(x)), map |stable - counterfactual|.

    Defaults are the paper's digits weights (supplement table 1b); `cycle` and `cycle_class` 0 are its ablation without
    cycle terms. Hyperparameters: see the shared ones above.
    """

    name: ClassVar[str] = "syce"
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {  # table S1b
        "pneumonia-resnet50": {
            "symmetry": 10.0, "cycle": 2.0, "adversarial_class": 0.05, "stable_class": 0.01, "cycle_class": 0.001,
            "realism": 0.05,
        },
        "pneumonia-densenet121": {
            "symmetry": 10.0, "cycle": 2.0, "adversarial_class": 0.05, "stable_class": 0.01, "cycle_class": 0.01,
            "realism": 0.05,
        },
        "tumour-resnet50": {
            "symmetry": 20.0, "cycle": 1.0, "adversarial_class": 0.2, "stable_class": 0.05, "cycle_class": 0.01,
            "realism": 0.025,
        },
        "tumour-densenet121": {
            "symmetry": 20.0, "cycle": 1.0, "adversarial_class": 0.2, "stable_class": 0.05, "cycle_class": 0.001,
            "realism": 0.025,
        },
    }  # fmt: skip


@dataclass(eq=False, kw_only=True)
class SSyE(_WithStable):
    """Strictly symmetrical explanation (supplement A.1): one generator g for both domains, stable image g(g(x)).

    SyCE's losses without the cycle terms, which with one generator would be the stable image's again. As the supplement
    advises, convolutions follow the last skip. Hyperparameters: see the shared ones above.

    Raises:
        ValueError: an identity term: the one generator takes either domain to the other.
    """

    name: ClassVar[str] = "ssye"
    generator_of: ClassVar[tuple[str, str]] = ("generator", "generator")  # eq. S11

    cycle: float = 0.0
    cycle_class: float = 0.0
    refine: bool = True

    def __post_init__(self) -> None:
        if self.identity > 0:
            raise ValueError(f"identity: expected 0 for {self.name}, got {self.identity:g}: its one generator must change "
                             "the images of both domains; use syce for an identity term")  # fmt: skip
        super().__post_init__()


@dataclass(eq=False, kw_only=True)
class CyCSAE(_WithStable):
    """Cyclic conditioned stable and adversarial explanation (supplement A.2): two outputs of a generator a domain.

    g_i^s makes the stable image and g_i^a the counterfactual; they share all but their last convolutions (eqs S15, S16),
    which are kept alike. The losses are SyCE's with g_i^s(x) for g_i(g_i(x)).

    Deviation: the cycle goes through g_i^a(x), as the text and eq. 13 say; eq. S18 prints g_i^s(x).
    Hyperparameters: see the shared ones above.

    Args:
        likeness: lambda_w of the distance of the two last blocks' parameters, eq. S18, whose value the paper leaves out;
            large, since the distance is a mean over parameters.
    """

    name: ClassVar[str] = "cycsae"

    likeness: float = 100.0

    def _generator(self) -> nn.Module:
        return TwoHeaded(
            self.classifier.image_shape[0], width=self.width, depth=self.depth, norm=self.norm, refine=self.refine,
            residual=self.residual, noise=self.noise,
        )  # fmt: skip

    def _translated(self, i: int, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return self._made(i, image, noise)[0]

    def _made(self, i: int, image: Tensor, noise: Tensor | None) -> tuple[Tensor, ...]:
        stable, adversary = self.networks[self.generator_of[i]](image, noise)
        return adversary, stable

    def _more_terms(self, i: int, real: list[Tensor], adversary: Tensor, step: Step) -> dict[str, Tensor]:
        stable, other = cast(TwoHeaded, self.networks[self.generator_of[i]]).heads
        terms = {f"likeness_{i}": self.likeness * weight_distance(stable, other)}  # d_w of eq. S18
        return terms | super()._more_terms(i, real, adversary, step)
