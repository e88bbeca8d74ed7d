"""medXGAN's latent space: z1 for what stays, z2 with a block for each class, 0 where the class is absent."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.generative import GenerativeModel
from obverse.networks.dcgan import Generator


class AnatomyModel(GenerativeModel):
    """A generator on (z1, z2) as a conditional generative model (Dravid et al., medXGAN, sections 3.1 and 3.3).

    Args:
        networks: "generator" from (N, D) to images, "critic" from images to (N, 1), and "encoder" from images to (N, D)
            where there is one.
        classifier: whose classes they are; it says which class an image to encode is of.
        anatomy, pathology: how many numbers z1 has, and each block of z2.
        absent: the class without a block, whose z2 is 0; None gives every class a block.

    Attributes:
        absent: the class without a block, or None.
        anatomy: the slice of a latent that is z1.
        blocks: for each class its slice of z2, None for the absent class.
    """

    name: ClassVar[str] = "anatomy"
    has_critic = True

    def __init__(
        self, networks: nn.ModuleDict, classifier: Classifier, *, anatomy: int, pathology: int, absent: int | None
    ) -> None:
        self._networks, self._classifier, self._pathology = networks, classifier, pathology
        self.classes, self.image_shape = classifier.classes, classifier.image_shape
        self.has_encoder = "encoder" in networks
        self.absent, self.anatomy = absent, slice(0, anatomy)
        self.blocks: list[slice | None] = []
        self.latent_size = anatomy
        for k in range(len(classifier.classes)):
            self.blocks.append(None if k == absent else slice(self.latent_size, self.latent_size + pathology))
            self.latent_size += 0 if k == absent else pathology
        self._allowed = torch.zeros(len(self.blocks), self.latent_size)
        self._allowed[:, self.anatomy] = 1
        for k, block in enumerate(self.blocks):
            if block is not None:
                self._allowed[k, block] = 1

    def modules(self) -> list[nn.Module]:
        """Return the networks."""
        return [self._networks]

    @property
    def normal_size(self) -> int:
        """z1 and one block."""
        return self.anatomy.stop + self._pathology

    def allowed(self, target: Tensor) -> Tensor:
        """Return (N, D), 1 where a latent of the class may differ from 0."""
        self._allowed = self._allowed.to(target.device)
        return self._allowed[target]

    def realise(self, latent: Tensor, target: Tensor, normal: Tensor) -> Tensor:
        """Return the same anatomies as another class.

        Args:
            latent: (N, D), of which z1 is kept.
            target: (N,) class indices.
            normal: (N, pathology) noise for the class's block; the absent class has none.
        """
        return self.from_normal(torch.cat([latent[:, self.anatomy], normal], 1), target)

    def first_layer(self, latent: Tensor) -> Tensor:
        """Return (N, ...) what the generator's first layer makes of latents, without its constant part.

        A direction of the latent that changes no image counts for little there, so that repeated searches can be compared.
        """
        return F.linear(latent, cast(Generator, self._networks["generator"]).dense.weight)

    def grid(self, anatomies: int, *, realisations: int = 3, seed: int = 0) -> Tensor:
        """Return images (rows, anatomies, C, H, W): one z1 a column, and one z2 a row, of every class in turn.

        Args:
            anatomies: columns.
            realisations: rows of each class; the absent class has one.
            seed: of the noise.
        """
        generator = torch.Generator().manual_seed(seed)
        z1 = torch.randn(anatomies, self.latent_size, generator=generator).to(self.device)
        rows = []
        for k, block in enumerate(self.blocks):
            for _ in range(1 if block is None else realisations):
                z2 = torch.randn(1, self._pathology, generator=generator).expand(anatomies, -1).to(self.device)
                target = torch.full((anatomies,), k, device=self.device)
                rows.append(self.decode(self.realise(z1, target, z2)).detach())
        return torch.stack(rows)

    def near_boundary(self, count: int, *, of: int | str, against: int | str | None = None, seed: int = 0) -> Tensor:
        """Return images at which the classifier just begins to decide a class, on walks through z2 (section 6).

        Args:
            count: how many.
            of: the class that the walks lead to.
            against: the class they start from; None takes the absent class.
            seed: of the noise.

        Returns:
            (count, C, H, W) in [0, 1], decided `of`; a thousandth of the walk before, they are not.

        Raises:
            ValueError: no class to start from, one that the walks lead to, or too few walks whose ends are decided as they
                should.
        """
        end, start = self._classifier.index(of), self.absent if against is None else self._classifier.index(against)
        if start is None:
            raise ValueError("against: every class has a z2 here, got None; name the class where the walks start")
        if start == end:
            name = self._classifier.classes[end]
            raise ValueError(f"of, against: expected two different classes, got {name!r} and {name!r}; name another class in "
                             "against")  # fmt: skip
        low = self.sample(4 * count, target=start, seed=seed)
        noise = torch.randn(4 * count, self._pathology, generator=torch.Generator().manual_seed(seed + 1))
        high = self.realise(low, torch.full((4 * count,), end, device=self.device), noise.to(self.device))
        crosses = (self._decided(low) != end) & (self._decided(high) == end)
        low, high = low[crosses][:count], high[crosses][:count]
        if len(low) < count:
            raise ValueError(f"near_boundary: {len(low)} of {4 * count} walks end decided {self._classifier.classes[end]!r} "
                             f"and do not begin so, expected {count}; train the generator longer")  # fmt: skip
        for _ in range(10):  # halve the walk ten times
            middle = low.lerp(high, 0.5)
            over = (self._decided(middle) == end)[:, None]
            low, high = torch.where(over, low, middle), torch.where(over, middle, high)
        return self.decode(high).detach()

    def _decided(self, latent: Tensor) -> Tensor:
        with torch.no_grad():
            return self._classifier.decide(self.decode(latent))

    def _from_normal(self, normal: Tensor, target: Tensor) -> Tensor:
        blocks = sum(block is not None for block in self.blocks)
        latent = torch.cat([normal[:, self.anatomy], normal[:, self.anatomy.stop :].repeat(1, blocks)], 1)
        return latent * self.allowed(target)

    def _decode(self, latent: Tensor) -> Tensor:
        image: Tensor = self._networks["generator"](latent)
        return image

    def encode_as(self, image: Tensor, target: Tensor) -> Tensor:
        """Return (N, D), the encoder's latents of images whose classes (N,) are known: no need to ask the classifier.

        Raises:
            NotApplicable: no encoder.
        """
        if not self.has_encoder:
            raise NotApplicable("encode: anatomy has no encoder; find latents with the invert(image) of its explainer, which "
                                "keeps those of absent classes at 0")  # fmt: skip
        latent: Tensor = self._networks["encoder"](image)
        return latent.float() * self.allowed(target)

    def _encode(self, image: Tensor) -> Tensor:
        return self.encode_as(image, self._classifier.decide(image))

    def _criticise(self, image: Tensor) -> Tensor:
        logit: Tensor = self._networks["critic"](image).squeeze(1)
        return logit
