"""What translators share: domains by decision, the critic's losses."""

import pytest
import torch

from obverse.batches import Step
from obverse.methods.syce import SyCE
from tiny_core import bright_classifier, bright_data


def test_domains_are_decisions_and_each_must_be_there():
    explainer = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2)
    assert explainer.groups(bright_data(8)).tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="never decides 'dark' on these 4 images; syce needs images of every decision"):
        explainer.groups(bright_data(8).subset([4, 5, 6, 7]))


def test_a_rare_penalty_weighs_more():
    explainer = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2, penalty=2.0, penalty_every=3)
    every = SyCE(bright_classifier(), width=4, critic_width=3, critic_levels=2, penalty=2.0)
    real, fake = bright_data(8)[slice(None)].image.chunk(2)
    critic = explainer.networks["critic_0"]
    once = every._criticised(critic, real, fake, Step(3, 10, 0, 8))["penalty"]
    found = explainer._criticised(critic, real, fake, Step(3, 10, 0, 8))
    torch.testing.assert_close(found["penalty"], 3 * once)
    assert set(explainer._criticised(critic, real, fake, Step(4, 10, 0, 8))) == {"real", "fake"}
