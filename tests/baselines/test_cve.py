"""CVE against exhaustive search, and its pixel edits by hand."""

import pytest
import torch

from baselines.baseline_nets import (
    Average,
    Convolutions,
    Reused,
    Shortcut,
    Tokens,
    classifier,
    data,
    flat,
    images,
    mixed,
)
from obverse.baselines.common import margin
from obverse.baselines.cve import CVE, _pasted, _spread, _weight
from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.drive import Cout
from obverse.metrics.perturbation import edits


def exhaustive(explainer, query, distractor, target, edits):
    """Try every pair of free cells, one at a time, and keep the best; for one image."""
    head, cells, other = explainer._head, query.flatten(2).clone(), distractor.flatten(2)
    count, pairs = cells.shape[2], []
    for _ in range(edits):
        with torch.no_grad():
            if float(margin(head.logits(cells), target)) > 0:
                break
            best, choice = -float("inf"), None
            for where in range(count):
                for whence in range(count):
                    if where in [a for a, _ in pairs] or whence in [b for _, b in pairs]:
                        continue
                    tried = cells.clone()
                    tried[:, :, where] = other[:, :, whence]
                    lead = float(margin(head.logits(tried), target))
                    if lead > best:
                        best, choice = lead, (where, whence)
        pairs.append(choice)
        cells[:, :, choice[0]] = other[:, :, choice[1]]
    return pairs


@pytest.mark.parametrize("module", [Tokens, Reused])
def test_greedy_against_exhaustive_where_all_pairs_are_candidates(module):
    chosen = classifier(module())
    layer = {Tokens: "patch", Reused: "conv2"}[module]
    explainer = CVE(chosen, data(), layer=layer, edits=3, candidates=10_000)
    x = mixed(chosen, 2)
    target = 1 - chosen.decide(x)
    other = explainer._gallery.images(explainer._gallery.nearest(x, target))
    features, replaced = explainer._head.features(x), explainer._head.features(other)
    # a corner of 3 x 3 cells is enough to try every pair
    if module is Reused:
        explainer._head.layer = type(explainer._head.layer)(layer, explainer._head.layer.module, (3, 3), None)
        features, replaced = features[:, :, :3, :3], replaced[:, :, :3, :3]
    source, order = explainer.search(features, replaced, target)
    for row in range(2):
        rows = slice(row, row + 1)
        pairs = exhaustive(explainer, features[rows], replaced[rows], target[rows], 3)
        edited = [cell for cell in range(9) if order[row, cell] >= 0]
        found = sorted((int(order[row, cell]), cell, int(source[row, cell])) for cell in edited)
        assert [(cell, whence) for _, cell, whence in found] == pairs


def test_every_edit_is_one_step_of_cout():
    chosen = classifier()
    explainer, x = CVE(chosen, data(), edits=5), mixed(chosen, 6)
    answer = explainer.explain(x)
    assert bool(Cout("edits").applies(answer, Sample(image=x)).any())
    other = explainer._gallery.images(explainer._gallery.nearest(x, answer.target))
    _, order = explainer.search(explainer._head.features(x), explainer._head.features(other), answer.target)
    made = (edits(answer.attribution).diff(dim=1) > 0).sum(1)
    assert made.tolist() == (order >= 0).sum(1).tolist()


def test_few_candidates_are_as_good_where_all_is_linear_behind_the_layer():
    chosen = classifier(Average())
    x = mixed(chosen, 6)
    few, more = (CVE(chosen, data(), layer="features", candidates=count, edits=12).explain(x) for count in (1, 32))
    assert torch.equal(few.counterfactual, more.counterfactual) and (few.difference != 0).any()
    assert torch.equal(few.attribution, more.attribution)


def test_the_search_ends_at_the_decision_and_uses_every_cell_once():
    chosen = classifier()
    explainer = CVE(chosen, data(), edits=64)
    x = mixed(chosen, 4)
    target = 1 - chosen.decide(x)
    other = explainer._gallery.images(explainer._gallery.nearest(x, target))
    features, replaced = explainer._head.features(x), explainer._head.features(other)
    source, order = explainer.search(features, replaced, target)
    cells = features.flatten(2).clone()
    for row in range(4):
        used = source[row][source[row] >= 0].tolist()
        assert len(set(used)) == len(used)
        assert sorted(order[row][order[row] >= 0].tolist()) == list(range(len(used)))
        for cell in (source[row] >= 0).nonzero().flatten().tolist():
            cells[row, :, cell] = replaced[row].flatten(1)[:, int(source[row, cell])]
    with torch.no_grad():
        assert (explainer._head.logits(cells).argmax(1) == target).all()


def test_the_head_continues_from_the_layer():
    for module in (Convolutions, Reused, Tokens):
        chosen = classifier(module())
        explainer = CVE(chosen, data())
        x = images(3)
        again = explainer._head.logits(explainer._head.features(x).flatten(2))
        torch.testing.assert_close(again, chosen.logits(x), rtol=1e-3, atol=1e-4)
        for layer in chosen.module.modules():
            assert not layer._forward_hooks and not layer._forward_pre_hooks


def test_pixels_are_pasted_cell_by_cell():
    image, other = torch.zeros(1, 1, 4, 6), torch.arange(24.0).view(1, 1, 4, 6)
    source = torch.tensor([[-1, 3, -1, -1]])  # 2 x 2 cells of 2 x 3 pixels: upper right from lower right
    expected = torch.zeros(4, 6)
    expected[:2, 3:] = other[0, 0, 2:, 3:]
    assert torch.equal(_pasted(image, other, source, (2, 2))[0, 0], expected)
    weight = _weight(torch.tensor([[-1, 1, 0, -1]]))
    assert weight.tolist() == [[0.0, 0.5, 1.0, 0.0]]
    spread = _spread(weight.view(1, 1, 2, 2), image)[0, 0]
    assert spread[0].tolist() == [0, 0, 0, 0.5, 0.5, 0.5] and spread[2].tolist() == [1, 1, 1, 0, 0, 0]


def test_cells_that_do_not_divide_the_image_still_cover_it():
    image, other = torch.zeros(1, 1, 7, 7), torch.ones(1, 1, 7, 7)
    whole = _pasted(image, other, torch.arange(9)[None], (3, 3))
    assert torch.equal(whole, other)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: CVE(classifier(flat()), data()), NotApplicable, "cve: .* has no layer with spatial output"),
        (lambda: CVE(classifier(Shortcut()), data()), NotApplicable,
         r"cve: other paths bypass every layer with spatial output \('conv'\)"),
        (lambda: CVE(classifier(), data(), layer="hidden"), ValueError, "got 'hidden'; .* cve can use: 'conv1'"),
        (lambda: CVE(classifier(), data(), edits=0), ValueError, "edits: expected more than 0 for cve"),
    ],
)  # fmt: skip
def test_errors_name_argument_expectation_and_remedy(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
