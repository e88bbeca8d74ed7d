"""The strip of a knob says what was asked for and what was obtained; pairs show image, counterfactual and change."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

from benchmarks.sheet import pairs, strip


class Knob:
    """Paints the whole image as bright as asked, and is off by 0.01."""

    name = "knob"

    def at(self, image, posterior, *, of):
        assert of == 1
        count = len(image)
        both = [torch.tensor([[1 - p, p]]).expand(count, 2) for p in (0.2, posterior + 0.01)]
        made = torch.full_like(image, posterior)
        return SimpleNamespace(counterfactual=made, posterior_before=both[0], posterior_after=both[1])


def test_a_strip_by_hand():
    figure = strip(Knob(), torch.zeros(2, 1, 4, 4))
    lines = [figure.axes[:11], figure.axes[11:]]
    assert [axes.get_title() for axes in lines[0]] == ["query", *(f"{0.05 + 0.1 * k:.2f}" for k in range(10))]
    for line in lines:
        assert [axes.get_xlabel() for axes in line] == ["0.20", *(f"{0.06 + 0.1 * k:.2f}" for k in range(10))]
        assert line[10].images[0].get_array().max() == 242  # 0.95 of 255
    plt.close(figure)


def test_a_knob_without_counterfactuals():
    knob = Knob()
    knob.at = lambda image, posterior, of: SimpleNamespace(
        counterfactual=None, posterior_before=torch.zeros(1, 2), posterior_after=None
    )
    with pytest.raises(ValueError, match="knob: expected counterfactuals of its knob, got a map alone"):
        strip(knob, torch.zeros(1, 1, 4, 4))


def test_pairs_by_hand():
    image = torch.full((2, 1, 4, 4), 0.2)
    answers = {name: SimpleNamespace(image=image, counterfactual=image * 0 + 1) for name in ("a", "b", "c")}
    figure = pairs(answers)
    shown = [axes for axes in figure.axes if axes.images]
    assert sorted(axes.get_title()[0] for axes in shown) == ["a", "b", "c"]
    lines = shown[0].images[0].get_array()[..., 0]
    assert lines.shape == (12, 8) and [int(lines[4 * k].max()) for k in range(3)] == [51, 255, 204]
    plt.close(figure)
    answers["c"].counterfactual = None
    with pytest.raises(ValueError, match="c: expected counterfactuals, got none; leave it out"):
        pairs(answers)
