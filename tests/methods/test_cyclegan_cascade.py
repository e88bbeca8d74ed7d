"""CX-GAN cascaded: phase two against its equations, which phase moves whom, and resuming inside either."""

import math
import os
import signal

import pytest
import torch

from methods.test_cyclegan import batch, heard, judge, l1, make, play, step
from obverse import checkpoint
from obverse.batches import Step
from obverse.methods.cxgan import CXGANCascaded
from obverse.training import fit
from tiny_core import bright_classifier, bright_data

SMALL = {"width": 4, "depth": 2, "critic_width": 3, "critic_levels": 2, "noise": 4, "diversity": 0.0, "pool": 3}


def test_phase_two_equals_its_equations():
    explainer = make(CXGANCascaded, pair=7.0, penalty=0.7, penalty_every=3)
    (first, made_losses), (second, critic_losses) = play(explainer, index=9)
    assert (first, second) == ("map", "map_critic")
    healthy, diseased = batch().image.chunk(2)
    nets = explainer.networks
    made = diseased + nets["map"].raw(diseased)  # eq. 1
    pair = nets["generator_1"](diseased)  # phase one's healthy image
    assert made_losses["pair"].item() == pytest.approx(7 * l1(pair, made), rel=2e-4)  # eq. 5
    realism = sum((d - 1) ** 2 for d in judge(nets["map_critic"], made)) / 2
    assert made_losses["realism"].item() == pytest.approx(realism, rel=2e-4)  # eq. 6, in least squares
    expected = {
        "real": sum((d - 1) ** 2 for d in judge(nets["map_critic"], healthy)) / 2,  # real healthy images, not phase one's
        "fake": sum(d**2 for d in judge(nets["map_critic"], made)) / 2,
    }
    for name, value in expected.items():
        assert critic_losses[name].item() == pytest.approx(value, rel=2e-4), name
    assert set(made_losses) == {"pair", "realism"} and set(critic_losses) == {"real", "fake", "penalty"}


def test_phase_two_hears_the_classifier_where_it_is_given_a_weight():
    explainer = make(CXGANCascaded, classifier_weight=2.0)
    ((_, losses), _) = play(explainer, index=9)
    diseased = batch().image.chunk(2)[1]
    posterior = explainer.classifier.posterior((diseased + explainer.networks["map"].raw(diseased)).clamp(0, 1).detach())
    expected = sum(-math.log(p[0]) for p in posterior.tolist()) / 2  # SyCE eq. 9
    assert losses["class"].item() == pytest.approx(2 * expected, rel=2e-4)
    assert all(heard(losses["class"], explainer.networks["map"]))


def test_phase_two_in_logarithms():
    explainer = make(CXGANCascaded, adversarial="log")
    (_, made_losses), (_, critic_losses) = play(explainer, index=9)
    healthy, diseased = batch().image.chunk(2)
    made = diseased + explainer.networks["map"].raw(diseased)
    share = [torch.tensor(judge(explainer.networks["map_critic"], image)).sigmoid() for image in (healthy, made)]
    assert critic_losses["real"].item() == pytest.approx(-share[0].log().mean().item(), rel=2e-4)
    assert critic_losses["fake"].item() == pytest.approx(-(1 - share[1]).log().mean().item(), rel=2e-4)
    assert made_losses["realism"].item() == pytest.approx(-share[1].log().mean().item(), rel=2e-4)


def test_each_phase_moves_its_own_networks_only():
    explainer = make(CXGANCascaded, first=0.5)
    assert [player for player, _ in play(explainer, index=4)] == ["generators", "critics"]
    (_, made_losses), (_, critic_losses) = play(explainer, index=5)
    nets = explainer.networks
    for loss in made_losses.values():
        assert all(heard(loss, nets["map"]))
        assert not any(any(heard(loss, nets[f"{kind}_{i}"])) for kind in ("generator", "critic") for i in range(2))
    for name in ("real", "fake"):
        assert all(heard(critic_losses[name], nets["map_critic"])) and not any(heard(critic_losses[name], nets["map"]))


