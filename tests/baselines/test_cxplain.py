"""CXPlain: its targets against a slow loop, its training, its granularity."""

import math

import pytest
import torch

from baselines.baseline_nets import black_box, classifier, data, flat, images
from obverse.baselines.common import blur
from obverse.baselines.cxplain import CXPlain, _spread
from obverse.training import fit


@pytest.mark.parametrize("fill", ["black", "blur"])
def test_targets_against_a_slow_loop(fill):
    chosen, x = classifier(flat()), images(2)
    explainer = CXPlain(chosen, cell=5, fill=fill, sigma=2.0)  # the last cells are 2 pixels wide
    cover = torch.zeros_like(x) if fill == "black" else blur(x, 2.0)
    assert explainer.grid == (3, 3)
    for row in range(2):
        decided, rises = int(chosen.decide(x)[row]), []
        before = -math.log(float(chosen.posterior(x)[row, decided]))
        for i in range(3):
            for j in range(3):
                covered = x[row : row + 1].clone()
                covered[:, :, 5 * i : 5 * i + 5, 5 * j : 5 * j + 5] = cover[row, :, 5 * i : 5 * i + 5, 5 * j : 5 * j + 5]
                after = -math.log(float(chosen.posterior(covered)[0, decided]))
                rises.append(max(after - before, 1e-7))
        expected = torch.tensor([rise / sum(rises) for rise in rises])
        torch.testing.assert_close(explainer.targets(x)[row], expected, rtol=1e-3, atol=1e-5)


def test_the_classifier_is_asked_once_for_every_image_and_what_is_remembered_is_what_it_said(monkeypatch):
    explainer, x = CXPlain(classifier()), images(5)
    fresh, asked = explainer.targets(x), []
    monkeypatch.setattr(CXPlain, "targets", lambda self, image, own=CXPlain.targets: asked.append(len(image)) or own(self, image))
    order = torch.tensor([4, 1, 3, 0])
    for rows in (order[:2], order, order.flip(0), torch.tensor([1, 1])):
        torch.testing.assert_close(explainer._remembered_targets(x[rows]), fresh[rows])
    assert asked == [2, 2]
    monkeypatch.setattr("obverse.baselines.cxplain.MOST_NUMBERS", 4 * explainer.grid[0] * explainer.grid[1])
    for _ in range(2):  # no room for a fifth
        torch.testing.assert_close(explainer._remembered_targets(x), fresh)
    assert asked == [2, 2, 1, 1]


def test_the_divergence_by_hand():
    explainer = CXPlain(classifier())
    wanted, scores = torch.tensor([[0.25, 0.75]]), torch.zeros(1, 2)
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(explainer._divergence(wanted, scores)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chosen", [classifier(), black_box()], ids=["network", "black box"])
def test_training_brings_the_divergence_down(chosen, tmp_path):
    explainer = CXPlain(chosen, width=8, learning_rate=1e-2)
    before = explainer.validate(data(16))
    fit(explainer, data(16), validation=data(16), steps=15, batch_size=8, validate_every=15, progress=False,
        precision="float32", run_dir=tmp_path / "run", average=0.5)  # fmt: skip
    assert explainer.validate(data(16)) < 0.95 * before
    found = explainer.explain(images(3))
    cells = found.attribution[:, 0, ::4, ::4].flatten(1)
    torch.testing.assert_close(cells.sum(1), torch.ones(3))
    assert found.counterfactual is None and not found.valid.any()
    if chosen.has_gradient:
        again = CXPlain.load(tmp_path / "run", chosen)
        assert torch.equal(again.explain(images(3)).attribution, found.attribution)


def test_every_pixel_has_the_value_of_its_cell():
    cells = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    assert _spread(cells, 2, torch.zeros(1, 1, 3, 4))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]


def test_errors_name_argument_expectation_and_remedy():
    with pytest.raises(ValueError, match="cell: expected 1 to 6 pixels for images of 12 x 12, got 8; 4 is the default"):
        CXPlain(classifier(), cell=8)
    with pytest.raises(ValueError, match="width: expected more than 0 for cxplain, got 0"):
        CXPlain(classifier(), width=0)
