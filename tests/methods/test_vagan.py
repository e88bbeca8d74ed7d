"""VA-GAN: its losses, the critic's schedule and the answers."""

import math

import pytest
import torch

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.methods.vagan import VAGAN
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"width": 4, "depth": 2, "critic_width": 2, "critic_levels": 2, "seed": 2}
OFTEN = {"critic_moves": 1, "many_moves": 1}


def make(classifier=None, **settings):
    explainer = VAGAN(classifier or bright_classifier(), **{**SMALL, **settings})
    with torch.no_grad():
        explainer.networks["map"].out.weight.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
    return explainer


def batch() -> Sample:
    return bright_data(8, seed=3)[torch.tensor([0, 1, 4, 5])]


def step(index: int = 3) -> Step:
    return Step(index, 10, 1, 4, blocks=2)


@pytest.mark.parametrize("diseased, sick", [(1, 1), ("dark", 0)])
def test_every_term_equals_its_formula(diseased, sick):
    explainer = make(diseased=diseased, change=40.0, penalty=3.0, **OFTEN)
    (first, critic_losses), (second, map_losses) = explainer.train_step(batch(), step())
    assert (first, second) == ("critic", "map")
    groups = (2 * batch().image - 1).chunk(2)
    x, healthy = groups[sick], groups[1 - sick]
    made = (x + explainer.networks["map"].raw(x)).tanh()
    critic, numbers = explainer.networks["critic"], step()
    numbers.uniform(torch.empty(4, 6))
    share = numbers.uniform(torch.empty(2, 1, 1, 1))
    penalty = 0.0
    for row in range(2):
        between = (healthy[row] + share[row] * (made[row] - healthy[row])).detach()[None].requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(between).sum(), between)
        penalty += (math.sqrt(sum(value**2 for value in gradient.flatten().tolist())) - 1) ** 2 / 2  # one norm an image
    judged = [[critic(one[None]).item() for one in images] for images in (made, healthy)]
    away = [abs(a - b) for a, b in zip(made.flatten().tolist(), x.flatten().tolist(), strict=True)]
    assert critic_losses["gap"].item() == pytest.approx(sum(judged[0]) / 2 - sum(judged[1]) / 2, abs=1e-5)
    assert critic_losses["penalty"].item() == pytest.approx(3 * penalty, rel=2e-4)
    assert map_losses["realism"].item() == pytest.approx(-sum(judged[0]) / 2, abs=1e-5)
    assert map_losses["change"].item() == pytest.approx(40 * sum(away) / len(away), rel=2e-4)


def test_who_hears_from_what():
    explainer = make(**OFTEN, width=8)
    (_, critic_losses), (_, map_losses) = explainer.train_step(batch(), step())

    def heard(loss, name):
        own = list(explainer.networks[name].parameters())
        gradients = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
        return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]

    for loss in map_losses.values():
        assert all(heard(loss, "map"))
    assert not any(heard(critic_losses["gap"], "map")) and not any(heard(critic_losses["penalty"], "map"))
    assert all(heard(critic_losses["gap"], "critic")) and any(heard(critic_losses["penalty"], "critic"))


def schedule(moves: int, few: int, many: int, first: int, every: int) -> list[bool]:
    """Whether the map network moves after each move of the critic, by counting."""
    found = []
    for move in range(moves):
        critic = many if move < first or move % every == 0 else few
        found += [False] * (critic - 1) + [True]
    return found


@pytest.mark.parametrize("few, many, first, every", [(2, 5, 3, 4), (1, 1, 0, 1), (3, 4, 0, 2), (5, 100, 25, 100)])
def test_the_critics_schedule(few, many, first, every):
    explainer = make(critic_moves=few, many_moves=many, first_moves=first, retune_every=every)
    expected = schedule(40, few, many, first, every)
    assert [explainer.generator_moves(index) for index in range(len(expected))] == expected
    for index in (0, len(expected) - 1):
        assert len(list(explainer.train_step(batch(), step(index)))) == 1 + expected[index]


def test_a_thousand_moves_of_the_map_are_8230_of_the_critic():
    explainer = make()
    defaults = (explainer.critic_moves, explainer.many_moves, explainer.first_moves, explainer.retune_every)
    assert len(schedule(1000, *defaults)) == 8230 and explainer.generator_moves(8229)
    assert (explainer.change, explainer.penalty, explainer.momentum) == (100, 10, (0.0, 0.9))


def test_diseased_images_are_made_healthy_and_others_stay(images):
    explainer = make()
    explanation = explainer.explain(images)
    x = 2 * images[1::2] - 1
    made = ((x + explainer.networks["map"].raw(x)).tanh() + 1).detach() / 2
    torch.testing.assert_close(explanation.counterfactual[1::2], made, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(explanation.attribution[1::2], (made - images[1::2]).abs())  # y - x, not M
    torch.testing.assert_close(explanation.counterfactual[::2], images[::2])
    assert not explanation.attribution[::2].any() and not explanation.valid[::2].any()


def test_validation_looks_at_diseased_images_only(data):
    explainer = make()
    explanation = explainer.explain(data[slice(None)].image)
    rows = explanation.select(explanation.source == 1)
    expected = 1 - rows.valid.float().mean().item() + rows.attribution.mean().item()
    assert explainer.validate(data) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="validation: expected images that the classifier decides 'bright', got none among"):
        explainer.validate(data.subset(range(16)))


def test_training_moves_both_and_not_the_classifier():
    explainer = make(**OFTEN)
    before = {key: value.clone() for key, value in explainer.networks.named_parameters()}
    weights = {key: value.clone() for key, value in explainer.classifier.module.state_dict().items()}
    fit(explainer, bright_data(16), steps=3, batch_size=4, average=0, progress=False, precision="float32")
    assert not [key for key, value in explainer.networks.named_parameters() if torch.equal(before[key], value)]
    assert all(torch.equal(weights[key], value) for key, value in explainer.classifier.module.state_dict().items())


def test_a_black_box_is_enough():
    explainer = make(Classifier.black_box(bright_classifier().logits, ["dark", "bright"], SHAPE), **OFTEN)
    fit(explainer, bright_data(16), validation=bright_data(8), steps=2, batch_size=4, progress=False, precision="float32")
    assert explainer.explain(bright_data(4)[slice(None)].image).asked.all()


def test_domains_and_refusals():
    images = bright_data(4).sample.image
    data = MemoryDataset(Sample(image=images, label=torch.tensor([1, 0, 1, 0])), ["dark", "bright"])
    assert make().groups(data).tolist() == [1, 0, 1, 0]
    assert make(domains="decision").groups(data).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"got 3 classes .* use conditional_syce"):
        make().groups(MemoryDataset(Sample(image=images, label=torch.tensor([0, 1, 2, 0])), ["a", "b", "c"]))
    three = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)), ["a", "b", "c"], SHAPE, device="cpu")
    with pytest.raises(ValueError, match="vagan translates between 2 classes"):
        VAGAN(three)
    with pytest.raises(ValueError, match="many_moves: expected at least 1, got 0"):
        make(many_moves=0)
