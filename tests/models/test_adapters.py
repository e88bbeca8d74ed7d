"""Foreign generators: pixels, parts, refusals; and BigGAN-deep of the public port's interface, small and random."""

import pytest
import torch
from scipy import stats
from torch import nn

from obverse.explanation import NotApplicable
from obverse.models.adapters import Adapter, BigGAN
from tiny_core import SHAPE
from tiny_models import SIZE, Inverse, Linear, Mean, Port, linear_model


def test_pixels_are_rescaled_both_ways():
    generator = Linear()
    model = linear_model()
    latent = model.sample(5, seed=2)
    image = model.decode(latent)
    torch.testing.assert_close(image, (generator(latent) + 1) / 2)
    assert image.min() >= 0 and image.max() <= 1
    torch.testing.assert_close(model.encode(image), latent, rtol=1e-3, atol=1e-3)
    assert model.has_encoder and not model.has_critic and model.classes is None


def test_a_range_that_is_wider_than_the_images_is_doubted():
    class Half(Linear):
        def forward(self, latent):
            return (super().forward(latent) + 1) / 2

    with pytest.warns(UserWarning, match=r"pixels: \[-1, 1\] was announced, .* nothing below [0-9.e-]+; .* say pixels=\(0, 1\)"):
        Adapter(Half(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))


def test_parts_may_be_methods_of_the_generator():
    class Whole(Linear):
        def decode(self, latent):
            return self(latent)

        def encode(self, image):
            return Inverse(self)(image)

        def criticise(self, image):
            return image.mean((1, 2, 3))

    model = Adapter(Whole(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))
    assert model.has_encoder and model.has_critic and len(model.modules()) == 1
    image = model.decode(model.sample(3))
    torch.testing.assert_close(model.criticise(image), 2 * image.mean((1, 2, 3)) - 1)


def test_a_critic_that_gives_probabilities_gives_logits():
    model = Adapter(Linear(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1), critic=Mean(),
                    critic_outputs="probabilities")  # fmt: skip
    image = model.decode(model.sample(4))
    torch.testing.assert_close(model.criticise(image), 2 * image.mean((1, 2, 3)) - 1, rtol=1e-4, atol=1e-5)


def test_a_prior_of_its_own():
    model = Adapter(
        Linear(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1), prior=lambda normal: normal.clamp(-1, 1)
    )
    normal = torch.randn(50, SIZE)
    assert torch.equal(model.from_normal(normal), normal.clamp(-1, 1))
    assert model.sample(50).abs().max() == 1
    mapping = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Dropout(0.5))
    one, other = (Adapter(Linear(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1), prior=network)
                  for network in (mapping, nn.Linear(SIZE, SIZE)))  # fmt: skip
    assert one.fingerprint != other.fingerprint and len(one.modules()) == 2
    assert torch.equal(one.sample(4, seed=1), one.sample(4, seed=1)) and not one.sample(1).requires_grad
    with pytest.raises(ValueError, match=r"prior: expected latents of shape \(N, 8\), got \(16, 4\)"):
        Adapter(Linear(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1), prior=lambda normal: normal[:, :4])


def test_the_users_module_stays_as_it_was():
    generator = Linear().train()
    model = Adapter(generator, image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))
    assert generator.training and generator.basis.requires_grad
    latent = model.sample(2).requires_grad_(True)
    model.decode(latent).sum().backward()
    assert latent.grad.abs().sum() > 0 and generator.basis.grad is None
    before = model.fingerprint
    with torch.no_grad():
        generator.basis.zero_()
    assert model.fingerprint == before and model.frozen() is model


def untrained_encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 8))


class Whole(nn.Module):
    """A critic that says one thing of all images together."""

    def forward(self, image):
        return image.mean()


