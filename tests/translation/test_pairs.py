"""Pairs of classes: which are allowed, which images they train on, and which way an image takes."""

from dataclasses import dataclass

import pytest
import torch

from obverse.data.base import MemoryDataset, Sample
from obverse.explainer import Answer, Query
from obverse.explanation import NotApplicable
from obverse.training import fit
from obverse.translation.pairs import PairExplainer
from tiny_core import SHAPE
from tiny_latent import blocks_classifier, levels_data


@dataclass(eq=False, kw_only=True)
class Ways(PairExplainer):
    """Answers with its way, as a grey level."""

    name = "ways"

    def __post_init__(self):
        super().__post_init__()
        self.networks = torch.nn.ModuleDict()

    def players(self):
        return {}

    def train_step(self, batch, step):
        yield from ()

    def answer(self, query: Query) -> Answer:
        level = (self.way(query) + 1) / 10
        return Answer(counterfactual=level.view(-1, 1, 1, 1).expand_as(query.image).contiguous())


def three(pairs, **settings) -> Ways:
    return Ways(blocks_classifier("0", "1", "2"), pairs=pairs, **settings)


def images(*levels: float) -> torch.Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()


def taken(explainer, image, target=None) -> list[int]:
    return (explainer.explain(image, target).counterfactual[:, 0, 0, 0] * 10).round().long().sub(1).tolist()


def test_two_classes_are_one_pair():
    explainer = Ways(blocks_classifier())
    assert explainer.pairs == (("dark", "bright"),)
    assert explainer.ways == ((0, 1), (1, 0)) and explainer.used == (0, 1)


def test_images_of_classes_that_a_classifier_of_two_does_not_know_are_refused():
    image = images(0.1, 0.9, 0.5, 0.4)
    data = MemoryDataset(Sample(image=image, label=torch.tensor([0, 1, 2, 2])), ["dark", "bright", "grey"])
    for ask in (Ways(blocks_classifier()).groups, Ways(blocks_classifier()).of_pairs):
        with pytest.raises(ValueError, match=r"data: ways translates between dark and bright, got images of 3 classes"):
            ask(data)
    assert Ways(blocks_classifier(), domains="label").groups(data).tolist() == [0, 1, -1, -1]


def test_the_ways_of_a_pair_are_neighbours():
    explainer = three((("2", "0"), ("1", "2")))
    assert explainer.ways == ((2, 0), (0, 2), (1, 2), (2, 1)) and explainer.used == (0, 1, 2)
    for index, (source, target) in enumerate(explainer.ways):
        assert explainer.ways[index ^ 1] == (target, source)


def test_an_image_takes_the_way_of_its_decision():
    explainer = three((("0", "1"), ("1", "2")))
    image = images(0.1, 0.5, 0.9)
    assert explainer.classifier.decide(image).tolist() == [0, 1, 2]
    assert taken(explainer, image, "1") == [0, -1, 3]
    assert taken(explainer, image, torch.tensor([1, 2, 1])) == [0, 2, 3]


def test_without_a_target_it_is_the_runner_up_that_a_way_leads_to():
    assert taken(three((("0", "2"),)), images(0.1, 0.9)) == [0, 1]  # 1 is the runner-up of both
    both = three((("0", "1"), ("1", "2")))
    assert taken(both, images(0.1, 0.45, 0.55, 0.9)) == [0, 1, 2, 3]
    assert both.explain(images(0.45, 0.55)).target.tolist() == [0, 2]


def test_an_image_that_is_decided_neither_takes_the_way_of_the_more_probable_class():
    explainer = three((("0", "2"),))
    image = images(0.4, 0.6)
    assert explainer.classifier.decide(image).tolist() == [1, 1]
    assert taken(explainer, image, "2") == [0, 0] and taken(explainer, image, "0") == [1, 1]
    # without a target: towards the more probable one, from the other
    assert explainer.explain(image).target.tolist() == [0, 2] and taken(explainer, image) == [1, 0]
    several = three((("0", "2"), ("1", "2")))
    assert taken(several, images(0.1, 0.4, 0.6), "2") == [0, 2, 2]  # 0 to 2, and 1 to 2


