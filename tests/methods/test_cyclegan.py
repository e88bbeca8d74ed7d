"""CycleGAN and CX-GAN: every loss term against its equation, who hears from what, and the answers."""

import math

import pytest
import torch

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.augment import Augment
from obverse.data.base import MemoryDataset, Sample
from obverse.explanation import NotApplicable
from obverse.losses import shared_change
from obverse.methods.cxgan import CXGAN, CXGANCascaded
from obverse.methods.cyclegan import CycleGAN
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"width": 4, "depth": 2, "critic_width": 3, "critic_levels": 2, "diversity": 0.0, "seed": 2}
KINDS = [CycleGAN, CXGAN, CXGANCascaded]


def make(kind=CXGAN, classifier=None, **settings):
    explainer = kind(classifier or bright_classifier(), **{**SMALL, **settings})
    with torch.no_grad():  # a start that changes images, so that no term is near 0
        for name, network in explainer.networks.items():
            if name.startswith(("generator", "map")) and hasattr(network, "out"):
                network.out.weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name) + ord(name[-1])))
    return explainer


def batch() -> Sample:
    return bright_data(8, seed=3)[torch.tensor([0, 1, 4, 5])]  # two dark, two bright: the groups, sorted


def step(index: int = 3, total: int = 10) -> Step:
    return Step(index, total, 1, 4, blocks=2)


def play(explainer, index: int = 3, total: int = 10):
    """Run a step without updating anything; return what it yields."""
    return list(explainer.train_step(batch(), step(index, total)))


# ---------------------------------------------------------------------- the equations, slowly


def l1(one, other) -> float:
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def judge(critic, image) -> list[float]:
    return [critic(one[None] * 2 - 1).item() for one in image]


def real_term(form: str, logits: list[float]) -> float:
    if form == "log":
        return sum(-math.log(1 / (1 + math.exp(-d))) for d in logits) / len(logits)  # -ln D
    return sum((d - 1) ** 2 for d in logits) / len(logits)


def fake_term(form: str, logits: list[float]) -> float:
    if form == "log":
        return sum(-math.log(1 - 1 / (1 + math.exp(-d))) for d in logits) / len(logits)  # -ln(1 - D)
    return sum(d**2 for d in logits) / len(logits)


def way(explainer, i):
    """The translation out of domain i as the equations write it: G(x), or x + M(x) for CX-GAN's diseased images."""
    network = explainer.networks[f"generator_{i}"]
    if isinstance(explainer, CXGAN) and i == explainer.classifier.index(explainer.diseased):
        return lambda x, z: x + network.raw(x)
    return network


def draws(explainer, noisy):
    """The noise of a step, in the order in which it is drawn: out of the domain, and for the identity."""
    numbers = step()
    numbers.uniform(torch.empty(4, 6))  # the augmentation's come first

    def draw(i):
        return numbers.uniform(torch.empty(2, explainer.noise)) if i in noisy else None

    return [(draw(i), draw(1 - i)) for i in range(2)]  # the way back is by the middle of the noise


@pytest.mark.parametrize("form", ["least_squares", "log"])
@pytest.mark.parametrize("kind, settings, noisy", [
    (CycleGAN, {}, ()), (CycleGAN, {"noise": 2}, (0, 1)), (CXGAN, {"noise": 0, "back": 3.0}, ()),
    (CXGAN, {"back": 3.0}, (0,)), (CXGAN, {"diseased": "dark", "back": 3.0}, (1,)),
    (CXGANCascaded, {"first": 0.9, "back": 3.0}, (0,)),
])  # fmt: skip
def test_every_term_of_the_generators_equals_its_equation(kind, settings, noisy, form):
    explainer = make(kind, cycle=3.0, identity=2.0, adversarial=form, soft=0.0, **settings)
    player, losses = play(explainer)[0]
    assert player == "generators" and len(losses) == 6
    real = batch().image.chunk(2)
    for i, (out, kept) in enumerate(draws(explainer, noisy)):
        x, there, home = real[i], way(explainer, i), way(explainer, 1 - i)
        fake = there(x, out)
        expected = {
            "realism": real_term(form, judge(explainer.networks[f"critic_{1 - i}"], fake)),  # eqs 3, 8
            "cycle": 3.0 * l1(home(fake, None), x),  # eqs 4, 9
            "identity": 2.0 * l1(home(x, kept), x),
        }
        for name, value in expected.items():
            assert losses[f"{name}_{i}"].item() == pytest.approx(value, rel=2e-4), name


@pytest.mark.parametrize("kind", [CXGAN, CXGANCascaded])
def test_a_map_need_not_leave_a_hint_of_where_the_finding_was(kind):
    losses = play(make(kind))[0][1]
    assert "cycle_0" in losses and "cycle_1" not in losses
    other = play(make(kind, diseased="dark"))[0][1]
    assert "cycle_1" in other and "cycle_0" not in other