@pytest.mark.parametrize("first, total, switch", [(0.5, 10, 5), (0.7, 10, 7), (0.01, 10, 1), (0.99, 10, 9), (0.5, 2, 1)])
def test_where_the_phases_meet(first, total, switch):
    explainer = CXGANCascaded(bright_classifier(), **SMALL, first=first)
    players = [next(explainer.train_step(batch(), step(index, total)))[0] for index in range(total)]
    assert players == ["generators"] * switch + ["map"] * (total - switch)


def test_the_rate_falls_at_the_end_of_each_phase():
    explainer = CXGANCascaded(bright_classifier(), **SMALL, first=0.6, decay=0.5)
    rates = [explainer.rate(Step(index, 20, 0, 4)) for index in range(20)]
    # 12 steps whose last 6 fall, then 8 whose last 4 fall
    one = [1.0] * 7 + [0.1 + 0.9 * left / 6 for left in (5, 4, 3, 2, 1)]
    two = [1.0] * 5 + [0.1 + 0.9 * left / 4 for left in (3, 2, 1)]
    assert rates == pytest.approx(one + two)


def test_a_run_that_ends_in_phase_one_answers_with_its_images(images):
    explainer = make(CXGANCascaded)
    translated = explainer.networks["generator_1"](images[1::2]).detach()
    torch.testing.assert_close(explainer.explain(images).counterfactual[1::2], translated, rtol=0, atol=0.51 / 255)
    explainer.networks["map"].begun.fill_(1)
    mapped = (images[1::2] + explainer.networks["map"].raw(images[1::2]).detach()).clamp(0, 1)
    torch.testing.assert_close(explainer.explain(images).counterfactual[1::2], mapped, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize("first", [0.0, 1.0, 1.5])
def test_both_phases_are_needed(first):
    with pytest.raises(ValueError, match="first: expected a share of the steps between 0 and 1"):
        CXGANCascaded(bright_classifier(), first=first)


def test_weights_of_phase_one_are_never_the_best(data):
    explainer = make(CXGANCascaded)
    for late in (False, True):
        asked = explainer.explain(data[slice(None)].image)
        asked = asked.select(asked.source == 1)
        usual = 1 - asked.valid.float().mean().item() + asked.attribution.mean().item()
        assert explainer.validate(data) == pytest.approx(usual + 2 * (not late), rel=1e-5)
        play(explainer, index=9)  # a step of phase two


class Interrupted(CXGANCascaded):
    """Asks to stop in the middle of a step."""

    at = 0

    def train_step(self, batch, step):
        if step.index == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        yield from super().train_step(batch, step)


def test_resumed_inside_either_phase_it_equals_a_run_that_was_not_stopped(tmp_path):
    data, settings = bright_data(16), {
        "steps": 8, "batch_size": 4, "average": 0.9, "seed": 4, "progress": False, "precision": "float32",
        "validation": bright_data(8, 1), "validate_every": 4,
    }  # fmt: skip
    straight = CXGANCascaded(bright_classifier(), **SMALL, first=0.5)
    whole = fit(straight, data, run_dir=tmp_path / "straight", **settings)
    assert int(straight.networks["pool_0"].count) == 3 and int(straight.networks["map_pool"].count) == 3
    for at in (1, 5):  # within phase one, then within phase two
        stopped = Interrupted(bright_classifier(), **SMALL, first=0.5)
        stopped.at = at
        with pytest.raises(KeyboardInterrupt, match=f"stopped after step {at + 1} of 8"):
            fit(stopped, data, run_dir=tmp_path / "parts", existing="refuse" if at == 1 else "resume", **settings)
    resumed = CXGANCascaded(bright_classifier(), **SMALL, first=0.5)
    parts = fit(resumed, data, run_dir=tmp_path / "parts", existing="resume", **settings)
    assert parts.curve == whole.curve and len(whole.curve) == 2 and whole.best_step == 8
    for name in ("checkpoint/state", "best/networks"):
        one, other = (checkpoint.load_tensors(tmp_path / run / f"{name}.safetensors") for run in ("straight", "parts"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    for key, value in straight.networks.state_dict().items():
        assert torch.equal(value, resumed.networks.state_dict()[key]), key
