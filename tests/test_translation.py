"""What translators share: the rate that falls, domains by decision, the critic's losses."""

import pytest
import torch

from obverse.batches import Step
from obverse.methods.syce import SyCE
from obverse.translation import decisions, falling
from tiny_core import bright_classifier, bright_data


def test_the_rate_by_hand():
    # 10 steps, of which the last 4 fall: 6 -> 1, 7 -> 0.1 + 0.9 * 3/4, 8 -> 2/4, 9 -> 1/4
    found = [falling(Step(index, 10, 0, 2), 0.4) for index in range(10)]
    assert found == pytest.approx([1.0] * 7 + [0.775, 0.55, 0.325])
    assert [falling(Step(index, 10, 0, 2), 0.0) for index in (0, 8)] == [1.0, 1.0]


def test_domains_are_decisions_and_each_must_be_there():
    explainer = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2)
    assert decisions(explainer, bright_data(8)).tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="never decides 'dark' on these 4 images; syce needs images of every decision"):
        decisions(explainer, bright_data(8).subset([4, 5, 6, 7]))


def test_a_rare_penalty_weighs_more():
    explainer = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2, penalty=2.0, penalty_every=3)
    every = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2, penalty=2.0)
    real, fake = bright_data(8)[slice(None)].image.chunk(2)
    critic = explainer.networks["critic_0"]
    once = every._criticised(critic, real, fake, Step(3, 10, 0, 8))["penalty"]
    found = explainer._criticised(critic, real, fake, Step(3, 10, 0, 8))
    torch.testing.assert_close(found["penalty"], 3 * once)
    assert set(explainer._criticised(critic, real, fake, Step(4, 10, 0, 8))) == {"real", "fake"}