def test_the_second_term_of_eq_9_by_hand():
    # xf = F(x-); the map of xf is added to xf, not to the diseased image of the batch
    explainer = make(noise=0, cycle=1.0, soft=0.0)
    healthy = batch().image[:2]
    f, m = explainer.networks["generator_0"], explainer.networks["generator_1"].raw
    xf = f(healthy)
    assert play(explainer)[0][1]["cycle_0"].item() == pytest.approx((xf + m(xf) - healthy).abs().mean().item(), rel=1e-5)
    soft = play(make(noise=0, cycle=1.0))[0][1]["cycle_0"].item()
    distance = (xf + m(xf) - healthy).double()
    assert soft == pytest.approx(((distance**2 + 0.005**2) ** 0.5 - 0.005).mean().item(), rel=1e-4)
    # and the map on a healthy image is what the identity term asks to vanish
    identity = play(explainer)[0][1]["identity_0"].item()
    assert identity == pytest.approx(5 * m(healthy).abs().mean().item(), rel=1e-5)


@pytest.mark.parametrize("form", ["least_squares", "log"])
@pytest.mark.parametrize("kind", [CycleGAN, CXGAN])
def test_every_term_of_the_critics_equals_its_equation(kind, form):
    explainer = make(kind, noise=0, adversarial=form, penalty=0.7, penalty_every=3)
    _, (player, losses) = play(explainer)
    assert player == "critics" and len(losses) == 6
    real = batch().image.chunk(2)
    for i in range(2):
        critic = explainer.networks[f"critic_{i}"]
        fake = way(explainer, 1 - i)(real[1 - i], None)  # the pool is empty: it shows what it is given
        norms = 0.0
        for one in real[i]:
            at = (2 * one - 1).detach()[None].requires_grad_(True)
            (gradient,) = torch.autograd.grad(critic(at).sum(), at)
            norms += sum(value**2 for value in gradient.flatten().tolist()) / 2
        expected = {
            "real": real_term(form, judge(critic, real[i])),
            "fake": fake_term(form, judge(critic, fake)),
            "penalty": 0.7 * 3 * norms,  # every third step, and three times as heavy
        }
        for name, value in expected.items():
            assert losses[f"{name}_{i}"].item() == pytest.approx(value, rel=2e-4), name
    assert len(play(explainer, index=4)[1][1]) == 4
    assert len(play(make(kind, penalty=0.0))[1][1]) == 4


def test_the_critics_are_shown_old_images_too():
    explainer = make(noise=0, pool=2)
    old = torch.rand(2, *SHAPE)
    for i in range(2):
        explainer.networks[f"pool_{i}"](old, torch.zeros(2, 2))
    numbers = step()
    numbers.uniform(torch.empty(4, 6))
    _, (_, losses) = play(explainer)
    for i in range(2):
        fake = way(explainer, 1 - i)(batch().image.chunk(2)[1 - i], None)
        memory, shown = list(old), []
        for one, (chance, place) in zip(fake, numbers.uniform(torch.empty(2, 2)).tolist(), strict=True):
            shown.append(memory[int(place * 2)] if chance < 0.5 else one)
            if chance < 0.5:
                memory[int(place * 2)] = one.detach()
        expected = fake_term("least_squares", judge(explainer.networks[f"critic_{i}"], torch.stack(shown)))
        assert losses[f"fake_{i}"].item() == pytest.approx(expected, rel=2e-4)
        assert torch.equal(explainer.networks[f"pool_{i}"].images, torch.stack(memory))


def test_the_classifiers_terms():
    both = batch().image.chunk(2)
    for kind, form, i in ((CycleGAN, "squared", 0), (CycleGAN, "squared", 1), (CXGAN, "cross_entropy", 0),
                          (CXGAN, "cross_entropy", 1)):  # fmt: skip
        x = both[i]
        explainer = make(kind, noise=0, classifier_weight=2.0)
        assert explainer.classifier_loss == form
        losses = play(explainer)[0][1]
        assert len(losses) == 8 - (kind is CXGAN)  # without its cycle back
        posterior = explainer.classifier.posterior(way(explainer, i)(x, None).clamp(0, 1).detach()).tolist()
        if form == "squared":  # GANterfactual: the mean over both entries of (posterior - one hot)^2
            expected = sum((p[i] ** 2 + (p[1 - i] - 1) ** 2) / 2 for p in posterior) / 2
        else:  # SyCE eq. 9
            expected = sum(-math.log(p[1 - i]) for p in posterior) / 2
        assert losses[f"class_{i}"].item() == pytest.approx(2 * expected, rel=2e-4)
        assert all(heard(losses[f"class_{i}"], explainer.networks[f"generator_{i}"]))
        assert not any(p.requires_grad for p in explainer.classifier.module.parameters())


