"""SyCE and CyCE (Charachon et al., "Leveraging Conditional Generative Models in a General Explanation Framework").

Domain i is the set of training images that the classifier *decides* i; generator g_i takes it to the other domain.
Equation numbers are the main paper's.

Deviations (the first two are what the authors' released models do):
- The norm of the generators is a learned gain and offset: their batch norm never ran in training mode.
- ||.||_{1,2} is the sum of mean squared and mean absolute difference, to which the printed weights belong.
- The class terms are cross entropies of logits, so they never lose their gradient as clipped probabilities do.
- The clip to [0, 1] passes gradients that lead back into the range.
- The critics see the fakes of this step's generator moves, made just before the update, instead of fresh ones.
- Critics and generators have an Adam each whose counter runs once an update.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.data.augment import Augment
from obverse.data.base import Dataset, Sample
from obverse.explainer import Answer, LearnedExplainer, Query
from obverse.losses import class_loss, fake_loss, gradient_penalty, l1_l2, real_loss
from obverse.networks.blocks import in_parts
from obverse.networks.critics import Critic
from obverse.networks.translators import Norm, UNet
from obverse.training import Moves


@dataclass(eq=False, kw_only=True)
class _Translation(LearnedExplainer):
    """Two generators and two critics for the two decisions of a classifier; what SyCE and CyCE share.

    Args:
        cycle: lambda of the cycle distance, eq. 13.
        identity: lambda of leaving images alone that are decided as wanted already (not the paper's, but CycleGAN's: it
            keeps a generator from painting the same pattern over every image).
        adversarial_class: lambda of the class of the counterfactual, eq. 9.
        cycle_class: lambda of the class of the cycled image, eq. 14.
        realism: lambda of the critic's opinion, eq. 21.
        penalty: lambda of the gradient penalty of the critics, eq. 22.
        penalty_every: steps between two gradient penalties, which then weigh that much more.
        generator_rate, critic_rate: Adam's learning rates.
        momentum: Adam's betas, of both players.
        decay: share of the run, at its end, over which the rates fall linearly to a tenth (the paper divides at plateaus).
        width, depth: of the generators (see `UNet`).
        refine: convolutions after the last skip (see `UNet`).
        residual: whether generators predict the change; not the paper's, but learns small findings far sooner.
        norm: of the generators.
        critic_width, critic_levels: see `Critic`.
        augment: random geometry of the training images; targets are decided anew on the augmented batch.
        seed: of the initial weights.
    """

    cycle: float = 2.0
    identity: float = 0.0
    adversarial_class: float = 0.2
    cycle_class: float = 0.005
    realism: float = 0.25
    penalty: float = 1.0
    penalty_every: int = 1
    generator_rate: float = 1e-4
    critic_rate: float = 2e-4
    momentum: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.3
    width: int = 16
    depth: int = 2
    refine: bool = False
    residual: bool = False
    norm: Norm = "affine"
    critic_width: int = 32
    critic_levels: int = 3
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        classes, shape = self.classifier.classes, self.classifier.image_shape
        if len(classes) != 2:
            raise ValueError(f"classifier: {self.name} explains a choice between 2 classes, got {len(classes)} "
                             f"({', '.join(classes)}); take a view, classifier.against_rest({classes[0]!r})")  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks: dict[str, nn.Module] = {}
            for i in range(2):
                networks[f"generator_{i}"] = UNet(
                    shape[0], width=self.width, depth=self.depth, norm=self.norm, refine=self.refine,
                    residual=self.residual,
                )
                networks[f"critic_{i}"] = Critic(shape, width=self.critic_width, levels=self.critic_levels)
        self.networks = nn.ModuleDict(networks).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks.eval()

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for both generators and one for both critics."""
        def both(kind: str) -> list[nn.Parameter]:
            return [p for i in range(2) for p in self.networks[f"{kind}_{i}"].parameters()]

        return {
            "generators": Adam(both("generator"), self.generator_rate, self.momentum),
            "critics": Adam(both("critic"), self.critic_rate, self.momentum),
        }

    def rate(self, step: Step) -> float:
        """Return 1, falling linearly to 0.1 over the last `decay` of the run."""
        left = (step.total - step.index) / max(step.total * self.decay, 1)
        return min(1.0, 0.1 + 0.9 * left)

    def groups(self, data: Dataset) -> Tensor:
        """Return what the classifier decides; fixed once, on images that are not augmented.

        Raises:
            ValueError: a class that is never decided.
        """
        decided = self.classifier.posteriors(data).argmax(1)
        counts = torch.bincount(decided, minlength=2).tolist()
        if min(counts) == 0:
            never = self.classifier.classes[counts.index(0)]
            raise ValueError(f"data: the classifier never decides {never!r} on these {len(data)} images; {self.name} "
                             "needs images of both decisions: pass other images or check the classifier")  # fmt: skip
        return decided

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the generators' moves, then the critics' (supplement E.1, optimisation steps)."""
        image = self.augment(batch.image, step.uniform(batch.image.new_empty(len(batch), 6)))
        real = list(image.chunk(2))
        decided = list(self.classifier.decide(image).chunk(2))
        fakes: list[Tensor] = []
        yield from self._generator_moves(real, decided, fakes)
        losses: dict[str, Tensor] = {}
        for i, critic in enumerate(self._all("critic")):
            fake = fakes[1 - i].detach()  # g_{1-i} leads into domain i
            logits = critic(torch.cat([real[i], fake]))
            losses[f"real_{i}"] = real_loss(logits[: len(real[i])])  # eq. 10
            losses[f"fake_{i}"] = fake_loss(logits[len(real[i]) :])  # eq. 10
            if step.index % self.penalty_every == 0:
                weight, share = self.penalty * self.penalty_every, step.uniform(fake[:, :1, :1, :1])
                losses[f"penalty_{i}"] = weight * gradient_penalty(critic, real[i], fake, share)  # eq. 22
        yield "critics", losses

    def _identity(self, i: int, real: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss of generator i on images that lie in its target domain already."""
        if self.identity == 0:
            return {}
        kept = self.networks[f"generator_{i}"](real[1 - i])
        return {f"identity_{i}": self.identity * (kept - real[1 - i]).abs().mean()}

    @abstractmethod
    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor]) -> Moves:
        """Yield the generators' moves and put the two batches of counterfactuals into `fakes`."""

    def _all(self, kind: str) -> list[nn.Module]:
        return [self.networks[f"{kind}_{i}"] for i in range(2)]

    def _by_source(self, query: Query, image: Tensor) -> Tensor:
        """Run each row through the generator of its source."""
        out = torch.empty_like(image, dtype=torch.float32)
        for i, generator in enumerate(self._all("generator")):
            rows = query.source == i
            if bool(rows.any()):
                out[rows] = in_parts(generator, image[rows]).float()
        # asked for what is decided already: the image stays
        return torch.where((query.source == query.target).view(-1, 1, 1, 1), query.image, out)


