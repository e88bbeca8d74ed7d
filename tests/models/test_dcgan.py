"""The DCGAN with encoder: each term against a slow re-statement, players, and that training does what it says."""

import pytest
import torch
from torch.nn import functional as F

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explanation import NotApplicable
from obverse.latent.inversion import invert
from obverse.models.dcgan import DCGAN
from obverse.models.scores import reconstruction, sample_distance
from obverse.training import fit
from tiny_core import SHAPE, bright_data
from tiny_models import bright_classifier

SMALL = {"latent_size": 6, "width": 4}


def moves_of(model, image, index=0):
    """The moves of one step, without updates."""
    step = Step(index=index, total=10, seed=0, rows=len(image))
    return dict(model.train_step(Sample(image=image), step))


def unit(latent):
    return torch.stack([row * (len(row) ** 0.5) / row.norm() for row in latent])


def test_the_terms_are_what_they_say(images):
    classifier = bright_classifier()
    model = DCGAN(SHAPE, classifier, image=7.0, latent=3.0, features=2.0, realism=0.5, rebuilt=0.5, penalty=0.25,
                  penalty_every=4, **SMALL)  # fmt: skip
    moves = moves_of(model, images)
    assert list(moves) == ["critic", "model"]
    net = model.networks
    latent = unit(Step(index=0, total=10, seed=0, rows=8).normal(torch.empty(8, 6)))
    code = unit(net["encoder"](images))
    sample, again = net["generator"](latent), net["generator"](code)
    fake = torch.cat([sample, again[:4]])
    real_logit, fake_logit = net["critic"](images)[:, 0], net["critic"](fake)[:, 0]
    expected = {"real": F.binary_cross_entropy_with_logits(real_logit, torch.ones(8)),
                "fake": F.binary_cross_entropy_with_logits(fake_logit, torch.zeros(12))}  # fmt: skip
    total = 0.0
    for row in images:
        at = row[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(net["critic"](at).sum(), at)
        total += float(gradient.square().sum()) / 8
    expected["penalty"] = torch.tensor(0.25 * 4 * total)
    assert set(moves["critic"]) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(moves["critic"][name], value, rtol=1e-4, atol=1e-6)
    seen, again_seen = classifier.features(images), classifier.features(again)
    expected = {
        "image": 7.0 * (again - images).abs().mean(),
        "latent": 3.0 * (unit(net["encoder"](sample)) - latent).abs().mean(),
        "realism": 0.5 * F.binary_cross_entropy_with_logits(fake_logit, torch.ones(12)),
        "features": 2.0 * (again_seen - seen).abs().mean() / seen.abs().mean(),
    }
    assert set(moves["model"]) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(moves["model"][name], value, rtol=1e-4, atol=1e-6)


def test_the_penalty_comes_now_and_then_and_terms_can_be_left_out(images):
    model = DCGAN(SHAPE, penalty_every=3, **SMALL)
    assert ["penalty" in moves_of(model, images, index)["critic"] for index in range(4)] == [True, False, False, True]
    assert set(moves_of(model, images)["model"]) == {"image", "latent", "realism"}
    plain = DCGAN(SHAPE, realism=0, latent=0, **SMALL)
    assert not plain.has_critic and model.has_critic  # what nothing trains is no critic
    with pytest.raises(NotApplicable, match=r"criticise: gan has no critic; switch the adversarial term off"):
        plain.criticise(images)
    assert {player: set(losses) for player, losses in moves_of(plain, images).items()} == {"model": {"image"}}
    assert list(plain.players()) == ["model"]


def test_the_critic_does_not_move_the_generator_nor_the_other_way_round(images):
    model = DCGAN(SHAPE, **SMALL)
    moves = moves_of(model, images)
    for player, names in (("critic", ("generator", "encoder")), ("model", ())):
        sum(moves[player].values()).backward(retain_graph=True)
        for name in names:
            assert all(p.grad is None for p in model.networks[name].parameters()), (player, name)
    owned = {
        player: {id(p) for group in o.param_groups for p in group["params"]} for player, o in model.players().items()
    }
    assert owned["critic"].isdisjoint(owned["model"])
    assert owned["critic"] | owned["model"] == {id(p) for p in model.networks.parameters()}


def test_latents_lie_on_the_sphere(images):
    model = DCGAN(SHAPE, **SMALL)
    for latent in (model.encode(images), model.sample(5)):
        torch.testing.assert_close(latent.square().mean(1), torch.ones(len(latent)), rtol=1e-4, atol=1e-4)
    latent = model.sample(5)
    torch.testing.assert_close(model.decode(3 * latent), model.decode(latent), rtol=0, atol=1e-5)


@pytest.mark.parametrize("start", ["encoder", "prior"])
def test_a_search_ends_on_the_sphere(images, start):
    model = DCGAN(SHAPE, **SMALL)
    found = invert(model, images, steps=5, rate=0.3, start=start)
    assert (found.steps == 5).all()
    torch.testing.assert_close(found.latent.square().mean(1), torch.ones(8), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.image, model.decode(found.latent).detach())
    latent = model.sample(5)
    torch.testing.assert_close(model.project(3 * latent), latent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [SHAPE, (3, 16, 16)])
def test_training_moves_everything_and_betters_the_reconstruction(shape):
    levels = torch.rand(32, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    data = MemoryDataset(Sample(image=levels.expand(32, *shape).contiguous()), ())  # flat pictures: quickly learnt
    model = DCGAN(shape, latent_size=6, width=4, learning_rate=3e-3)
    before = {k: v.clone() for k, v in model.networks.named_parameters()}
    error = reconstruction(model, data).error
    history = fit(model, data, validation=data, steps=40, batch_size=16, average=0, precision="float32", progress=False)
    assert not [k for k, v in model.networks.named_parameters() if torch.equal(before[k], v)]
    assert reconstruction(model, data).error < 0.8 * error
    assert history.best_score == pytest.approx(
        reconstruction(model, data).error + sample_distance(model, data), abs=1e-5
    )
    picture = model.pictures(data)
    assert picture.shape == (shape[0], 3 * 16, 8 * 16)
    torch.testing.assert_close(picture[:, :16, :16], data[0].image[0])


def test_the_classifier_is_kept_as_a_fingerprint(tmp_path):
    classifier = bright_classifier()
    model = DCGAN(SHAPE, classifier, **SMALL)
    assert model.describe()["classifier"] == classifier.fingerprint
    model.save(tmp_path / "m")
    loaded = DCGAN.load(tmp_path / "m")
    assert loaded.classifier is None and loaded.describe() == model.describe()
    with pytest.raises(
        ValueError, match=r"classifier: expected images of shape \(1, 28, 28\) like the model's, got \(1, 16"
    ):
        DCGAN((1, 28, 28), classifier, **SMALL)


def test_one_loaded_without_its_classifier_is_not_trained_further(tmp_path):
    DCGAN(SHAPE, bright_classifier(), **SMALL).save(tmp_path / "m")
    loaded, run = DCGAN.load(tmp_path / "m"), {"steps": 1, "batch_size": 4, "progress": False}
    with pytest.raises(ValueError, match=r"classifier: this gan was trained with one, .* now has none; to train it further make"):
        fit(loaded, bright_data(8), **run)
    loaded.features = 0.0
    fit(loaded, bright_data(8), **run)


def test_rates_fall_at_the_end():
    model = DCGAN(SHAPE, decay=0.5, **SMALL)
    rates = [model.rate(Step(index=index, total=100, seed=0, rows=4)) for index in (0, 50, 75, 100)]
    assert rates == pytest.approx([1, 1, 0.51, 0.02])


@pytest.mark.parametrize(("settings", "said"), [
    ({"width": 0}, "width: expected more than 0 for gan, got 0"),
    ({"latent_size": 0}, "latent_size: expected more than 0 for gan, got 0"),
    ({"image": -1.0}, "image: expected at least 0 for gan, got -1"),
])  # fmt: skip
def test_impossible_numbers(settings, said):
    with pytest.raises(ValueError, match=said):
        DCGAN(SHAPE, **settings)


def test_a_classifier_without_features_is_refused_where_they_count():
    blind = Classifier.black_box(lambda image: image.flatten(1)[:, :2], ["dark", "bright"], SHAPE)
    with pytest.raises(NotApplicable, match="classifier: it has no linear layer whose features reconstructions could keep; pass"):
        DCGAN(SHAPE, blind, **SMALL)
    assert DCGAN(SHAPE, blind, features=0.0, **SMALL).watched == blind.fingerprint