def test_the_diversity_term_compares_two_draws():
    explainer = make(diversity=0.5)
    losses = play(explainer)[0][1]
    assert len(losses) == 6 and "diversity_0" in losses  # the map has no noise
    numbers = step()
    numbers.uniform(torch.empty(4, 6))
    one, other = (numbers.uniform(torch.empty(2, explainer.noise)) for _ in range(2))  # generator_1 draws none in between
    f, x = explainer.networks["generator_0"], batch().image[:2]
    assert all(heard(losses["diversity_0"], f))
    assert losses["diversity_0"].item() == pytest.approx(0.5 * shared_change(f(x, one), f(x, other), x).item(), rel=1e-4)


# ---------------------------------------------------------------------- who hears from what


def heard(loss, network) -> list[bool]:
    gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]


@pytest.mark.parametrize("kind, settings", [(CycleGAN, {}), (CXGAN, {"back": 10.0})])
@pytest.mark.parametrize("i", [0, 1])
def test_every_generator_layer_hears_from_every_term_meant_for_it(kind, settings, i):
    explainer = make(kind, width=8, **settings)
    losses = play(explainer)[0][1]
    own, other = (explainer.networks[f"generator_{k}"] for k in (i, 1 - i))
    assert all(heard(losses[f"realism_{i}"], own)) and not any(heard(losses[f"realism_{i}"], other))
    assert all(heard(losses[f"cycle_{i}"], own)) and all(heard(losses[f"cycle_{i}"], other))
    assert all(heard(losses[f"identity_{i}"], other)) and not any(heard(losses[f"identity_{i}"], own))


