"""Where modules are put, what they are drawn from, and that both leave the random states as they were."""

import pytest
import torch

from obverse.methods.exaggeration import Exaggeration
from obverse.models.dcgan import DCGAN
from obverse.models.vae import VAE
from obverse.modules import default_device, seeded
from obverse.settings import adjust
from tiny_core import SHAPE, bright_classifier


def test_each_process_that_torchrun_starts_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device() == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert default_device() == torch.device("cuda:1")


def test_drawing_from_a_seed_leaves_the_random_state():
    torch.manual_seed(7)
    after = [torch.rand(2), torch.rand(2)][1]
    torch.manual_seed(7)
    torch.rand(2)
    with seeded(3):
        drawn = torch.rand(2)
    assert torch.equal(torch.rand(2), after)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), drawn)


def test_making_and_adjusting_never_reseeds_a_gpu(monkeypatch):
    def forbidden(seed):
        raise AssertionError("reseeded every GPU")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", forbidden)
    with pytest.raises(AssertionError):
        torch.manual_seed(0)  # as it does where nobody takes care
    VAE(SHAPE, latent_size=2, width=2)
    adjust(Exaggeration(bright_classifier(), bins=2, width=4, critic_width=4), {"search": 3})


def test_a_model_made_for_a_list_of_sides_is_one_for_these_images():
    classifier = bright_classifier()
    for model in (VAE([1, 16, 16], latent_size=2, width=2), DCGAN([1, 16, 16], classifier, latent_size=2, width=2, features=0.0)):
        assert model.image_shape == SHAPE and model.describe() == type(model)(SHAPE, *(
            [classifier] if isinstance(model, DCGAN) else []), latent_size=2, width=2,
            **({"features": 0.0} if isinstance(model, DCGAN) else {})).describe()  # fmt: skip