def test_what_the_classifier_said_of_an_image_is_not_asked_again(monkeypatch):
    explainer, asked = three((("0", "2"),)), []
    scores = explainer.classifier._scores
    monkeypatch.setattr(explainer.classifier, "_scores", lambda image: asked.append(len(image)) or scores(image))
    explainer.explain(images(0.4, 0.6), "2")
    assert asked == [2, 2]  # before and after


def test_a_target_that_no_pair_leads_to():
    explainer = three((("0", "2"),))
    with pytest.raises(ValueError, match=r"target: ways was made for the pairs 0 - 2, got '1'; ask for another or fit"):
        explainer.explain(images(0.1), "1")
    assert taken(explainer, images(0.5), "1") == [-1]  # nothing is asked of it


def test_groups_are_the_decisions_in_use():
    data = levels_data(9)
    assert three((("2", "0"),)).groups(data).tolist() == [0, -1, 1] * 3
    assert three((("0", "1"), ("2", "1"))).groups(data).tolist() == [0, 1, 2] * 3
    with pytest.raises(ValueError, match="data: the classifier never decides '1' on these 6 images; ways needs images"):
        three((("2", "1"),)).groups(data.subset([0, 2, 3, 5, 6, 8]))


def test_groups_by_label_are_matched_by_name():
    data = levels_data(6)
    named = MemoryDataset(Sample(image=data.sample.image.flip(0), label=data.labels()), ["2", "9", "0"])
    explainer = three((("0", "2"),), domains="label")
    assert explainer.groups(named).tolist() == [1, -1, 0] * 2
    with pytest.raises(ValueError, match="data: no label is '1' on these 6 images; ways needs images of both classes"):
        three((("0", "1"),), domains="label").groups(named)
    with pytest.raises(ValueError, match="data: domains='label' needs labelled images, got images without labels"):
        explainer.groups(MemoryDataset(Sample(image=data.sample.image), ["0"]))
    with pytest.raises(ValueError, match="domains: expected one of 'label', 'decision' for ways, got 'labels'"):
        three((("0", "1"),), domains="labels")


def test_images_of_no_pair_choose_no_weights():
    explainer = three((("0", "2"),))
    data = levels_data(9)
    used = data.subset([0, 2, 3, 5, 6, 8])
    assert explainer.classifier.posteriors(data).argmax(1).tolist() == [0, 1, 2] * 3
    assert explainer.validate(data) == explainer.validate(used) and len(explainer.of_pairs(data)) == 6
    assert explainer.of_pairs(used) is used
    with pytest.raises(ValueError, match="data: expected images of 0, 2 for ways, got none among these 3; pass others"):
        explainer.validate(data.subset([1, 4, 7]))


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ((), r"pairs: ways needs to know which of the 3 classes to connect, got none; pass e.g. pairs=\(\('0', '1'\),\)"),
        ((("0", "7"),), r"expected one of '0', '1', '2' or an int below 3, got '7'"),
        ((("0", "0"),), r"pairs: expected different pairs of different classes, got \('0', '0'\)"),
        ((("0", "1"), ("1", "0")), r"pairs: expected different pairs of different classes, got \('1', '0'\)"),
        ((("0", "1", "2"),), r"pairs: expected two names each, got \('0', '1', '2'\)"),
        (("01",), r"pairs: expected two names each, got '01'"),
    ],
)
def test_impossible_pairs(pairs, said):
    with pytest.raises(ValueError, match=said):
        three(pairs)


def test_a_batch_that_cannot_be_divided():
    with pytest.raises(ValueError, match="batch_size: expected at least 3"):
        fit(three((("0", "1"), ("1", "2"))), levels_data(9), steps=1, batch_size=2, progress=False)


def test_a_target_that_no_pair_leads_to_is_not_applicable_and_no_failure():
    with pytest.raises(NotApplicable, match=r"target: ways was made for the pairs 0 - 1, got '2'; ask for another or fit"):
        three((("0", "1"),)).explain(images(0.1), "2")
