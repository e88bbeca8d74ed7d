"""Every method that learns on colour images and every head a classifier may have, and on views of larger classifiers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.models.dcgan import DCGAN
from obverse.training import fit
from test_contract import LEARNED, SETTINGS, class_of

SQUARE = ("c3lt", "medxgan", "exaggeration", "explaingan")
"""Their generators make square images."""


class Brightness(nn.Module):
    """Scores brightness through a convolution, a global average and a linear layer."""

    def __init__(self, weight: list[float], bias: list[float]) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate"), nn.Linear(3, len(weight))
        with torch.no_grad():
            self.conv.weight.fill_(1 / 27)
            self.conv.bias.zero_()
            self.out.weight.copy_(torch.tensor(weight)[:, None].expand(-1, 3) / 3)
            self.out.bias.copy_(torch.tensor(bias))

    def forward(self, image):
        return self.out(self.conv(image).mean((2, 3)))


def one_logit(shape) -> Classifier:
    return Classifier(Brightness([12.0], [-6.0]), ["dark", "bright"], shape, device="cpu")


def label(shape) -> Classifier:
    module = Brightness([12.0, -3.0], [-6.0, 1.0])
    return Classifier(module, ["bright", "dull"], shape, head="multilabel", device="cpu").label("bright")


def against_rest(shape) -> Classifier:
    module = Brightness([-12.0, -12.0, 12.0], [6.0, 6.0, -6.5])
    return Classifier(module, ["black", "dark", "bright"], shape, device="cpu").against_rest("bright")


def images(shape, classes) -> MemoryDataset:
    image = torch.rand(16, *shape, generator=torch.Generator().manual_seed(1)) * 0.4
    image[8:] += 0.6
    return MemoryDataset(Sample(image=image, label=(torch.arange(16) >= 8).long()), classes)


@pytest.mark.parametrize("head", [one_logit, label, against_rest])
@pytest.mark.parametrize("name", LEARNED)
def test_it_trains_and_answers(name, head):
    shape = (3, 16, 16) if name in SQUARE else (3, 16, 24)
    classifier = head(shape)
    data = images(shape, classifier.classes)
    parts = [DCGAN(shape, latent_size=6, width=4)] if name == "c3lt" else []
    explainer = class_of(name)(classifier, *parts, **SETTINGS.get(name, {}))
    fit(explainer, data, validation=data, steps=2, batch_size=8, progress=False, precision="float32")
    made = explainer.explain(data[:].image[4:12])
    assert made.attribution.shape == (8, 1, *shape[1:]) and torch.isfinite(made.attribution).all()
    assert made.classes == classifier.classes and made.source.tolist() == [0] * 4 + [1] * 4
    if made.counterfactual is not None:
        assert made.counterfactual.shape == (8, *shape)
        assert torch.equal(made.valid, classifier.decide(made.counterfactual) == made.target)