@dataclass(eq=False, kw_only=True)
class SyCE(_Translation):
    """Symmetrically conditioned explanation: counterfactual g_i(x), stable image g_i(g_i(x)), map |stable - counterfactual|.

    Defaults are the paper's digits weights (supplement table 1b). Hyperparameters: see the shared ones above.

    Args:
        symmetry: lambda of the distance to the stable image, eq. 11.
        stable_class: lambda of the class of the stable image, eq. 12.
    """

    name: ClassVar[str] = "syce"

    symmetry: float = 10.0
    stable_class: float = 0.01

    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor]) -> Moves:
        generators, critics = self._all("generator"), self._all("critic")
        for i, x in enumerate(real):
            adversary = generators[i](x)
            stable, cycled = generators[i](adversary), generators[1 - i](adversary)
            fakes.append(adversary)
            logits = self.classifier.logits(torch.cat([adversary, stable, cycled])).chunk(3)
            yield "generators", {
                f"adversarial_class_{i}": self.adversarial_class * class_loss(logits[0], 1 - decided[i]),  # eq. 9
                f"realism_{i}": self.realism * real_loss(critics[1 - i](adversary)),  # eq. 21
                f"symmetry_{i}": self.symmetry * l1_l2(x, stable),  # eq. 11
                f"stable_class_{i}": self.stable_class * class_loss(logits[1], decided[i]),  # eq. 12
                f"cycle_{i}": self.cycle * l1_l2(x, cycled),  # eq. 13
                f"cycle_class_{i}": self.cycle_class * class_loss(logits[2], decided[i]),  # eq. 14
            } | self._identity(i, real)

    def answer(self, query: Query) -> Answer:
        """Return eqs 5 and 7 for the generator of each image's decision."""
        counterfactual = self._by_source(query, query.image)
        stable = self._by_source(query, counterfactual)
        residual = (stable - query.image).abs().flatten(1).mean(1)
        return Answer(counterfactual=counterfactual, stable=stable, residual=residual)

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
class CyCE(_Translation):
    """Cyclic conditioned explanation (section 5, eq. 16): counterfactual g_i(x), map |x - counterfactual|.

    Defaults are the paper's digits weights (supplement table 1a). Both directions are one move, as released.
    Hyperparameters: see the shared ones above.
    """

    name: ClassVar[str] = "cyce"

    cycle: float = 10.0

    def _generator_moves(self, real: list[Tensor], decided: list[Tensor], fakes: list[Tensor]) -> Moves:
        generators, critics = self._all("generator"), self._all("critic")
        losses: dict[str, Tensor] = {}
        for i, x in enumerate(real):
            adversary = generators[i](x)
            cycled = generators[1 - i](adversary)
            fakes.append(adversary)
            logits = self.classifier.logits(torch.cat([adversary, cycled])).chunk(2)
            losses[f"adversarial_class_{i}"] = self.adversarial_class * class_loss(logits[0], 1 - decided[i])  # eq. 9
            losses[f"realism_{i}"] = self.realism * real_loss(critics[1 - i](adversary))  # eq. 21
            losses[f"cycle_{i}"] = self.cycle * l1_l2(x, cycled)  # eq. 13
            losses[f"cycle_class_{i}"] = self.cycle_class * class_loss(logits[1], decided[i])  # eq. 14
            losses |= self._identity(i, real)
        yield "generators", losses

    def answer(self, query: Query) -> Answer:
        """Return section 5's explanation for the generator of each image's decision."""
        return Answer(counterfactual=self._by_source(query, query.image))
