"""medXGAN: eq. 4 term by term, who hears from what, the answers of both directions, and the latent integrated gradients."""

import math

import pytest
import torch
from torch import nn

from obverse.baselines.controls import Identity
from obverse.baselines.latent_gradients import LatentGradients
from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.augment import Augment
from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.losses import energy_distance
from obverse.methods.medxgan import MedXGAN
from obverse.settings import adjust
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"anatomy": 8, "pathology": 3, "width": 2, "critic_width": 2, "search_steps": 6, "refine_steps": 3, "seed": 1}


def make(classifier=None, **settings) -> MedXGAN:
    return MedXGAN(classifier or bright_classifier(), **{**SMALL, **settings})


def three_classes() -> Classifier:
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), ["a", "b", "c"], SHAPE, device="cpu")


def batch() -> Sample:
    return bright_data(8, seed=3)[torch.tensor([0, 1, 4, 5])]  # two dark, two bright: the groups, sorted


def step(index: int = 3) -> Step:
    return Step(index, 10, 1, 4, blocks=2)


def play(explainer, index: int = 3):
    """Run a step without updating anything; return what it yields."""
    return list(explainer.train_step(batch(), step(index)))


IMAGES = bright_data(8, seed=5)[torch.tensor([0, 4, 1, 5])].image  # dark, bright, dark, bright
POSITIVE = bright_data(8, seed=5)[torch.tensor([4, 5])].image


# ---------------------------------------------------------------------- eq. 4


def log_loss(probabilities, real: bool) -> float:
    return -sum(math.log(p if real else 1 - p) for p in probabilities) / len(probabilities)


def test_every_term_of_a_step_equals_eq_4():
    explainer = make(class_weight=0.7, penalty=0)
    (critic, judged), (generator, made) = play(explainer)
    assert (critic, generator) == ("critic", "generator")
    assert set(judged) == {"real", "fake"} and set(made) == {"realism", "class"}
    noise = step().normal(torch.empty(4, 11))
    latent = noise * torch.tensor(
        [[1.0] * 8 + [0.0] * 3] * 2 + [[1.0] * 11] * 2
    )  # y = absent, absent, present, present
    fake = explainer.networks["generator"](latent)
    said = {name: explainer.networks["critic"](image).sigmoid().flatten().tolist()
            for name, image in (("real", batch().image), ("fake", fake))}  # fmt: skip
    assert judged["real"].item() == pytest.approx(log_loss(said["real"], True), rel=1e-4)
    assert judged["fake"].item() == pytest.approx(log_loss(said["fake"], False), rel=1e-4)
    assert made["realism"].item() == pytest.approx(log_loss(said["fake"], True), rel=1e-4)
    right = explainer.classifier.posterior(fake)[torch.arange(4), torch.tensor([0, 0, 1, 1])].tolist()
    assert made["class"].item() == pytest.approx(0.7 * log_loss(right, True), rel=1e-4)


def test_the_class_term_alone_reaches_every_layer_of_the_generator_and_nothing_else():
    explainer = make()
    (_, made) = play(explainer)[1]
    made["class"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in explainer.networks["generator"].parameters())
    assert all(p.grad is None for p in explainer.classifier.module.parameters())
    assert all(p.grad is None for p in explainer.networks["critic"].parameters())


def test_the_critics_losses_leave_the_generator_alone():
    explainer = make()
    sum(play(explainer)[0][1].values()).backward()
    assert all(p.grad is None for p in explainer.networks["generator"].parameters())


def test_a_wrong_decision_keeps_its_gradient_where_one_of_probabilities_loses_it(monkeypatch):
    # at p = 0.0025 the log loss of probabilities, as released, has a gradient of 0.0025 in the logit, that of logits 0.9975
    explainer, made = make(), []

    def decode(latent):  # all black: the classifier is sure of "dark", whatever was asked for
        made.append(torch.zeros(len(latent), *SHAPE, requires_grad=True))
        return made[-1] + 0

    monkeypatch.setattr(explainer.model, "decode", decode)
    loss = play(explainer)[1][1]["class"]
    (gradient,) = torch.autograd.grad(loss, made[0])
    image = made[0].detach().requires_grad_(True)
    odds = explainer.classifier.logits(image).diff(dim=1).squeeze(1)  # of bright
    assert float(odds.detach().max()) < -5
    (slope,) = torch.autograd.grad(odds.sum(), image)
    bright = torch.tensor([0, 0, 1, 1]).view(-1, 1, 1, 1)
    share = 1 / (1 + odds.detach().exp()).view(-1, 1, 1, 1)  # of dark, what is missing to bright
    torch.testing.assert_close(gradient, torch.where(bright == 1, -share, 1 - share) * slope / 4, rtol=1e-3, atol=1e-8)


