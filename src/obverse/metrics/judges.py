"""The networks that judge realism: trained once for a data set and a classifier, and kept in a folder."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from obverse.batches import Step
from obverse.checkpoint import load_tensors, read_json, save_folder, standing
from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.metrics.base import Context, needed
from obverse.modules import seeded
from obverse.networks.blocks import in_parts
from obverse.training import Moves, Trainable, fit


def halvings(side: int) -> int:
    """Return how often a side is halved until it is at most 8."""
    count = 0
    while side > 8:
        side, count = (side + 1) // 2, count + 1
    return count


def convolution(inner: int, outer: int, stride: int = 1) -> list[nn.Module]:
    """Return a 3 x 3 convolution, group norm (without any, the embedding collapses) and ReLU."""
    return [nn.Conv2d(inner, outer, 3, stride=stride, padding=1), nn.GroupNorm(max(1, outer // 8), outer), nn.ReLU()]


class Encoder(nn.Module):
    """Strided convolutions to a map of at most 8 x 8, then a dense layer.

    Args:
        image_shape: (C, H, W).
        outputs: how many numbers an image.
        width: channels of the first convolution, doubled up to four times that.
    """

    def __init__(self, image_shape: tuple[int, int, int], outputs: int, width: int) -> None:
        super().__init__()
        channels, height, across = image_shape
        layers: list[nn.Module] = convolution(channels, width)
        now = width
        for _ in range(halvings(max(height, across))):
            new = min(2 * now, 4 * width)
            layers += convolution(now, new, stride=2) + convolution(new, new)
            now, height, across = new, (height + 1) // 2, (across + 1) // 2
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(now * height * across, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, outputs)."""
        out: Tensor = self.dense(self.layers(image).flatten(1))
        return out