@pytest.mark.parametrize(("changes", "message"), [
    ({"image_shape": (1, 28, 28)}, r"image_shape: expected images of shape \(1, 28, 28\), got \(1, 16, 16\)"),
    ({"pixels": (0, 1)}, r"pixels: expected values in \[0, 1\], got \[-"),
    ({"pixels": (1, -1)}, r"pixels: expected the least and the greatest value, got \(1, -1\)"),
    ({"latent_size": 9}, r"generator: it failed on latents of size 9: .*; pass the latent_size it was trained with"),
    ({"encoder": nn.Sequential(nn.Flatten(), nn.Linear(256, 5))}, r"encoder: expected latents of shape \(N, 8\)"),
    ({"encoder": Inverse(Linear(seed=1))}, r"encoder: images of the generator come back with .*trained for"),
    ({"encoder": untrained_encoder()}, r"encoder: images of the generator come back with"),
    ({"critic": Whole()}, r"critic: expected one number an image, got \(\) for 16 images; wrap it"),
    ({"critic": nn.Sequential(nn.Flatten(), nn.Linear(256, 5))}, r"critic: expected one number an image, got \(16, 5\)"),
    ({"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 8))}, r"encoder: it failed on images of \(1, 16, 16\): .* trained"),
    ({"critic": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}, r"critic: it failed on images of .*; pass the critic that"),
    ({"critic": Mean(), "critic_outputs": "probability"}, r"critic_outputs: expected 'logits' or 'probabilities', got 'prob"),
    ({"critic": Mean()}, r"critic_outputs: 'logits' was announced, and the critic ends in a sigmoid; pass"),
    ({"critic": nn.Sequential(nn.Flatten(), nn.Linear(256, 1)), "critic_outputs": "probabilities"},
     r"critic_outputs: 'probabilities' was announced, and opinions are in \[.*\]; leave it out for logits"),
    ({"critic": nn.Sequential(nn.Flatten(), nn.Linear(256, 1)).half()}, r"critic: expected weights in float32, got torch.fl"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    settings = {"image_shape": SHAPE, "latent_size": SIZE, "pixels": (-1, 1)} | changes
    with pytest.raises(ValueError, match=message):
        Adapter(Linear(), **settings)


def test_what_is_no_generator_is_refused():
    with pytest.raises(TypeError, match=r"generator: expected a torch.nn.Module, got function"):
        Adapter(lambda latent: latent, image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))

    class Pair(Linear):
        def forward(self, latent):
            return super().forward(latent), latent

    with pytest.raises(TypeError, match=r"generator: expected it to return a tensor, got tuple; wrap it"):
        Adapter(Pair(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))

    class Code(Inverse):
        def forward(self, image):
            return super().forward(image), image

    with pytest.raises(TypeError, match=r"encoder: expected it to return a tensor, got tuple; wrap it to return one"):
        Adapter(Linear(), encoder=Code(Linear()), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))

    class Broken(Linear):
        def forward(self, latent):
            return super().forward(latent) * torch.nan

    with pytest.raises(ValueError, match=r"generator: its images hold NaN or infinity"):
        Adapter(Broken(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))

    class Attached(Linear):
        def __init__(self):
            super().__init__()
            self.last = self.basis * 2  # what spectral norm leaves behind

    with pytest.raises(ValueError, match=r"generator: cannot be copied .*run it once under torch.no_grad"):
        Adapter(Attached(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))


def test_whatever_a_generator_fails_with_is_told():
    class Unfinished(Linear):
        def forward(self, latent):
            return self.nope(latent)

    class Two(Linear):
        def forward(self, latent, label):
            return super().forward(latent)

    class Picky(Linear):
        def forward(self, latent):
            raise AssertionError

    for kind, said in ((Unfinished, "attribute 'nope'"), (Two, r"missing 1 required .*'label'"), (Picky, "AssertionError")):
        with pytest.raises(ValueError, match=rf"generator: it failed on latents of size 8: .*{said}.*; pass the latent_size"):
            Adapter(kind(), image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))


def test_a_critic_may_end_in_a_convolution():
    critic = nn.Conv2d(1, 1, 16)  # (N, 1, 1, 1)
    model = Adapter(Linear(), critic=critic, image_shape=SHAPE, latent_size=SIZE, pixels=(-1, 1))
    image = model.decode(model.sample(3))
    torch.testing.assert_close(model.criticise(image), critic(2 * image - 1).flatten())


def test_missing_parts_say_what_to_do():
    model = linear_model(encoder=False)
    image = model.decode(model.sample(1))
    with pytest.raises(NotApplicable, match=r"encode: adapter has no encoder; find latents with obverse.invert"):
        model.encode(image)
    with pytest.raises(NotApplicable, match=r"criticise: adapter has no critic; switch the adversarial term off"):
        model.criticise(image)


# ------------------------------------------------------------------ BigGAN-deep, small


@pytest.fixture
def port():
    return Port().eval()


def test_biggan_makes_what_the_port_makes(port):
    model = BigGAN(port, truncation=0.4)
    assert model.image_shape == (3, 16, 16) and model.latent_size == 12 and model.normal_size == 6
    assert model.classes == ("0", "1", "2", "3", "4") and not model.has_encoder and not model.has_critic
    latent = model.sample(4, target=3, seed=1)
    label = nn.functional.one_hot(torch.full((4,), 3), 5).float()
    with torch.no_grad():
        theirs = port(latent[:, :6], label, 0.4)
    torch.testing.assert_close(model.decode(latent), (theirs + 1) / 2)
    assert not torch.allclose(model.decode(latent), BigGAN(port, truncation=1.0).decode(latent))


def test_biggan_noise_is_normal_cut_at_two_and_scaled(port):
    model = BigGAN(port, truncation=0.4)
    normal = torch.randn(2000, 6)
    noise = model.from_normal(normal, 0)[:, :6]
    assert noise.abs().max() <= 0.8
    expected = 0.4 * stats.truncnorm.ppf(stats.norm.cdf(normal.double().numpy()), -2, 2)
    torch.testing.assert_close(noise.double(), torch.as_tensor(expected), rtol=1e-4, atol=1e-5)
    extreme = model.from_normal(torch.full((1, 6), 40.0), 0)
    assert torch.isfinite(extreme).all() and extreme[:, :6].max() <= 0.8 + 1e-6


def test_biggan_latents_move_noise_and_class(port):
    model = BigGAN(port)
    mixed = model.from_normal(torch.zeros(2, 6), torch.tensor([1, 4]))
    torch.testing.assert_close(mixed[:, 6:], port.embeddings.weight.T[[1, 4]].detach())
    latent = mixed.clone().requires_grad_(True)
    model.decode(latent).sum().backward()
    assert (latent.grad[:, :6].abs().sum() > 0) and (latent.grad[:, 6:].abs().sum() > 0)


def test_biggan_refuses_what_does_not_fit(port):
    model = BigGAN(port, classes=("cat", "dog", "cow", "hen", "ape"))
    assert model.classes[3] == "hen"
    with pytest.raises(ValueError, match=r"target: biggan-deep needs one of its 5 classes, got None"):
        model.sample(2)
    with pytest.raises(ValueError, match=r"target: expected indices 0 to 4, got 5 to 5; biggan-deep makes no other"):
        model.sample(2, target=5)
    with pytest.raises(ValueError, match=r"classes: expected 5 names, one a class of the module, got 2"):
        BigGAN(port, classes=("cat", "dog"))
    with pytest.raises(ValueError, match=r"truncation: expected a number in \(0, 1\], got 1.5; the paper has 0.4"):
        BigGAN(port, truncation=1.5)
    with pytest.raises(ValueError, match=r"module: expected weights in float32, got torch.bfloat16; call .float\(\) on it first"):
        BigGAN(Port().bfloat16())
    with pytest.raises(ValueError, match=r"expected the BigGAN of the PyTorch port, got Linear without config"):
        BigGAN(Linear())
    assert BigGAN(port, truncation=0.4).fingerprint != BigGAN(port, truncation=0.5).fingerprint
    assert BigGAN(port).fingerprint == BigGAN(port).fingerprint
