"""C3LT: every term against its equation, training on images and on samples alone, the walk, and the answers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import Dataset, MemoryDataset
from obverse.explanation import NotApplicable, as_saved
from obverse.latent.inversion import invert
from obverse.latent.pixels import changed
from obverse.losses import changes
from obverse.methods.c3lt import C3LT
from obverse.methods.xgem import XGEM
from obverse.models.adapters import BigGAN
from obverse.settings import adjust
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data
from tiny_latent import LATENT, Plane, blocks_classifier, levels_data
from tiny_models import Port

TERMS = ("classification", "proximity", "cycle", "adversarial")


PUBLISHED = {"hidden": None, "classification": 1.0, "margin": 0.0, "proximity": 0.1, "cycle": 0.1, "population": 0.0,
             "smoothness": 10.0, "entropy": 1.0, "own_pixels": 0.0, "learning_rate": 1e-3, "halvings": 7}  # fmt: skip


def make(classifier=None, model=None, perception=None, **settings) -> C3LT:
    """C3LT as published, its walks somewhere on their way."""
    parts = [model or Plane()] + ([] if perception is None else [perception])
    explainer = C3LT(classifier or blocks_classifier(), *parts, **{"seed": 2, **PUBLISHED, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for walk in explainer._walks if explainer.step == "residual" else ():
            walk.layers[-1].reset_parameters()
    return explainer


def step(rows=4, index=3) -> Step:
    return Step(index, 10, 1, rows, blocks=2)


def play(explainer, sample):
    """The losses of a step, nothing updated."""
    ((player, losses),) = list(explainer.train_step(sample, step(len(sample))))
    assert player == "walks"
    return losses


# ---------------------------------------------------------------------- the equations, slowly


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def l1(one, other) -> float:
    return mean(abs(a - b) for a, b in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))


def mask_of(image, made):
    """The squared change of one grey image, row by row, scaled to [0, 1]."""
    change = [[(a - b) ** 2 for a, b in zip(x, y, strict=True)] for x, y in zip(made[0].tolist(), image[0].tolist(), strict=True)]
    low, high = min(map(min, change)), max(map(max, change))
    return [[(value - low) / (high - low) for value in row] for row in change]


def equation_5(image, made, smoothness=10.0, entropy=1.0) -> float:
    total = 0.0
    for x, y in zip(image, made, strict=True):
        mask = mask_of(x, y)
        height, width = len(mask), len(mask[0])
        flat = mean(min(m, 1 - m) for row in mask for m in row)
        down = mean((mask[r + 1][c] - mask[r][c]) ** 2 for r in range(height - 1) for c in range(width))
        right = mean((mask[r][c + 1] - mask[r][c]) ** 2 for r in range(height) for c in range(width - 1))
        total += (2 * l1(x, y) + entropy * flat + smoothness * (down + right) / 2) / (1 + entropy + smoothness)
    return total / len(image)


def seen_by(classifier, image):
    net = classifier.module
    first = F.relu(net.conv1(image))
    return [first, F.relu(net.conv2(F.max_pool2d(first, 2)))]


def equation_6(classifier, image, cycled, latent, back) -> float:
    layers = [l1(one, other) for one, other in zip(seen_by(classifier, cycled), seen_by(classifier, image), strict=True)]
    return (sum(layers) + 2 * l1(cycled, image)) / 3 + l1(latent, back)


def equations(explainer, x, y, perception=None) -> dict[str, float]:
    """Eq. 2 for images x decided 0 and y decided 1, term by term."""
    model, (g, h) = explainer.model, explainer._walks
    found = dict.fromkeys(TERMS, 0.0)
    for image, forth, home, target in ((x, g, h, 1), (y, h, g, 0)):
        latent = model.encode(image)
        ended = forth(latent)
        back = home(ended)
        made, cycled = model.decode(ended), model.decode(back)
        posterior = explainer.classifier.posterior(made)[:, target]
        found["classification"] += mean(-math.log(p) for p in posterior.tolist()) / 2  # eq. 4
        found["proximity"] += equation_5(image, made) / 2
        found["cycle"] += equation_6(perception or explainer.classifier, image, cycled, latent, back) / 2
        for shown in (made, cycled):  # eq. 7, in its usual form
            found["adversarial"] += mean(-math.log(1 / (1 + math.exp(-c))) for c in model.criticise(shown).tolist()) / 2
    return {name: getattr(explainer, name) * value for name, value in found.items()}


def batch():
    data = bright_data(8, seed=3)
    return data[torch.tensor([0, 1, 4, 5])]  # two dark, two bright: the groups, sorted


@pytest.mark.parametrize("settings", [{}, {"steps": 3}, {"step": "plain"}])
def test_every_term_is_its_equation(settings):
    explainer = make(**settings)
    with torch.no_grad():
        expected = equations(explainer, *batch().image.chunk(2))
    losses = play(explainer, batch())
    assert list(losses) == list(TERMS)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=2e-4), name


def test_the_class_term_lets_go_at_the_margin():
    explainer = make(margin=2.0, classification=3.0)
    made = explainer.model.decode(torch.cat([walk(z) for walk, z in zip(
        explainer._walks, explainer.model.encode(batch().image).chunk(2), strict=True)]))  # fmt: skip
    posterior = explainer.classifier.posterior(made)
    odds = [math.log(row[target] / row[1 - target]) for row, target in zip(posterior.tolist(), (1, 1, 0, 0), strict=True)]
    loss = play(explainer, batch())["classification"]
    assert loss.item() == pytest.approx(3 * mean(max(0.0, 2.0 - value) for value in odds), rel=1e-4) and loss > 0
    sure, images = 5 * torch.eye(2), list(batch().image[[0, 2]].split(1))
    (_, one), (_, other) = explainer.ways
    wanted = sure[[one, other]]
    assert explainer.class_term(wanted, images) == 0 and make(margin=0.0).class_term(wanted, images) > 0


def test_the_margin_is_what_the_classifier_makes_of_the_targets_images():
    explainer = make(margin=None, classification=3.0)
    images = batch().image
    made = explainer.model.decode(torch.cat([walk(z) for walk, z in zip(
        explainer._walks, explainer.model.encode(images).chunk(2), strict=True)]))  # fmt: skip

    def odds(shown, targets):
        rows = explainer.classifier.posterior(shown).tolist()
        return [math.log(row[target] / row[1 - target]) for row, target in zip(rows, targets, strict=True)]

    usual = [min(odds(images[2:], (1, 1))), min(odds(images[:2], (0, 0)))]  # of two the lower is torch's median
    margins = [max(1.0, usual[0])] * 2 + [max(1.0, usual[1])] * 2
    missing = [max(0.0, own - value) for own, value in zip(margins, odds(made, (1, 1, 0, 0)), strict=True)]
    loss = play(explainer, batch())["classification"]
    assert loss.item() == pytest.approx(3 * mean(missing), rel=1e-4) and loss > 0


def test_the_population_is_the_energy_distance_to_the_targets_images():
    explainer = make(population=2.0)
    losses = play(explainer, batch())
    assert list(losses) == ["classification", "proximity", "population", "cycle", "adversarial"]
    images = batch().image
    x, y = explainer.model.encode(images).chunk(2)

    def apart(one, other):
        return float((one - other).square().mean().sqrt())

    expected = 0.0
    with torch.no_grad():
        for walk, start, goal in zip(explainer._walks, (x, y), images.flip(0).chunk(2), strict=True):
            end = explainer.model.decode(walk(start))
            between = mean(apart(a, b) for a in end for b in goal)
            expected += 2 * between - apart(*end) - apart(*goal)  # two rows each
    assert losses["population"].item() == pytest.approx(2.0 * expected / 2, rel=1e-4)
    assert all(heard(losses["population"], walk) for walk in explainer._walks)


def test_a_population_of_one_is_refused():
    with pytest.raises(ValueError, match="batch_size: expected at least 2 images of each class for the population, got 1; pass"):
        play(make(population=1.0), bright_data(8)[torch.tensor([0, 4])])
    play(make(), bright_data(8)[torch.tensor([0, 4])])


def test_ours_starts_where_the_image_is(images):
    explainer = C3LT(blocks_classifier(), Plane())
    explanation = explainer.explain(images)
    assert (explanation.counterfactual - as_saved(images)).abs().max() < 0.01 and explanation.stable is None
    assert explanation.residual.min() > 0.01  # what the model makes of it is another image
    assert (explainer.margin, explainer.proximity, explainer._walks[0].layers[0].out_features) == (None, 30, 512)


def test_pixels_stay_where_the_models_picture_does(images):
    explainer = make(own_pixels=0.5, steps=2)
    found, frames = explainer.explain(images), explainer.path(images, frames=3)
    model, places = explainer.model, explainer.walk(explainer.model.encode(images[::2]), "dark", "bright")
    start = model.decode(places[:, 0])
    for index in range(3):
        expected = changed(images[::2], start, model.decode(places[:, index]), 0.5)
        torch.testing.assert_close(frames[::2, index], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.counterfactual, frames[:, -1], rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(frames[:, 0], images)
    assert (found.counterfactual - make(steps=2).explain(images).counterfactual).abs().max() > 0.01
    drawn = model.decode(0.7 * model.sample(8, seed=1))  # what the model can draw: no other pixels stand in the way
    refined = make(own_pixels=0.1, refine_steps=80, confidence=0.8).explain(drawn)
    assert refined.valid.all() and (refined.posterior_after.amax(1) >= 0.8).all()


def test_trained_with_its_own_pixels_the_terms_are_of_the_image_shown():
    explainer, (x, y) = make(own_pixels=0.5), batch().image.chunk(2)
    plain, own = play(make(), batch()), play(explainer, batch())
    walked = []
    with torch.no_grad():
        for image, walk in zip((x, y), explainer._walks, strict=True):
            z = explainer.model.encode(image)
            walked.append(changed(image, explainer.model.decode(z), explainer.model.decode(walk(z)), 0.5))
    posterior = explainer.classifier.posterior(torch.cat(walked))
    expected = mean(-math.log(row[target]) for row, target in zip(posterior.tolist(), (1, 1, 0, 0), strict=True))
    assert own["classification"].item() == pytest.approx(expected, rel=1e-4)
    near = mean(equation_5(image, made) for image, made in zip((x, y), walked, strict=True))
    assert own["proximity"].item() == pytest.approx(0.1 * near, rel=1e-4)
    assert own["cycle"].item() == pytest.approx(plain["cycle"].item()) and own["adversarial"] != plain["adversarial"]


def test_the_weights_are_the_papers():
    explainer = C3LT.published(blocks_classifier(), Plane())
    assert all(getattr(explainer, name) == value for name, value in PUBLISHED.items())
    assert C3LT.preset_settings("published") == PUBLISHED
    assert C3LT.preset_settings("closer") == {"population": 25.0}
    with pytest.raises(ValueError, match="preset: expected one of published, closer for c3lt, got 'knee'"):
        C3LT.preset_settings("knee")
    assert [getattr(explainer, name) for name in TERMS] == [1.0, 0.1, 0.1, 0.001]  # supplement A
    assert (explainer.smoothness, explainer.entropy, explainer.steps, explainer.learning_rate) == (10, 1, 1, 1e-3)
    doubled = play(make(classification=2.0, proximity=0.2, cycle=0.2, adversarial=0.002), batch())
    for name, loss in play(make(), batch()).items():
        assert doubled[name].item() == pytest.approx(2 * loss.item()), name


def test_the_cycle_is_seen_with_another_network_where_one_is_given():
    other = blocks_classifier("a", "b", "c")
    with torch.no_grad():
        other.module.conv1.weight.mul_(3)
    explainer = make(bright_classifier(), perception=other)
    with torch.no_grad():
        expected = equations(explainer, *batch().image.chunk(2), perception=other)
    assert play(explainer, batch())["cycle"].item() == pytest.approx(expected["cycle"], rel=2e-4)
    assert explainer.layers == ("conv1", "conv2") and "perception" in explainer.describe()
    alone = make(bright_classifier())  # one linear layer: image and latent are left of eq. 6
    assert alone.layers == ()
    assert play(alone, batch())["cycle"].item() != pytest.approx(expected["cycle"], rel=1e-2)


def test_a_perception_that_shows_nothing_is_refused():
    black_box = Classifier.black_box(lambda image: image.flatten(1)[:, :2], ["a", "b"], SHAPE)
    with pytest.raises(NotApplicable, match="perception: expected a classifier with a gradient, got a black box; pass one"):
        make(perception=black_box)
    said = "layers: expected a perception with convolutions, got Bright, which has none that runs; name layers of it"
    with pytest.raises(ValueError, match=said):
        make(perception=bright_classifier())
    assert make(perception=bright_classifier(), layers=("out",)).layers == ("out",)
    assert make(perception=bright_classifier(), cycle=0.0).layers is None  # which is not asked


@pytest.mark.parametrize("name", TERMS)
def test_each_term_can_be_switched_off(name):
    explainer = make(**{name: 0.0})
    losses, whole = play(explainer, batch()), play(make(), batch())
    assert list(losses) == [term for term in TERMS if term != name]
    for term, loss in losses.items():
        assert loss.item() == pytest.approx(whole[term].item(), rel=1e-5)
    only = play(make(**{term: 0.0 for term in TERMS if term != name}), batch())
    assert list(only) == [name] and only[name].item() == pytest.approx(whole[name].item(), rel=1e-5)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("off", [
    (), ("cycle", "adversarial"), ("population", "cycle", "adversarial"), *((name,) for name in (*TERMS, "population")),
])  # fmt: skip
@pytest.mark.parametrize("margin", [5.0, None])
def test_from_its_first_weights_on_every_layer_learns_whatever_is_switched_off(images, off, margin):
    explainer = C3LT(blocks_classifier(), Plane(), hidden=8, margin=margin, **dict.fromkeys(off, 0.0))
    before = {name: value.clone() for name, value in explainer.networks.named_parameters()}
    fit(explainer, levels_data(8) if images else None, steps=3, batch_size=8, average=0, precision="float32", progress=False)
    stood = [name for name, value in explainer.networks.named_parameters() if torch.equal(value, before[name])]
    assert len(before) == 8 and stood == []


def test_equal_image_and_counterfactual_give_no_nan():
    image = torch.rand(3, *SHAPE)
    image[0] = 0.5
    made = image.clone().requires_grad_(True)
    loss = make().proximity_loss(image, made)
    (gradient,) = torch.autograd.grad(loss, made)
    assert loss.item() == 0 and torch.isfinite(gradient).all()
    assert torch.equal(changes(image, image), torch.zeros(3, 1, 16, 16))
    near = (image + 1e-6 * torch.rand(3, *SHAPE)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(make().proximity_loss(image, near), near)
    assert torch.isfinite(gradient).all() and gradient.abs().max() < 10
    one = torch.zeros(1, *SHAPE)
    one[0, 0, 3, 4], one[0, 0, 5, 6] = 0.5, 0.25
    assert changes(torch.zeros(1, *SHAPE), one)[0, 0, [3, 5, 0], [4, 6, 0]].tolist() == [1.0, 0.25, 0.0]


def test_the_mask_of_a_coloured_image_is_one_a_pixel():
    image, made = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = changes(image, made)
    assert mask.shape == (2, 1, 4, 4)
    change = ((made - image) ** 2)[1].mean(0)
    torch.testing.assert_close(mask[1, 0], (change - change.min()) / (change.max() - change.min()))


# ---------------------------------------------------------------------- training


def heard(loss, walk) -> bool:
    gradients = torch.autograd.grad(loss, list(walk.parameters()), retain_graph=True, allow_unused=True)
    found = {gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients}
    assert len(found) == 1
    return found.pop()


def test_both_directions_are_trained_at_once_and_the_parts_never():
    explainer = make()
    for name, loss in play(explainer, batch()).items():
        assert all(heard(loss, walk) for walk in explainer._walks), name
    alone = play(make(cycle=0.0, adversarial=0.0), batch())
    assert set(alone) == {"classification", "proximity"}
    parts = [*explainer.model.modules(), explainer.classifier.module]
    before = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    fit(explainer, bright_data(16), steps=2, batch_size=4, average=0, progress=False, precision="float32")
    for part, weights in zip(parts, before, strict=True):
        assert all(torch.equal(weights[key], value) for key, value in part.state_dict().items())
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())


def test_the_users_own_model_keeps_its_gradients():
    model = Plane()
    explainer = make(model=model)
    assert explainer.model is not model and model.out.weight.requires_grad


def test_several_pairs_in_one_fit_share_a_batch():
    classifier = blocks_classifier("0", "1", "2")
    explainer = make(classifier, pairs=(("0", "1"), ("1", "2")), step="residual")
    data = levels_data(9)
    rows = torch.tensor([0, 3, 1, 4, 2, 5])  # two of each class, sorted
    losses = play(explainer, data[rows])
    images, walks = data[rows].image.chunk(3), explainer._walks
    expected = 0.0
    with torch.no_grad():
        for index, (source, target) in enumerate(explainer.ways):
            made = explainer.model.decode(walks[index](explainer.model.encode(images[source])))
            expected += mean(-math.log(p) for p in classifier.posterior(made)[:, target].tolist()) / 4
    assert losses["classification"].item() == pytest.approx(expected, rel=1e-4)
    back = [walks[index ^ 1](walk(explainer.model.encode(images[source])))
            for index, ((source, _), walk) in enumerate(zip(explainer.ways, walks, strict=True))]  # fmt: skip
    apart = mean(l1(z, explainer.model.encode(images[s])) for z, (s, _) in zip(back, explainer.ways, strict=True))
    without = make(classifier, pairs=explainer.pairs, layers=())
    cycled = mean(2 * l1(explainer.model.decode(z), images[s]) for z, (s, _) in zip(back, explainer.ways, strict=True))
    assert play(without, data[rows])["cycle"].item() == pytest.approx(0.1 * (apart + cycled), rel=1e-4)


def test_training_makes_valid_counterfactuals_and_a_near_inverse():
    explainer, data = make(learning_rate=1e-2, step="plain"), bright_data(32)  # some latents are too short to be bright
    history = fit(explainer, data, validation=data, steps=80, batch_size=16, validate_every=40, progress=False,
                  precision="float32")  # fmt: skip
    explanation = explainer.explain(data[slice(None)].image)
    assert explanation.valid.all() and history.best_score < 0.5
    latent = explainer.model.encode(data[slice(0, 16)].image)
    forth = explainer.walk(latent, "dark", "bright")[:, -1]
    back = explainer.walk(forth, "bright", "dark")[:, -1]
    assert (back - latent).abs().mean() < 0.5 * (forth - latent).abs().mean()


def test_both_directions_are_near_inverses_on_images_that_were_not_trained_on():
    explainer = make(learning_rate=1e-2, cycle=5.0)
    before = explainer.round_trip(bright_data(32, seed=5))
    fit(explainer, bright_data(32), steps=160, batch_size=16, progress=False, precision="float32")
    after = explainer.round_trip(bright_data(32, seed=5))
    assert set(after) == {"dark -> bright", "bright -> dark"}
    assert max(after.values()) < 0.4 < min(before.values())


class Unread(Dataset):
    """A data set that nobody may look at."""

    name, split, classes, image_shape = "unread", "train", ("dark", "bright"), SHAPE

    def __len__(self):
        raise AssertionError("looked at")

    def __getitem__(self, index):
        raise AssertionError("looked at")

    labels = __len__


def test_on_samples_alone_no_image_is_touched(monkeypatch):
    for kind in (Dataset, MemoryDataset):  # nobody can read any image
        for name in ("__getitem__", "__len__", "batches"):
            monkeypatch.setattr(kind, name, Unread.__len__)
    explainer = make(model=Plane(encoder=False))
    with pytest.raises(AssertionError, match="looked at"):
        fit(explainer, Unread(), steps=1, batch_size=4, progress=False)
    before = {key: value.clone() for key, value in explainer.networks.named_parameters()}
    fit(explainer, None, steps=3, batch_size=8, average=0, progress=False, precision="float32")
    assert all(not torch.equal(before[key], value) for key, value in explainer.networks.named_parameters())
    assert set(explainer.acceptance) == {"dark", "bright"} and all(0.2 < r < 0.8 for r in explainer.acceptance.values())


def test_samples_are_trained_on_like_images():
    explainer = make()
    seen = []
    decode = explainer.model._decode
    explainer.model._decode = lambda latent: seen.append(latent.detach().clone()) or decode(latent)
    empty = MemoryDataset(bright_data(2).sample, ["dark", "bright"])[torch.tensor([], dtype=torch.int64)]
    ((_, losses),) = list(explainer.train_step(empty, Step(0, 10, 5, 8)))
    drawn = seen[0]  # (2 classes x 2 x 4 rows, D)
    image = decode(drawn)
    decided = explainer.classifier.decide(image)
    rows = torch.cat([(decided == k).nonzero().flatten()[:4] for k in range(2)])
    assert len(rows) == 8
    x, y = image[rows].chunk(2)
    plain = make()
    plain.model._encode = lambda shown: drawn[rows[:4]] if torch.equal(shown, x) else drawn[rows[4:]]
    with torch.no_grad():
        expected = equations(plain, x, y)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=2e-4), name


def test_samples_that_are_hardly_ever_of_a_class():
    model = Plane()
    with torch.no_grad():
        model.out.bias.fill_(6.0)
    explainer = make(model=model, least_acceptance=0.2)
    with pytest.raises(ValueError, match=r"data: the classifier decides 'dark' for 0 of \d+ samples of plane"):
        fit(explainer, None, steps=1, batch_size=8, progress=False)
    assert make().acceptance == {}
    with pytest.raises(ValueError, match=r"batch_size: expected at least one sample of each of 2 classes .* got 1; pass e.g. 64"):
        fit(make(), None, steps=1, batch_size=1, progress=False)


def test_the_acceptance_is_saved(tmp_path):
    explainer = make()
    fit(explainer, None, steps=2, batch_size=8, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    loaded = C3LT.load(tmp_path / "e", explainer.classifier, explainer.model)
    assert loaded.acceptance == explainer.acceptance != {}
    fit(loaded, bright_data(16), steps=1, batch_size=4, progress=False, precision="float32")
    assert loaded.acceptance == {}  # of the fit before


def test_images_need_an_encoder():
    explainer = make(model=Plane(encoder=False))
    with pytest.raises(NotApplicable, match="data: plane has no encoder to train on images with; pass data=None"):
        fit(explainer, bright_data(8), steps=1, batch_size=4, progress=False)


def test_the_rate_is_halved_at_equal_distances():
    explainer = make(halvings=3)
    rates = [explainer.rate(Step(index, 8, 0, 2)) for index in range(8)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert make(halvings=0).rate(Step(7, 8, 0, 2)) == 1
    (optimiser,) = make(learning_rate=3e-4).players().values()
    assert type(optimiser).__name__ == "Adam" and optimiser.param_groups[0]["lr"] == 3e-4


# ---------------------------------------------------------------------- answers


def test_the_answer_is_the_walk_of_the_decision(images):
    explainer = make(steps=2)
    explanation = explainer.explain(images)
    with torch.no_grad():
        for row in range(8):
            latent = explainer.model.encode(images[row : row + 1])
            made = explainer.model.decode(explainer._walks[row % 2](latent))
            stable = explainer.model.decode(latent)
            torch.testing.assert_close(explanation.counterfactual[row : row + 1], made, rtol=0, atol=0.51 / 255)
            torch.testing.assert_close(explanation.stable[row : row + 1], stable, rtol=0, atol=0.51 / 255)
            torch.testing.assert_close(explanation.attribution[row : row + 1], (made - stable).abs())
            assert explanation.residual[row].item() == pytest.approx(l1(stable, images[row]), rel=1e-4)


def test_the_classifier_sees_the_image_once(images):
    explainer, seen = make(), []
    hook = explainer.classifier.module.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    explainer.explain(images)
    hook.remove()
    assert seen == [8, 8, 8]  # the image, the model's picture of it, the counterfactual


def test_with_its_own_pixels_the_models_picture_is_not_judged(images):
    explainer, seen = make(own_pixels=0.3), []
    hook = explainer.classifier.module.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    assert explainer.explain(images).posterior_gap is None
    hook.remove()
    assert seen == [8, 8]
    explainer.inversion_steps = 1
    assert explainer.explain(images).posterior_gap is not None  # a search keeps the posterior, and says how well


def test_asked_for_what_is_already_decided_the_image_stays(images):
    explainer = make(refine_steps=2)
    explanation = explainer.explain(images, "bright")
    assert explanation.asked.tolist() == [True, False] * 4
    stay = ~explanation.asked
    torch.testing.assert_close(explanation.counterfactual[stay], images[stay])
    assert not explanation.attribution[stay].any() and explanation.attribution[explanation.asked].flatten(1).any(1).all()
    torch.testing.assert_close(explainer.path(images, "bright", frames=3)[stay], images[stay, None].expand(-1, 3, -1, -1, -1))


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_three_steps_are_three_frames_whose_last_is_the_counterfactual(images, kind):
    explainer = make(steps=3, step=kind)
    explanation, frames = explainer.explain(images), explainer.path(images, frames=4)
    places = explainer.walk(explainer.model.encode(images[1::2]), "bright", "dark")
    assert places.shape == (4, 4, LATENT)
    for index in range(4):  # the start and three steps
        expected = explainer.model.decode(places[:, index])
        torch.testing.assert_close(frames[1::2, index], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(frames[:, -1], explanation.counterfactual, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(frames[:, 0], explanation.stable, rtol=0, atol=0.51 / 255)
    assert (frames[:, 1:] - frames[:, :-1]).abs().flatten(2).amax(2).min() > 1e-5  # every step moves
    assert explainer.path_kind == "a walk of 3 steps through the latent space of plane"
    assert make().path_kind == "a walk of 1 step through the latent space of plane"


def test_other_counts_of_frames_lie_on_lines_between_the_steps(images):
    explainer = make(steps=2)
    frames = explainer.path(images[:1], frames=5)[0]
    first, second, third = explainer.walk(explainer.model.encode(images[:1]), 0, 1)[0]
    norm = first.norm()
    places = [first, (first + second) / 2, second, (second + third) / 2, third]
    for frame, place in zip(frames, places, strict=True):
        expected = explainer.model.decode((place * norm / place.norm())[None])[0]
        torch.testing.assert_close(frame, expected, rtol=1e-4, atol=1e-5)
    plain = make(steps=1, step="plain")
    ends = plain.walk(plain.model.encode(images[:1]), 0, 1)[0]
    middle = plain.path(images[:1], frames=3)[0, 1]
    torch.testing.assert_close(middle, plain.model.decode(ends.mean(0, keepdim=True))[0], rtol=1e-4, atol=1e-5)


def test_refined_answers_are_decided_as_asked_and_their_path_is_a_step_longer(images):
    plain, refined = make(), make(refine_steps=80, confidence=0.8)
    before, after = plain.explain(images), refined.explain(images)
    assert not before.valid.all() and after.valid.all()
    rows = torch.arange(8)
    assert (after.posterior_after[rows, after.target] >= 0.8).all()
    assert (after.posterior_after[rows, after.target] < 0.95).all()
    frames = refined.path(images, frames=3)
    torch.testing.assert_close(frames[:, 1], plain.path(images, frames=2)[:, 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(frames[:, -1], after.counterfactual, rtol=0, atol=0.51 / 255)
    failed = make(refine_steps=1, confidence=0.99).explain(images)
    assert not failed.valid.all()  # marked, not hidden
    assert torch.equal(failed.valid, failed.posterior_after.argmax(1) == failed.target)
    assert after.requested.tolist() == pytest.approx([0.8] * 8) and before.requested is None
    assert failed.words(0).startswith("Not valid: asked for 99.0% 'bright', got ")


def test_the_walk_is_validated_and_not_its_refinement():
    plain, refined, data = make(), make(refine_steps=80, confidence=0.8), bright_data(40)
    assert refined.validate(data) == plain.validate(data) > 0.5 and refined.refine_steps == 80


def test_starts_are_searched_for_once_a_fit_and_of_a_bounded_number(monkeypatch):
    explainer, asked = make(model=Plane(encoder=False), inversion_steps=1), []
    start = explainer._start
    monkeypatch.setattr(explainer, "_start", lambda image, *rest: asked.append(len(image)) or start(image, *rest))
    data = bright_data(400)
    explainer.validate(data)
    assert sum(asked) == 2 * 256  # the residuals, and the answers
    explainer.validate(data)
    assert sum(asked) == 3 * 256
    limit = float(explainer._known.limit)
    fit(explainer, None, validation=bright_data(8, seed=9), steps=1, batch_size=4, progress=False)
    assert float(explainer._known.limit) != limit  # of the images of this fit


def test_a_query_that_is_badly_represented_is_told_apart():
    explainer, data = make(), bright_data(40)
    assert explainer.explain(data[slice(0, 2)].image).represented is None
    explainer.validate(data)
    known = explainer.explain(data[slice(None)].image)
    assert known.represented.sum() == 36  # nine in ten
    noise = torch.randint(0, 2, (2, *SHAPE)).float()
    strange = explainer.explain(noise)
    assert not strange.represented.any() and (strange.residual > known.residual.max()).all()
    assert "Poorly represented" in strange.words(0)


def test_another_search_has_another_usual_residual():
    explainer, data = make(), bright_data(8)
    explainer.validate(data)
    adjust(explainer, {"refine_steps": 2, "inversion_restarts": 1})
    assert explainer.explain(data[slice(0, 2)].image).represented is not None
    adjust(explainer, {"inversion_steps": 2})
    assert explainer.explain(data[slice(0, 2)].image).represented is None


def test_a_refused_run_leaves_what_was_known(tmp_path):
    explainer, data = make(), bright_data(8)
    run = {"validation": data, "steps": 1, "batch_size": 4, "run_dir": tmp_path / "run", "progress": False}
    fit(explainer, data, **run)
    known = explainer._known.limit.clone()
    with pytest.raises(ValueError, match="holds a run already"):
        fit(explainer, data, **run)
    assert known.isfinite() and torch.equal(explainer._known.limit, known)


def test_the_round_trip_is_a_share_of_the_way():
    explainer, data = make(step="plain"), bright_data(12)
    found = explainer.round_trip(data)
    g, h = explainer._walks
    with torch.no_grad():
        for name, one, other, rows in (("dark -> bright", g, h, slice(0, 6)), ("bright -> dark", h, g, slice(6, 12))):
            z = explainer.model.encode(data[rows].image)
            assert found[name] == pytest.approx(l1(other(one(z)), z) / l1(one(z), z), rel=1e-4)
    assert list(explainer.round_trip(data.subset(range(6)))) == ["dark -> bright"]
    with torch.no_grad():  # z + 1 there, z - 1 back
        for walk, sign in ((g, 1.0), (h, -1.0)):
            first, _, last = walk.layers
            first.weight.copy_(torch.eye(LATENT))
            first.bias.fill_(100.0)  # keeps the ReLU open
            last.weight.copy_(torch.eye(LATENT))
            last.bias.fill_(sign - 100.0)
    assert max(explainer.round_trip(data).values()) < 1e-4


def test_latents_that_are_known_need_no_image():
    explainer = make(model=Plane(encoder=False), steps=2)
    latent = explainer.model.sample(3, seed=4)
    places = explainer.walk(latent, "dark", 1)
    assert places.shape == (3, 3, LATENT) and not places.requires_grad
    torch.testing.assert_close(places[:, -1], explainer._walks[0](latent))
    several = make(blocks_classifier("0", "1", "2"), pairs=(("0", "1"),))
    with pytest.raises(ValueError, match=r"source, target: c3lt was made for the pairs 0 - 1, got '1' and '2'"):
        several.walk(latent, "1", "2")


def test_without_an_encoder_latents_are_searched_for(images):
    drawn = Plane().decode(0.7 * Plane().sample(4, seed=1)).detach()  # images that the model can make
    blind, seeing = make(model=Plane(encoder=False), inversion_steps=80), make()
    found, known = blind.explain(drawn), seeing.explain(drawn)
    assert known.posterior_gap.max() < 1e-3 and found.posterior_gap.max() < 0.1
    assert known.residual.max() < 1e-3 and found.residual.max() < 0.02
    torch.testing.assert_close(found.counterfactual, known.counterfactual, rtol=0, atol=0.15)
    short = make(model=Plane(encoder=False), inversion_steps=1)
    assert (short.explain(drawn).residual > found.residual + 0.02).all()
    assert torch.equal(short.explain(drawn, seed=1).stable, short.explain(drawn, seed=1).stable)
    assert (short.explain(drawn, seed=1).stable - short.explain(drawn, seed=2).stable).abs().max() > 0.01
    both = make(inversion_steps=5)  # from the encoder's latent
    expected = invert(both.model, images, classifier=both.classifier, start="encoder", steps=5)
    torch.testing.assert_close(both.explain(images).stable, expected.image, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(both.explain(images).posterior_gap, expected.posterior_gap)
    assert (both.explain(images).stable - seeing.explain(images).stable).abs().max() > 0.01


def test_biggan_from_samples_to_a_saved_explainer(tmp_path):
    model = BigGAN(Port().eval(), truncation=0.4)
    mean = [model.decode(model.sample(64, target=k)).mean(0).flatten() for k in (0, 1)]
    judge = nn.Linear(mean[0].numel(), 2)
    with torch.no_grad():  # the nearer of the two classes' mean images
        judge.weight.copy_(50 * torch.stack(mean))
        judge.bias.copy_(-25 * torch.stack(mean).square().sum(1))
    classifier = Classifier(nn.Sequential(nn.Flatten(), judge), ["0", "1"], model.image_shape, device="cpu")
    explainer = C3LT.published(classifier, model, adversarial=0.0, pairs=(("0", "1"),))
    explainer.inversion_steps = 5
    fit(explainer, None, steps=2, batch_size=8, progress=False, precision="float32")
    assert min(explainer.acceptance.values()) > 0.5
    image = model.decode(model.sample(3, target=0, seed=9))
    found = explainer.explain(image)
    assert found.posterior_gap is not None and "own picture of the image is off by" in found.words(0)  # nobody validated
    explainer.save(tmp_path / "e")
    again = C3LT.load(tmp_path / "e", classifier, model).explain(image)
    torch.testing.assert_close(again.counterfactual, found.counterfactual)


def test_a_conditional_model_is_searched_from_the_decided_class(images):
    model = Plane(encoder=False, classes=("bright", "dark"))
    explainer = make(model=model, inversion_steps=1)
    explainer.explain(images)
    target = torch.tensor([1, 0] * 4)  # the model's numbers
    expected = invert(model, images, classifier=explainer.classifier, target=target, steps=1).image
    torch.testing.assert_close(explainer.explain(images).stable, expected, rtol=0, atol=0.51 / 255)
    with pytest.raises(ValueError, match="model: plane cannot be asked for 'dark', it knows other"):
        make(model=Plane(encoder=False, classes=("other",))).explain(images)


def test_saved_and_loaded_it_answers_alike(images, tmp_path):
    explainer = make(steps=2, pairs=(("bright", "dark"),), perception=blocks_classifier("a", "b", "c"))
    fit(explainer, bright_data(16), validation=bright_data(8), steps=2, batch_size=4, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    parts = (Plane(), blocks_classifier("a", "b", "c"))
    loaded = C3LT.load(tmp_path / "e", blocks_classifier(), *parts)
    assert torch.equal(loaded.explain(images).counterfactual, explainer.explain(images).counterfactual)
    assert torch.equal(loaded.explain(images).represented, explainer.explain(images).represented)
    assert loaded.describe() == explainer.describe() and loaded.pairs == (("bright", "dark"),)
    with pytest.raises(ValueError, match=r"trained for another model .*; pass that model"):
        C3LT.load(tmp_path / "e", blocks_classifier(), Plane(seed=1), parts[1])
    with pytest.raises(ValueError, match=r"trained for another perception .* got None"):
        C3LT.load(tmp_path / "e", blocks_classifier(), Plane())


# ---------------------------------------------------------------------- settings and errors


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"proximity": -1.0}, "proximity: expected at least 0 for c3lt, got -1; leave it out for the default"),
        (dict.fromkeys(TERMS, 0.0), "classification, .*, population: expected one weight above 0 for c3lt, got none; leave"),
        ({"smoothness": -1.0}, "smoothness: expected at least 0"),
        ({"own_pixels": -0.1}, "own_pixels: expected at least 0 for c3lt, got -0.1"),
        ({"steps": 0}, "steps: expected at least 1 for c3lt, got 0"),
        ({"least_acceptance": 0.0}, "least_acceptance: expected a number between 0 and 1 for c3lt, got 0; leave it out"),
        ({"step": "big"}, "step: expected one of 'residual', 'plain' for c3lt, got 'big'"),
        ({"margin": -1.0}, "margin: expected at least 0 for c3lt, got -1"),
        ({"hidden": 0}, "hidden: expected at least 1 for c3lt, got 0"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1 for c3lt, got 1"),
        ({"learning_rate": -1.0}, "learning_rate: expected more than 0 for c3lt, got -1"),
        ({"refine_rate": 0.0}, "refine_rate: expected more than 0 for c3lt, got 0"),
        ({"inversion_steps": -3}, "inversion_steps: expected at least 0 for c3lt, got -3"),
        ({"inversion_restarts": 0}, "inversion_restarts: expected at least 1 for c3lt, got 0"),
        ({"inversion_restarts": 4}, "inversion_restarts: expected 1 for c3lt without a search, got 4; pass inversion_steps"),
        ({"model": Plane(encoder=False), "inversion_steps": 0}, "inversion_steps: expected at least 1 for c3lt, got 0"),
        ({"layers": ("conv9",)}, "layers: expected names of modules of Blocks such as conv1, .*, got 'conv9'"),
        ({"pairs": (("dark", "grey"),)}, "expected one of 'dark', 'bright' or an index below 2, got 'grey'"),
    ],
)
def test_impossible_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        make(**settings)


def test_a_pair_of_digits_that_the_classifier_does_not_decide():
    for absent in (("4", "1"), ("0", "1")):
        with pytest.raises(ValueError, match=r"target: expected one of '4', '9' or an int below 2, got '[01]'"):
            make(blocks_classifier("4", "9"), pairs=(absent,))


def test_a_perception_on_another_device():
    perception = blocks_classifier("a", "b", "c")
    perception.device = torch.device("meta")
    with pytest.raises(ValueError, match="perception: expected it on cpu like the classifier, got meta; make it with"):
        make(perception=perception)


def test_bare_modules_are_to_be_wrapped():
    with pytest.raises(TypeError, match=r"model: expected GenerativeModel, got a bare Linear; wrap it with obverse\.Adapter"):
        C3LT(blocks_classifier(), nn.Linear(6, 256))
    with pytest.raises(TypeError, match=r"perception: expected Classifier \| None, got a bare Blocks; wrap it with obverse"):
        C3LT(blocks_classifier(), Plane(), blocks_classifier().module)
    with pytest.raises(TypeError, match=r"model: expected GenerativeModel, got a bare Linear; wrap it with obverse\.Adapter"):
        XGEM(blocks_classifier(), nn.Linear(6, 256))


def test_a_model_that_is_a_module_itself_is_not_bare():
    class Own(nn.Module, Plane):
        def __init__(self):
            nn.Module.__init__(self)
            Plane.__init__(self)

        def modules(self):
            return Plane.modules(self)

    assert XGEM(blocks_classifier(), Own()).model.latent_size == 6


def test_models_that_do_not_fit():
    with pytest.raises(NotApplicable, match="model: plane has no critic for the adversarial term; pass adversarial=0"):
        make(model=Plane(critic=False))
    assert set(play(make(model=Plane(critic=False), adversarial=0.0), batch())) == {"classification", "proximity", "cycle"}
    with pytest.raises(ValueError, match=r"model: expected images of shape \(1, 16, 16\) like the classifier's, got \(1, 8,"):
        make(model=Plane(shape=(1, 8, 8)))
    with pytest.raises(ValueError, match=r"latent: expected \(N, 6\) for plane, got \(2, 5\)"):
        make().walk(torch.zeros(2, 5), 0, 1)
    black_box = Classifier.black_box(lambda image: image.flatten(1)[:, :2], ["dark", "bright"], SHAPE)
    with pytest.raises(NotApplicable, match="c3lt: needs the classifier's gradient"):
        make(black_box)