class Decoder(nn.Module):
    """A dense layer and upsampling convolutions to an image in [0, 1].

    Args:
        image_shape: (C, H, W).
        inputs: how many numbers an image.
        width: channels of the last convolutions.
    """

    def __init__(self, image_shape: tuple[int, int, int], inputs: int, width: int) -> None:
        super().__init__()
        self.image_shape, count = image_shape, halvings(max(image_shape[1:]))
        self.side = [-(-s // 2**count) for s in image_shape[1:]]
        now = min(2**count, 4) * width
        self.first = now
        self.dense = nn.Linear(inputs, now * self.side[0] * self.side[1])
        layers: list[nn.Module] = []
        for _ in range(count):
            new = max(now // 2, width)
            layers += [nn.Upsample(scale_factor=2), *convolution(now, new)]
            now = new
        self.layers = nn.Sequential(*layers, nn.Conv2d(now, image_shape[0], 3, padding=1))

    def forward(self, latent: Tensor) -> Tensor:
        """Return (N, C, H, W) in [0, 1]."""
        start = F.relu(self.dense(latent)).view(-1, self.first, *self.side)
        image: Tensor = self.layers(start)[..., : self.image_shape[1], : self.image_shape[2]]
        return image.float().sigmoid()


@dataclass(frozen=True)
class JudgeSettings:
    """How the judges are built and trained.

    Args:
        latent: numbers an image.
        width: channels of the first layer.
        steps, rate: of the training.
        batch_size: of the training; fewer images of more than 32 px a side, down to 16, hold as many pixels.
        beta: weight of the KL term (embedding).
        decision: weight of the decision's cross-entropy (embedding).
        pixels: "sum" or "mean", of the squared error (embedding); "mean" with beta 5 and decision 0.1 is what SyCE
            released, which collapses.
    """

    latent: int = 32
    width: int = 16
    steps: int = 1000
    batch_size: int = 128
    rate: float = 1e-3
    beta: float = 1.0
    decision: float = 1.0
    pixels: str = "sum"


RELEASED = JudgeSettings(latent=100, beta=5.0, decision=0.1, pixels="mean", rate=1e-4)
"""SyCE's released embedding: squared error as a mean, KL as a sum; it collapses onto the decision."""


class _Judge(Trainable):
    """What the judges share: the classifier whose decisions are the domains, settings, and where they run."""

    kind: str

    def __init__(self, classifier: Classifier, settings: JudgeSettings, seed: int) -> None:
        self.classifier, self.settings, self.seed = classifier, settings, seed
        self._decided: tuple[Dataset, Tensor] | None = None
        self.counts: Tensor | None = None  # reference images decided as each class, where that is known
        with seeded(seed):
            self.networks = nn.ModuleDict(self.build()).to(classifier.device)

    @abstractmethod
    def build(self) -> dict[str, nn.Module]:
        """Return new networks."""

    @property
    def device(self) -> torch.device:
        """The classifier's device."""
        return self.classifier.device

    def players(self) -> dict[str, Optimizer]:
        """Return one Adam for all."""
        return {self.kind: Adam(self.networks.parameters(), lr=self.settings.rate)}

    def rate(self, step: Step) -> float:
        """Fall to a tenth over the last half."""
        return 1.0 if step.index < step.total // 2 else 0.1 ** (2 * step.index / step.total - 1)

    def groups(self, data: Dataset) -> Tensor:
        """Return the classifier's decisions, which are asked for once; -1 for those of fewer than 1 in 100 images.

        Batches hold equally many of each: a decision made for a few images would weigh as much as one made for thousands.
        """
        if self._decided is None or self._decided[0] is not data:
            decided = self.classifier.posteriors(data).argmax(1)
            rare = 100 * torch.bincount(decided, minlength=len(self.classifier.classes)) < len(decided)
            self._decided = data, torch.where(rare[decided], -1, decided)
        return self._decided[1]

    def describe(self) -> dict[str, Any]:
        """Return kind, settings, seed and classifier."""
        return {
            "kind": self.kind,
            **asdict(self.settings),
            "seed": self.seed,
            "classifier": self.classifier.fingerprint,
        }

    def validate(self, data: Dataset) -> float:
        """Return 0: the last averaged weights are kept."""
        return 0.0


class Embedding(_Judge):
    """A variational autoencoder whose mean also feeds a small network that tells the decisions apart."""

    kind = "embedding"

    def build(self) -> dict[str, nn.Module]:
        """Return encoder, decoder and decision network."""
        shape, s = self.classifier.image_shape, self.settings
        head = nn.Sequential(nn.Linear(s.latent, 64), nn.ReLU(), nn.Linear(64, len(self.classifier.classes)))
        return {
            "encoder": Encoder(shape, 2 * s.latent, s.width),
            "decoder": Decoder(shape, s.latent, s.width),
            "head": head,
        }

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """One move: reconstruction, KL and decision (SyCE section 6.3)."""
        s = self.settings
        mean, spread = self.networks["encoder"](batch.image).float().chunk(2, 1)
        image = self.networks["decoder"](mean + step.normal(mean) * (0.5 * spread).exp())
        error = (image - batch.image).square().flatten(1)
        kl = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1).mean()
        decided = self.classifier.decide(batch.image)
        yield (
            self.kind,
            {
                "reconstruction": error.sum(1).mean() if s.pixels == "sum" else error.mean(),
                "kl": s.beta * kl,
                "decision": s.decision * F.cross_entropy(self.networks["head"](mean).float(), decided),
            },
        )

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """Return (N, latent), the mean."""
        return in_parts(lambda part: self.networks["encoder"](part).float().chunk(2, 1)[0], image.to(self.device))

    @torch.no_grad()
    def kl(self, image: Tensor) -> float:
        """Return the mean KL in nat; near 0 means that the embedding has collapsed."""
        mean, spread = in_parts(self.networks["encoder"], image.to(self.device)).float().chunk(2, 1)
        return float(0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1).mean())


class Autoencoders(_Judge):
    """One autoencoder a class, by decision, and one for all (C3LT section 4.3.2, after Van Looveren and Klaise)."""

    kind = "autoencoders"

    def build(self) -> dict[str, nn.Module]:
        """Return "all" and one network a class."""
        shape, s = self.classifier.image_shape, self.settings

        def one() -> nn.Module:
            return nn.Sequential(Encoder(shape, s.latent, s.width), Decoder(shape, s.latent, s.width))

        return {"all": one(), **{f"class{k}": one() for k in range(len(self.classifier.classes))}}

    def train_step(self, batch: Sample, step: Step) -> Moves:
        """One move: every network's mean squared error on its own images."""
        decided = self.classifier.decide(batch.image)
        losses = {"all": F.mse_loss(self.networks["all"](batch.image), batch.image)}
        for k in decided.unique().tolist():
            image = batch.image[decided == k]
            losses[f"class{k}"] = F.mse_loss(self.networks[f"class{k}"](image), image)
        yield self.kind, losses

    @torch.no_grad()
    def reconstruct(self, image: Tensor, name: str) -> Tensor:
        """Return the images as one of the networks, "all" or "class0", "class1", ..., would have them."""
        return in_parts(self.networks[name], image.to(self.device))


J = TypeVar("J", Embedding, Autoencoders)


def judge(make: Callable[[Classifier, JudgeSettings, int], J], context: Context, settings: JudgeSettings) -> J:
    """Return a trained judge: from this evaluation, from the folder, or trained on the reference and kept there.

    Raises:
        NotApplicable: no reference, or no folder.
    """
    reference, judges = needed(context.reference, "reference"), needed(context.judges, "judges")
    made = make(context.classifier, fitted(settings, context.classifier.image_shape), context.seed)
    built = hashlib.sha256(repr(made.networks).encode()).hexdigest()[:12]  # judges of older networks are not taken
    what = {**made.describe(), "networks": built, "data": content(reference)}
    name = f"{made.kind}-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]}"
    if name not in context.shared:
        folder = judges / name
        if standing(folder).exists() and read_json(folder / "judge.json") == what:
            made.networks.load_state_dict(load_tensors(folder / "networks.safetensors"))
            if (standing(folder) / "decisions.json").exists():
                made.counts = torch.tensor(read_json(folder / "decisions.json")["images"])
        else:
            decided = made.groups(reference)
            made.counts = torch.bincount(decided[decided >= 0], minlength=len(context.classifier.classes))
            size = max(made.settings.batch_size, int((made.counts > 0).sum()))  # one of each at least
            fit(made, reference, steps=settings.steps, batch_size=size, validate_every=settings.steps, seed=context.seed)
            save_folder(folder, {"networks": dict(made.networks.state_dict())},
                        {"judge": what, "decisions": {"images": made.counts.tolist()}})  # fmt: skip
        made.networks.eval().requires_grad_(False)
        context.shared[name] = made
    found: J = context.shared[name]
    return found


def fitted(settings: JudgeSettings, image_shape: tuple[int, int, int]) -> JudgeSettings:
    """Return the settings with the batch size for images of this size: minutes of training, whatever the size."""
    held = settings.batch_size * 32**2 // (image_shape[1] * image_shape[2])
    return replace(settings, batch_size=min(settings.batch_size, max(16, held)))


def content(data: Dataset) -> dict[str, Any]:
    """Return what tells one data set from another: name, split, size, and a digest of up to 64 images."""
    rows = torch.linspace(0, max(len(data) - 1, 0), min(64, len(data))).long()
    digest = hashlib.sha256((data[rows].image * 255).round().to(torch.uint8).cpu().numpy().tobytes()).hexdigest()
    return {"name": data.name, "split": data.split, "images": len(data), "digest": digest}