def test_the_critics_penalty_is_the_squared_gradient_at_real_images_every_few_steps():
    explainer = make(penalty=3.0, penalty_every=2)
    assert set(play(explainer, 3)[0][1]) == {"real", "fake"}
    penalty = play(explainer, 4)[0][1]["penalty"].item()
    total = 0.0
    for image in batch().image:
        at = image[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(explainer.networks["critic"](at).sum(), at)
        total += sum(value**2 for value in gradient.flatten().tolist()) / 4
    assert penalty == pytest.approx(3 * 2 * total, rel=1e-3)


def test_real_and_made_images_reach_the_critic_through_their_own_geometry():
    plain, mirrored = make(penalty=0), make(penalty=0, augment=Augment(horizontal_flip=1.0))
    critic = mirrored.networks["critic"]
    (_, judged), (_, made) = play(mirrored)
    said = critic(batch().image.flip(3)).sigmoid().flatten().tolist()
    assert judged["real"].item() == pytest.approx(log_loss(said, True), rel=1e-4)
    # the classifier sees them as they were made
    assert made["class"].item() == pytest.approx(play(plain)[1][1]["class"].item(), rel=1e-5)
    assert made["realism"].item() != pytest.approx(play(plain)[1][1]["realism"].item(), rel=1e-5)


def test_the_generator_meets_the_critic_that_has_just_moved():
    explainer = make()
    moves = explainer.train_step(batch(), step())
    next(moves)
    with torch.no_grad():
        explainer.networks["critic"].out.bias += 1.0
    (_, before), (_, after) = play(explainer)[1], next(moves)
    assert after["realism"].item() == pytest.approx(before["realism"].item(), rel=1e-6)


def test_every_class_comes_equally_often_in_both_players():
    explainer = make(three_classes(), absent="b")
    seen = []
    explainer.model._from_normal, inner = lambda n, t: seen.append(t) or inner(n, t), explainer.model._from_normal
    image = torch.rand(6, *SHAPE)
    list(explainer.train_step(Sample(image=image), Step(0, 1, 0, 6, blocks=3)))
    assert [target.tolist() for target in seen] == [[0, 0, 1, 1, 2, 2]]
    with pytest.raises(
        ValueError, match=r"data: the classifier never decides 'bright' on these 3 images; medxgan needs"
    ):
        make().groups(bright_data(6).subset([0, 1, 2]))
    assert make().groups(bright_data(6)).tolist() == [0, 0, 0, 1, 1, 1]


def test_generator_and_encoder_learn_eq_5_and_the_latents_of_made_images():
    explainer = make(start="encoder", image_weight=2.0, penalty=0, rebuild=0.3)
    _, (player, losses) = play(explainer)
    assert player == "generator" and set(losses) == {"realism", "class", "search", "latent"}
    real, model = batch().image, explainer.model
    code = model.encode(real)
    assert not code[:2, 8:].any()  # of the absent class
    made, posterior = model.decode(code), explainer.classifier.posterior(real)
    divergence = nn.functional.kl_div(explainer.classifier.posterior(made).log(), posterior, reduction="batchmean")
    expected = 0.3 * (2 * (made - real).square().mean() + divergence)
    assert losses["search"].item() == pytest.approx(expected.item(), rel=1e-3)
    target = torch.tensor([0, 0, 1, 1])
    latent = model.from_normal(step().normal(torch.empty(4, 11)), target)
    again = model.encode_as(model.decode(latent).detach(), target)
    assert losses["latent"].item() == pytest.approx(0.3 * (again - latent).square().mean().item(), rel=1e-4)
    learned = {id(p) for group in explainer.players()["generator"].param_groups for p in group["params"]}
    assert {id(p) for name in ("generator", "encoder") for p in explainer.networks[name].parameters()} == learned
    assert "encoder" not in make().networks


def test_with_an_encoder_a_run_moves_everything_and_says_what_is_well_represented():
    explainer = make(start="encoder")
    before = {key: value.clone() for key, value in explainer.networks.named_parameters()}
    assert explainer.explain(IMAGES).represented is None
    fit(explainer, bright_data(16), validation=bright_data(10, seed=9), steps=2, batch_size=8, average=0, progress=False,
        precision="float32")  # fmt: skip
    assert not [key for key, value in explainer.networks.named_parameters() if torch.equal(before[key], value)]
    assert explainer.explain(IMAGES).represented is not None


def test_the_validation_score_is_wrong_samples_plus_energy_distance():
    explainer, data = make(), bright_data(12, seed=8)
    score = 0.0
    for k, real in enumerate(data[slice(None)].image.chunk(2)):
        fake = explainer.model.decode(explainer.model.sample(128, target=k, seed=k)).detach()
        score += (explainer.classifier.decide(fake) != k).float().mean().item() + float(energy_distance(real, fake))
    assert explainer.validate(data) == pytest.approx(score / 2, rel=1e-5)
    assert explainer.pictures(data).shape == (1, 4 * 16, 8 * 16)


# ---------------------------------------------------------------------- answers


def test_a_positive_image_is_answered_by_its_negative_realisation():
    explainer = make()
    answer, found = explainer.explain(POSITIVE, seed=4), explainer.invert(POSITIVE, seed=4)
    assert found.latent.shape == (2, 11) and bool(found.latent[:, 8:].any(1).all())
    negative = torch.cat([found.latent[:, :8], torch.zeros(2, 3)], 1)
    for image, latent in ((answer.stable, found.latent), (answer.counterfactual, negative)):
        assert (image - explainer.model.decode(latent)).abs().max() <= 0.51 / 255
    torch.testing.assert_close(answer.difference, answer.counterfactual - answer.stable)
    expected = (explainer.model.decode(negative) - explainer.model.decode(found.latent)).abs().mean(1, keepdim=True)
    torch.testing.assert_close(answer.attribution, expected.detach(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(answer.residual, (explainer.model.decode(found.latent) - POSITIVE).abs().mean((1, 2, 3)))
    torch.testing.assert_close(answer.posterior_gap, found.posterior_gap, rtol=1e-3, atol=1e-5)
    assert answer.target.tolist() == [0, 0]


def test_several_positive_realisations_share_the_anatomy():
    explainer = make()
    answer = explainer.explain(IMAGES, "bright", answers=3, seed=2)
    assert answer.query.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    stable, made = answer.stable.unflatten(0, (4, 3)), answer.counterfactual.unflatten(0, (4, 3))
    assert bool((stable == stable[:, :1]).all())
    assert all(float((made[:, a] - made[:, b]).abs().amax((1, 2, 3)).min()) > 0 for a, b in ((0, 1), (0, 2), (1, 2)))
    one = explainer.explain(IMAGES, "bright", seed=2)
    assert (one.counterfactual - made[:, 0]).abs().max() <= 1.01 / 255  # asking for more changes none
    z1 = explainer.invert(IMAGES, seed=2).latent[:, :8]
    normal = torch.randn(3, generator=torch.Generator().manual_seed(3 * 1_000_003))
    expected = explainer.model.decode(torch.cat([z1, normal.expand(4, -1)], 1))
    assert (one.counterfactual - expected).abs().max() <= 0.52 / 255


def test_several_negative_realisations_are_one():
    answer = make().explain(POSITIVE, "dark", answers=2)
    assert torch.equal(answer.counterfactual[::2], answer.counterfactual[1::2])


def test_the_path_walks_through_z2_from_the_image_to_its_counterfactual():
    explainer = make()
    frames, answer = explainer.path(POSITIVE, frames=5, seed=1), explainer.explain(POSITIVE, seed=1)
    assert explainer.path_kind == "a straight walk through z2"
    for frame, image in ((frames[:, 0], answer.stable), (frames[:, -1], answer.counterfactual)):
        assert (frame - image).abs().max() <= 0.51 / 255
    latent = explainer.invert(POSITIVE, seed=1).latent.clone()
    latent[:, 8:] *= 0.75
    torch.testing.assert_close(frames[:, 1], explainer.model.decode(latent), rtol=1e-3, atol=1e-4)


def test_more_than_two_classes_have_a_block_each():
    explainer = make(three_classes(), absent=None)
    assert explainer.model.latent_size == 8 + 3 * 3
    image = torch.rand(2, *SHAPE)
    source = explainer.classifier.decide(image)
    answer, found = explainer.explain(image, (int(source[0]) + 1) % 3), explainer.invert(image)
    for row in range(2):
        block = explainer.model.blocks[int(source[row])]
        others = [k for k in range(8, 17) if not block.start <= k < block.stop]
        assert not found.latent[row, others].any() and bool(found.latent[row, block].any())
    assert answer.valid.shape == (2,)
    signed = explainer.latent_gradients(image, steps=2)  # the walk starts at the runner-up
    assert signed.shape == image.shape and bool(signed.abs().flatten(1).amax(1).gt(0).all())


def test_the_encoder_starts_where_it_says_and_the_search_refines_it():
    explainer = make(start="encoder", refine_steps=1, search_rate=1e-6)
    found = explainer.invert(IMAGES)
    torch.testing.assert_close(found.latent, explainer.model.encode(IMAGES).detach(), rtol=1e-3, atol=1e-4)
    noise = explainer.invert(IMAGES, start="normal", restarts=2, seed=1)
    assert (noise.latent - found.latent).abs().max() > 0.1
    with pytest.raises(NotApplicable, match=r"start: this medxgan has no encoder; train one with start='encoder'"):
        make().invert(IMAGES, start="encoder")


def test_what_is_set_afterwards_is_saved_and_read_again(tmp_path):
    changes = {"start": "normal", "restarts": 2, "search_steps": 4, "refine_steps": 2, "search_rate": 0.03, "image_weight": 9.0,
               "patience": 7, "negative": 0.2}  # fmt: skip
    assert set(changes) == set(MedXGAN.adjustable)
    explainer = make(start="encoder")
    adjust(explainer, changes)
    explainer.save(tmp_path / "e")
    loaded = MedXGAN.load(tmp_path / "e", explainer.classifier)
    assert {name: getattr(loaded, name) for name in changes} == changes and loaded.model.has_encoder
    torch.testing.assert_close(loaded.explain(IMAGES).counterfactual, explainer.explain(IMAGES).counterfactual)
    with pytest.raises(ValueError, match="start: expected 'normal' for a medxgan without an encoder, got 'encoder'; fit anew"):
        adjust(make(), {"start": "encoder"})


def test_independent_starts_come_from_the_seed():
    explainer = make(search_steps=1, search_rate=1e-9)
    one, again, other = (explainer.invert(POSITIVE, restarts=1, seed=seed).latent for seed in (1, 1, 2))
    assert torch.equal(one, again) and bool(((one - other).abs().amax(1) > 0.1).all())
    torch.testing.assert_close(one[0], one[1])  # the same for every image, whoever stands beside it


# ---------------------------------------------------------------------- poorly represented


def test_images_above_the_limit_are_said_to_be_poorly_represented():
    explainer = make()
    assert explainer.explain(IMAGES).represented is None
    data = bright_data(10, seed=7)
    residual = explainer.invert(data[torch.tensor([0, 2, 4, 7, 9])].image).residual
    limit = explainer.calibrate(data, count=5, share=0.5)
    assert limit == pytest.approx(float(residual.median()), rel=1e-3)
    noise = torch.rand(1, *SHAPE).round()
    answer = explainer.explain(torch.cat([IMAGES, noise]))
    assert torch.equal(answer.represented, answer.residual <= limit) and not bool(answer.represented[-1])
    assert "Poorly represented" in answer.words(4)


@pytest.mark.parametrize(("start", "count"), [("normal", 32), ("encoder", 40)])
def test_training_ends_with_the_limit(tmp_path, start, count):
    explainer, data = make(start=start), bright_data(40, seed=7)
    fit(explainer, bright_data(16), validation=data, steps=2, batch_size=8, progress=False, run_dir=tmp_path / "run")
    again = MedXGAN.load(tmp_path / "run", explainer.classifier)
    limit = again.networks["known"].limit
    assert torch.isfinite(limit) and float(limit) == pytest.approx(limit_by_hand(again, data, count), rel=1e-4)
    assert again.explain(IMAGES).represented is not None


def limit_by_hand(explainer, data, count) -> float:
    rows = torch.linspace(0, len(data) - 1, count).long()
    return float(explainer.invert(data[rows].image).residual.quantile(0.9))


def test_a_run_that_is_stopped_has_a_limit_too(tmp_path):
    explainer, data = make(start="encoder"), bright_data(16, seed=7)
    explainer.validate(data)
    limit = explainer._known.limit.clone()
    assert limit.isfinite()
    explainer.players()
    assert not explainer._known.limit.isfinite()  # another fit


def test_another_search_has_another_usual_residual():
    explainer = make()
    explainer.calibrate(bright_data(10, seed=7), count=5)
    adjust(explainer, {"restarts": explainer.restarts})
    assert explainer.explain(IMAGES).represented is not None
    adjust(explainer, {"search_steps": 3})
    assert explainer.explain(IMAGES).represented is None


def test_impossible_calibrations():
    explainer, data = make(), bright_data(4)
    for wrong in ({"count": 0}, {"share": 1.5}, {"share": 0.0}):
        with pytest.raises(ValueError, match="data, count, share: expected at least one image and a share in"):
            explainer.calibrate(data, **wrong)
    with pytest.raises(ValueError, match="got 0 images"):
        explainer.calibrate(data.subset(torch.zeros(0, dtype=torch.int64)))


# ---------------------------------------------------------------------- latent integrated gradients


class Flat(nn.Module):
    """sigmoid(dense(z)): z1 draws on all pixels, z2 brightens the left half, which is what the classifier looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(11, 256)
        left = torch.zeros(16, 16)
        left[:, :8] = 1
        with torch.no_grad():
            self.dense.weight.copy_(0.3 * torch.randn(256, 11, generator=torch.Generator().manual_seed(0)))
            self.dense.weight[:, 8:] = 2 * left.flatten()[:, None]
            self.dense.bias.copy_(-left.flatten())

    def forward(self, latent):
        return self.dense(latent).sigmoid().view(-1, *SHAPE)


def drawn_by_hand() -> MedXGAN:
    """One whose z2 decides what the classifier sees, without training."""
    explainer = make(search_steps=120, search_rate=0.05)
    explainer.networks["generator"] = Flat().eval()
    return explainer


def test_the_walk_sums_to_the_difference_of_the_posteriors_and_the_printed_form_does_not():
    explainer = drawn_by_hand()
    found = explainer.invert(POSITIVE, seed=1)
    negative = torch.cat([found.latent[:, :8], torch.zeros(2, 3)], 1)
    ends = [explainer.classifier.posterior(explainer.model.decode(latent))[:, 1] for latent in (found.latent, negative)]
    rise = (ends[0] - ends[1]).detach()
    assert rise.min() > 0.5  # or 2 % of it would be nothing
    signed = explainer.latent_gradients(POSITIVE, seed=1)
    torch.testing.assert_close(signed.sum((1, 2, 3)), rise, rtol=0.02, atol=0)
    printed = explainer.latent_gradients(POSITIVE, seed=1, form="printed")
    difference = explainer.model.decode(found.latent) - explainer.model.decode(negative)
    mean = 0.0  # eq. 7, slowly
    for k in range(101):
        latent = negative.lerp(found.latent, k / 100)
        image = explainer.model.decode(latent).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(explainer.classifier.posterior(image)[:, 1].sum(), image)
        mean = mean + gradient * (0.5 if k in (0, 100) else 1.0) / 100
    torch.testing.assert_close(printed, (difference * mean).detach(), rtol=1e-3, atol=1e-6)
    for chosen, expected in (("walk", signed), ("printed", printed)):
        shown = LatentGradients(explainer.classifier, explainer, form=chosen).explain(POSITIVE, seed=1).attribution
        torch.testing.assert_close(shown, expected.sum(1, keepdim=True).abs(), rtol=1e-3, atol=1e-6)


def test_a_map_that_needs_a_present_class_refuses_the_absent_one():
    explainer = make()
    said = r"image: latent integrated gradients need images decided 'bright', whose z2 is not 0, got 2 .*\(rows 0, 2\)"
    with pytest.raises(ValueError, match=said):
        explainer.latent_gradients(IMAGES)
    with pytest.raises(ValueError, match="target: expected another class than is decided, got 'bright' for 2 images"):
        explainer.latent_gradients(POSITIVE, target="bright")
    mapped = LatentGradients(explainer.classifier, explainer).explain(IMAGES)
    assert mapped.asked.tolist() == [False, True, False, True]  # it asks what speaks against absence
    assert mapped.attribution[[0, 2]].sum() == 0 and (mapped.attribution[[1, 3]].flatten(1).sum(1) > 0).all()
    with pytest.raises(ValueError, match=r"got 2 that are not \(rows 0, 1\)"):
        LatentGradients(explainer.classifier, explainer).explain(IMAGES, "bright")
    assert make().explain(IMAGES).attribution.shape == (4, 1, 16, 16)  # the difference map needs none


def test_latent_gradients_walk_in_a_medxgan_of_the_same_classifier():
    explainer = make()
    with pytest.raises(
        TypeError, match=r"explainer: latent_gradients walks through the latents of a medxgan, got identity"
    ):
        LatentGradients(explainer.classifier, Identity(explainer.classifier))
    with pytest.raises(ValueError, match=r"explainer: medxgan explains another classifier than latent_gradients"):
        LatentGradients(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), ["a", "b"], SHAPE), explainer)
    assert LatentGradients(explainer.classifier, explainer).describe()["explainer"]["method"] == "medxgan"


def test_of_three_classes_latent_gradients_start_at_the_one_that_is_asked_for():
    explainer = make(three_classes(), absent="a")
    image = IMAGES[explainer.classifier.decide(IMAGES) != 0]
    shown = LatentGradients(explainer.classifier, explainer)
    assert len(image)
    for target in ("a", "c" if int(explainer.classifier.decide(image)[0]) == 1 else "b"):
        expected = explainer.latent_gradients(image[:1], target=target, seed=2).sum(1, keepdim=True).abs()
        torch.testing.assert_close(shown.explain(image[:1], target, seed=2).attribution, expected)
    none, other = (shown.explain(image[:1], target).attribution for target in ("a", target))
    assert not torch.equal(none, other)


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize("name", ["anatomy", "pathology", "restarts", "search_steps", "patience", "width"])
def test_impossible_numbers(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1 for medxgan, got 0"):
        make(**{name: 0})
    with pytest.raises(ValueError, match="image_weight: expected at least 0 for medxgan, got -1"):
        make(image_weight=-1)
    with pytest.raises(ValueError, match="search_rate: expected more than 0 for medxgan, got 0"):
        make(search_rate=0)


@pytest.mark.parametrize("restarts", [0, -1])
def test_a_search_needs_a_start(restarts):
    with pytest.raises(ValueError, match=f"restarts: expected at least 1, got {restarts}; leave it out for 3"):
        make().invert(IMAGES, restarts=restarts)


@pytest.mark.parametrize("word", ["encodr", "auto", "prior"])
def test_an_unknown_start_of_a_search_is_refused(word):
    with pytest.raises(ValueError, match=f"start: expected one of normal, encoder, got '{word}'; leave it out for normal"):
        make().invert(IMAGES, start=word)


def test_searches_and_latent_gradients_are_alike_within_inference_mode():
    explainer, image = make(absent=None), torch.rand(2, *SHAPE)
    found, signed = explainer.invert(image), explainer.latent_gradients(image, steps=2)
    with torch.inference_mode():
        assert torch.equal(explainer.invert(image + 0).latent, found.latent)
        assert torch.equal(explainer.latent_gradients(image + 0, steps=2), signed)


def test_an_unknown_absent_class_is_refused_and_a_name_is_kept():
    with pytest.raises(ValueError, match=r"target: expected one of 'dark', 'bright'.*got 'grey'"):
        make(absent="grey")
    assert make().model.absent == 0 and make().remark.startswith("z2 is 0 for 'dark'; if another class is the one")
    many = make(three_classes())
    assert many.absent is None and many.model.absent is None and "every class has a z2 of its own" in many.remark
    explainer = make(absent="bright")
    assert explainer.model.blocks[1] is None and explainer.describe()["hyperparameters"]["absent"] == "bright"
