"""Explanation: rows are selected, moved and joined together; the sentence says what happened."""

import dataclasses

import pytest
import torch

from obverse.explanation import Explanation, NotApplicable, as_saved
from tiny import explanation_of


def make(count: int = 4, seed: int = 0, **arguments) -> Explanation:
    image = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return explanation_of(image, 1 - image, **arguments)


def tensors(explanation: Explanation) -> dict[str, torch.Tensor]:
    values = {field.name: getattr(explanation, field.name) for field in dataclasses.fields(explanation)}
    return {key: value for key, value in values.items() if isinstance(value, torch.Tensor)}


def test_as_saved_is_what_an_8_bit_file_keeps():
    image = torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 0.5, 254.6 / 255, 1.0, 7.0], dtype=torch.float64)
    saved = as_saved(image)
    assert saved.dtype == torch.float32
    assert (saved * 255).round().tolist() == [0, 0, 0, 1, 128, 255, 255, 255]
    assert torch.equal(as_saved(saved), saved)
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_saved(every.float() / 255), every.float() / 255)
    assert as_saved(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("index", [torch.tensor([2, 0]), torch.tensor([True, False, True, False])])
def test_selected_rows_are_the_rows_of_every_tensor(index):
    whole = make(stable=torch.rand(4, 1, 3, 3))
    part = whole.select(index)
    assert len(part) == 2 and part.residual is None and part.method == whole.method
    for key, value in tensors(whole).items():
        assert torch.equal(getattr(part, key), value[index]), key


def test_joined_rows_are_all_rows_and_queries_count_on():
    one, other = make(3), make(2, seed=1)
    one = dataclasses.replace(one, query=torch.tensor([0, 0, 1]))
    joined = Explanation.cat([one, other, make(1, seed=2)])
    assert joined.query.tolist() == [0, 0, 1, 2, 3, 4]
    for key, value in tensors(one).items():
        if key != "query":
            assert torch.equal(getattr(joined, key)[:3], value), key
            assert torch.equal(getattr(joined, key)[3:5], getattr(other, key)), key
    assert len(joined) == 6


def test_it_cannot_be_changed_and_moves_whole():
    explanation = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.method = "other"
    moved = explanation.to("meta")
    assert all(value.device.type == "meta" for value in tensors(moved).values())


def test_the_sentence_says_how_far_to_trust():
    image, n = torch.zeros(4, 1, 2, 2), 4
    explanation = explanation_of(
        image, image, classes=("no", "yes"), source=torch.tensor([0, 0, 1, 0]), target=torch.ones(n, dtype=torch.int64),
        before=torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]),
        after=torch.tensor([[0.05, 0.95], [0.7, 0.3], [0.3, 0.7], [0.5, 0.5]]),
    )  # fmt: skip
    assert explanation.words(0) == "Valid: decided 'yes' instead of 'no' (10.0% before, 95.0% after)."
    assert explanation.words(1) == "Not valid: still not decided 'yes' (20.0% before, 30.0% after)."
    assert explanation.words(2) == "The image was already decided 'yes' (70.0%); nothing had to change."
    other = dataclasses.replace(explanation, method="knob", counterfactual=torch.full_like(image, 0.1))  # it answers all the same
    said = "The image was already decided 'yes' (70.0%); nothing had to change, and what knob makes of it gets 70.0%."
    assert other.words(2) == said
    wanted = dataclasses.replace(explanation, requested=torch.tensor([0.99, 0.2, 0.9, 0.9]))
    assert wanted.words(0) == "Valid: asked for 99.0% 'yes', got 95.0% (10.0% before)."
    wanted = dataclasses.replace(wanted, valid=torch.tensor([True, False, True, True]))
    assert wanted.words(3) == "Valid, but short of it: asked for 90.0% 'yes', got 50.0% (40.0% before)."
    only_map = dataclasses.replace(explanation, counterfactual=None, method="occlusion")
    assert only_map.words(0) == "occlusion shows where the evidence for 'no' is; it makes no counterfactual."


def test_not_applicable_is_a_value_error():
    assert issubclass(NotApplicable, ValueError)