def test_the_critics_move_trains_its_own_critic_and_no_generator():
    explainer = make(penalty_every=1)
    _, (_, losses) = play(explainer)
    for i in range(2):
        own, other = (explainer.networks[f"critic_{k}"] for k in (i, 1 - i))
        assert all(heard(losses[f"real_{i}"], own)) and all(heard(losses[f"fake_{i}"], own))
        assert any(heard(losses[f"penalty_{i}"], own))
        for name in ("real", "fake", "penalty"):
            assert not any(heard(losses[f"{name}_{i}"], other))
            assert not any(any(heard(losses[f"{name}_{i}"], explainer.networks[f"generator_{k}"])) for k in range(2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_classifier_is_not_asked_in_training_and_never_changes(kind, monkeypatch):
    explainer = make(kind)
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    before = {key: value.clone() for key, value in explainer.networks.named_parameters()}
    with monkeypatch.context() as patch:
        patch.setattr(explainer.classifier.module, "forward", None)  # a call would fail
        play(explainer)
        play(explainer, index=9)  # of the cascade, phase two
    fit(explainer, bright_data(16), steps=4, batch_size=4, average=0, progress=False, precision="float32")
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())
    assert not [key for key, value in explainer.networks.named_parameters() if torch.equal(before[key], value)]
    assert not any("classifier" in key for key in explainer.networks.state_dict())


# ---------------------------------------------------------------------- answers


def begin(explainer) -> None:
    """Put a cascade into its second phase."""
    if isinstance(explainer, CXGANCascaded):
        explainer.networks["map"].begun.fill_(1)


@pytest.mark.parametrize("kind, network", [(CXGAN, "generator_1"), (CXGANCascaded, "map")])
def test_a_diseased_image_is_answered_by_the_clipped_sum_and_the_map(kind, network, images):
    explainer = make(kind)
    begin(explainer)
    with torch.no_grad():
        explainer.networks[network].out.weight.mul_(4)  # far out of the range
        change = explainer.networks[network].raw(images[1::2])
    explanation = explainer.explain(images)
    made = (images[1::2] + change).clamp(0, 1)
    assert ((images[1::2] + change) != made).any()
    torch.testing.assert_close(explanation.counterfactual[1::2], made, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(explanation.attribution[1::2], change.abs())  # |M(x)|, not the clipped change
    assert explanation.stable is None


@pytest.mark.parametrize("kind, network", [(CXGAN, "generator_1"), (CXGANCascaded, "map")])
def test_an_empty_map_gives_the_image(kind, network, images):
    explainer = make(kind)
    begin(explainer)
    with torch.no_grad():
        explainer.networks[network].out.weight.zero_()
        explainer.networks[network].out.bias.zero_()
    explanation = explainer.explain(images)
    torch.testing.assert_close(explanation.counterfactual[1::2], images[1::2])
    assert not explanation.attribution[1::2].any() and explanation.attribution[::2].flatten(1).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_image_is_answered_by_the_other_generator(kind, images):
    explainer = make(kind)
    explanation = explainer.explain(images, seed=4)
    noise = None
    if explainer.noise:
        numbers = torch.Generator().manual_seed(4 * 1_000_003)
        noise = torch.special.ndtr(torch.randn(explainer.noise, generator=numbers)).expand(4, -1)
    made = explainer.networks["generator_0"](images[::2], noise).detach()
    torch.testing.assert_close(explanation.counterfactual[::2], made, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(explanation.attribution[::2], (made - images[::2]).abs())


@pytest.mark.parametrize("kind", KINDS)
def test_asked_for_what_is_already_decided_the_image_stays(kind, images):
    explanation = make(kind).explain(images, "bright")
    stay = ~explanation.asked
    assert stay.tolist() == [False, True] * 4
    torch.testing.assert_close(explanation.counterfactual[stay], images[stay])
    assert not explanation.attribution[stay].any() and explanation.attribution[~stay].flatten(1).any(1).all()


def test_noise_gives_a_healthy_image_several_answers_and_a_diseased_one_the_same(images):
    explanation = make(CXGAN).explain(images[:2], answers=3)
    healthy, diseased = explanation.counterfactual.view(2, 3, *SHAPE)
    assert all((healthy[a] - healthy[b]).abs().max() > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(diseased[0], diseased[1]) and torch.equal(diseased[0], diseased[2])
    with pytest.raises(NotApplicable, match="answers: cyclegan gives one answer an image, got 3"):
        make(CycleGAN).explain(images[:2], answers=3)


def test_the_diseased_class_may_be_the_first(images):
    explainer = make(CXGAN, diseased="dark")
    change = explainer.networks["generator_0"].raw(images[::2]).detach()
    explanation = explainer.explain(images)
    torch.testing.assert_close(explanation.attribution[::2], change.abs())
    assert explainer.networks["generator_1"].noise == 64 and explainer.networks["generator_0"].noise == 0


# ---------------------------------------------------------------------- settings and refusals


@pytest.mark.parametrize("kind", KINDS)
def test_a_black_box_is_enough_unless_the_classifier_takes_part(kind, tmp_path):
    black_box = Classifier.black_box(bright_classifier().logits, ["dark", "bright"], SHAPE)
    explainer = make(kind, black_box)
    fit(explainer, bright_data(16), validation=bright_data(8), steps=2, batch_size=4, progress=False, precision="float32")
    assert explainer.explain(bright_data(4)[slice(None)].image).counterfactual.shape == (4, *SHAPE)
    with pytest.raises(ValueError, match=r"soft: expected a difference of at least 0, got -0\.1"):
        make(soft=-0.1)
    with pytest.raises(NotApplicable, match=r"classifier_weight: 0\.5 needs the classifier's gradient"):
        make(kind, black_box, classifier_weight=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_domains_are_labels_unless_asked_otherwise(kind):
    images = bright_data(4).sample.image
    data = MemoryDataset(Sample(image=images, label=torch.tensor([1, 0, 1, 0])), ["dark", "bright"])
    assert make(kind).groups(data).tolist() == [1, 0, 1, 0]
    assert make(kind, domains="decision").groups(data).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"got 3 classes .* use conditional_syce"):
        make(kind).groups(MemoryDataset(Sample(image=images, label=torch.tensor([0, 1, 2, 0])), ["a", "b", "c"]))
    three = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)), ["a", "b", "c"], SHAPE, device="cpu")
    with pytest.raises(ValueError, match=rf"{kind.name} translates between 2 classes, got 3 \(a, b, c\)"):
        kind(three)


def test_images_are_augmented():
    explainer = make(CXGAN, noise=0, augment=Augment(horizontal_flip=1.0))
    flipped = Sample(image=batch().image.flip(3))
    expected = next(make(CXGAN, noise=0).train_step(flipped, step()))[1]
    for name, value in play(explainer)[0][1].items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-4)


@pytest.mark.parametrize("kind, settings", [
    (CycleGAN, {"classifier_weight": 1.0, "norm": "affine"}), (CXGAN, {"diseased": "dark", "noise": 4, "pool": 7}),
    (CXGANCascaded, {"first": 0.4, "augment": Augment(shift=0.1)}),
])  # fmt: skip
def test_saved_and_loaded_it_answers_alike(kind, settings, images, tmp_path):
    explainer = make(kind, **settings)
    fit(explainer, bright_data(16), steps=2, batch_size=4, progress=False, precision="float32")
    explainer.save(tmp_path / "e")
    loaded = kind.load(tmp_path / "e", bright_classifier())
    assert torch.equal(loaded.explain(images).counterfactual, explainer.explain(images).counterfactual)
    assert loaded.describe() == explainer.describe()


def test_the_start_is_nearly_the_identity_and_its_first_step_moves_everything():
    explainer = CXGAN(bright_classifier(), **SMALL)
    image = batch().image
    assert 0 < explainer.explain(image).attribution.max() < 0.02
    _, losses = play(explainer)[0]
    assert all(heard(sum(losses.values()), explainer.networks["generator_1"]))
