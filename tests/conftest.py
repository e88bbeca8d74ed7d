"""One thread, and the small classifier and images that the tests of the core share."""

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from tiny_core import bright_data, bright_module

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Networks that a test makes without a seed of their own are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture
def module() -> nn.Module:
    """Two logits of a 1 x 16 x 16 image; decides "bright" where the left half is brighter than 0.5."""
    return bright_module()


@pytest.fixture
def classifier(module) -> Classifier:
    return Classifier(module, ["dark", "bright"], (1, 16, 16), device="cpu")


@pytest.fixture
def data() -> MemoryDataset:
    """32 images, half of them decided "dark" and half "bright"."""
    return bright_data(32)


@pytest.fixture
def images(data) -> torch.Tensor:
    """Eight images, four of each class, in turn."""
    return data[torch.tensor([0, 16, 1, 17, 2, 18, 3, 19])].image


@pytest.fixture
def sample(data) -> Sample:
    return data[slice(None)]
