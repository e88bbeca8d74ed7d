"""Attributions against captum, slow formulas and identities; layers found, and refused."""

import captum.attr
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.baseline_nets import (
    SHAPE,
    Average,
    ChannelsLast,
    Convolutions,
    Flattened,
    Heads,
    InPlace,
    Reused,
    Tokens,
    classifier,
    data,
    flat,
    images,
    mixed,
    query,
    seeded,
)
from obverse.baselines.attribution import CAM, GradCAM, Gradient, IntegratedGradients, Occlusion, SmoothGrad
from obverse.baselines.common import blur, contrast
from obverse.baselines.controls import Identity, MeanImage, RawImage
from obverse.baselines.layers import spatial_layers
from obverse.baselines.pgd import PGD
from obverse.classifier import Classifier
from obverse.explanation import NotApplicable


def score(chosen, image, source, target):
    logits = chosen.logits(image)
    rows = torch.arange(len(image))
    return logits[rows, source] - logits[rows, target]


def slow_gradient(chosen, image, source, target, step=1e-3):
    """Central differences, one pixel of each copy."""
    changes = step * torch.eye(image[0].numel()).view(-1, *image.shape[1:])
    found = []
    for x, s, t in zip(image, source, target):
        many = [s.expand(len(changes)), t.expand(len(changes))]
        up, down = (score(chosen, (x + sign * changes).requires_grad_(), *many).detach() for sign in (1, -1))
        found.append(((up - down) / (2 * step)).view_as(x))
    return torch.stack(found)


def test_gradient_against_differences():
    chosen = classifier(flat())
    x = images(1)
    found = Gradient(chosen).explain(x)
    expected = slow_gradient(chosen, x, found.source, found.target).abs()
    torch.testing.assert_close(found.attribution, expected, rtol=1e-2, atol=2e-3)


def test_smoothgrad_is_the_mean_over_the_same_noise_for_every_image():
    chosen, x = classifier(), images(3)
    found = SmoothGrad(chosen, copies=4, noise=0.2).explain(x, seed=5)
    total = torch.zeros_like(x)
    for k in range(4):
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5 * 1_000_003 + k))
        leaf = (x + 0.2 * noise).requires_grad_()
        value = score(chosen, leaf, found.source, found.target).sum()
        total += torch.autograd.grad(value, leaf)[0]
    torch.testing.assert_close(found.attribution, (total / 4).abs(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur", "counterfactual"])
def test_integrated_gradients_are_complete(baseline):
    chosen = classifier(flat())
    other = MeanImage(chosen, data())
    part = other if baseline == "counterfactual" else None
    explainer = IntegratedGradients(chosen, part, baseline=baseline, steps=60)
    x = mixed(chosen)
    asked = query(explainer, x)
    signed = explainer.integrate(asked)
    start = {"black": torch.zeros_like(x), "mean": x.mean((2, 3), keepdim=True).expand_as(x), "blur": blur(x, 5.0),
             "counterfactual": other.explain(x).counterfactual}[baseline]  # fmt: skip
    expected = score(chosen, x, asked.source, asked.target) - score(chosen, start, asked.source, asked.target)
    torch.testing.assert_close(signed.flatten(1).sum(1), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(explainer.explain(x).attribution, signed.sum(1, keepdim=True).abs())


def test_integrated_gradients_of_the_posterior_sum_to_its_difference():
    chosen = classifier(flat())
    explainer, x = IntegratedGradients(chosen, score="posterior", steps=60), mixed(chosen)
    asked = query(explainer, x)
    after, before = (chosen.posterior(part).gather(1, asked.source[:, None])[:, 0] for part in (x, torch.zeros_like(x)))
    torch.testing.assert_close(explainer.integrate(asked).flatten(1).sum(1), after - before, rtol=1e-3, atol=1e-3)


def test_integrated_gradients_against_a_slow_sum():
    chosen, x = classifier(flat()), images(2)
    explainer = IntegratedGradients(chosen, steps=40)
    asked = query(explainer, x)
    total, count = torch.zeros_like(x), 400
    for k in range(count):
        leaf = (x * (k + 0.5) / count).requires_grad_()
        total += torch.autograd.grad(score(chosen, leaf, asked.source, asked.target).sum(), leaf)[0]
    torch.testing.assert_close(explainer.integrate(asked), x * total / count, rtol=1e-2, atol=1e-3)


def test_occlusion_against_a_slow_loop():
    chosen, x = classifier(), images(2)
    found = Occlusion(chosen, patch=4, stride=3).explain(x)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    before = score(chosen, x, found.source, found.target)
    for row in (0, 3, 6, 8):  # the last is moved back to the border
        for column in (0, 3, 6, 8):
            if 8 in (row, column):
                continue
            covered = x.clone()
            covered[:, :, row : row + 4, column : column + 4] = 0
            drop = before - score(chosen, covered, found.source, found.target)
            total[:, :, row : row + 4, column : column + 4] += drop.view(-1, 1, 1, 1)
            count[:, :, row : row + 4, column : column + 4] += 1
    inner = (slice(None), slice(None), slice(0, 9), slice(0, 9))  # beyond, windows that captum cuts at the border count
    expected = (total / count.clamp_min(1)).clamp_min(0)
    torch.testing.assert_close(found.attribution[inner], expected[inner], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [Convolutions, Reused])
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_gradcam_against_captum(module, layer):
    chosen = classifier(module())
    x = mixed(chosen)
    explainer = GradCAM(chosen, layer=layer)
    found = explainer.explain(x)
    wrapped = captum.attr.LayerGradCam(
        lambda seen, s, t: contrast(chosen, seen, s, t), chosen.module.get_submodule(layer)
    )
    expected = wrapped.attribute(x.clone().requires_grad_(), additional_forward_args=(found.source, found.target),
                                 relu_attributions=True).detach()  # fmt: skip
    expected = F.interpolate(expected, size=(12, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.attribution, expected, rtol=1e-4, atol=1e-6)


def test_cam_against_the_weights_of_the_last_layer():
    chosen = classifier(Average(3), count=3)
    x = images(5)
    explainer = CAM(chosen)
    assert explainer.layer == "features"
    found = explainer.explain(x)
    cells, weight = chosen.module.features(x), chosen.module.out.weight
    expected = torch.zeros(5, 1, 6, 6)
    for row in range(5):
        for k in range(6):
            difference = weight[found.source[row], k] - weight[found.target[row], k]
            expected[row, 0] += difference * cells[row, k]
    expected = F.interpolate(expected, size=(12, 12), mode="bilinear", align_corners=False).clamp_min(0)
    # clamped before the interpolation; where neither side is near 0 both agree
    sure = expected > 0.2 * expected.flatten(1).amax(1).view(-1, 1, 1, 1)
    shown = found.attribution
    assert float(torch.corrcoef(torch.stack([shown[sure], expected[sure]]))[0, 1]) > 0.95
    raw = (weight[found.source] - weight[found.target])[:, :, None, None] * cells
    exact = F.interpolate(raw.sum(1, keepdim=True).clamp_min(0), size=(12, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(shown, exact.detach(), rtol=1e-4, atol=1e-5)


def test_the_layer_is_the_last_that_knows_where_and_leads_to_the_decision():
    names = {
        "conv2": Convolutions(), "features": Average(), "norm": Tokens(),
    }  # fmt: skip
    for name, module in names.items():
        explainer = GradCAM(classifier(module))
        assert explainer.layer == name and explainer.describe()["hyperparameters"]["layer"] == name
    # a reused ReLU runs also on what has no place any more, so the convolution before it is taken
    assert GradCAM(classifier(Reused())).layer == "conv2"


def test_tokens_are_laid_out_as_a_grid():
    chosen = classifier(Tokens())
    (first, second) = spatial_layers(chosen)
    assert (first.name, first.grid, first.prefix) == ("patch", (3, 3), None)
    assert (second.name, second.grid, second.prefix) == ("norm", (3, 3), 1)
    tokens = torch.arange(10.0).view(1, 10, 1)
    assert torch.equal(second.cells(tokens), torch.arange(1.0, 10).view(1, 1, 3, 3))
    assert torch.equal(second.output(second.cells(tokens), tokens), tokens)
    assert GradCAM(chosen).explain(mixed(chosen)).attribution.shape == (4, 1, 12, 12)


def test_what_only_looks_like_a_grid_is_not_taken():
    for name, module, grid in (("norm", Heads(), (3, 3)), ("norm", ChannelsLast(), (3, 3)), ("conv", Flattened(), (3, 3))):
        chosen = classifier(module)
        explainer = GradCAM(chosen)
        assert explainer.layer == name and spatial_layers(chosen)[-1].grid == grid, name
        assert explainer.explain(mixed(chosen)).attribution.flatten(1).amax(1).gt(0).any()
    last = spatial_layers(classifier(ChannelsLast()))[-1]
    output = torch.rand(2, 3, 3, 8)
    assert torch.equal(last.cells(output), output.permute(0, 3, 1, 2))
    assert torch.equal(last.output(last.cells(output), output), output)
    # one that is named may have more cells than those before it
    assert GradCAM(classifier(Flattened()), layer="flat").layer == "flat"


@pytest.mark.parametrize("method", [Gradient, IntegratedGradients, GradCAM, PGD, Identity])
def test_a_network_that_works_in_place_on_its_input_gets_a_copy(method):
    chosen = classifier(InPlace())
    x = images(4)
    before = x.clone()
    method(chosen).explain(x)
    assert torch.equal(x, before)
    plain = seeded(InPlace(), 3.0)
    torch.testing.assert_close(chosen.logits(x), plain(x.clone()).detach())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_has_no_layer_to_look_into(tmp_path):
    torch.jit.trace(seeded(Convolutions()), images(2)).save(str(tmp_path / "net.ts"))
    chosen = Classifier.load(tmp_path / "net.ts", classes=["a", "b"], image_shape=SHAPE, trust=True, device="cpu")
    with pytest.raises(NotApplicable, match="gradcam: the classifier has no layer with spatial output that runs once"):
        GradCAM(chosen)
    assert Gradient(chosen).explain(images(2)).attribution.shape == (2, 1, 12, 12)


def test_where_nothing_is_asked_the_best_other_class_stands_for_the_target():
    chosen = classifier(Convolutions(3), count=3)
    x = images(6)
    source = chosen.decide(x)
    logits = chosen.logits(x)
    expected = logits.topk(2, dim=1).values
    torch.testing.assert_close(contrast(chosen, x, source, source), expected[:, 0] - expected[:, 1])
    assert (Gradient(chosen).explain(x, source).attribution.flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: GradCAM(classifier(flat())), NotApplicable,
         "gradcam: the classifier has no layer with spatial output that runs once a pass; use one.*: gradient"),
        (lambda: CAM(classifier(flat())), NotApplicable, "cam: the classifier has no layer with spatial output"),
        (lambda: CAM(Classifier(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), ["a", "b"], SHAPE,
                                device="cpu")), NotApplicable,
         "cam: the classifier has no linear layer that runs; use gradcam, which needs no global average"),
        (lambda: CAM(classifier()), NotApplicable, "does not see the means of the maps of 'conv2'; use gradcam"),
        (lambda: GradCAM(classifier(), layer="conv9"), ValueError,
         "layer: expected a layer that runs once.*got 'conv9'; the last that gradcam can use: 'conv1', 'conv2'"),
        (lambda: GradCAM(classifier(Reused()), layer="relu"), ValueError, "got 'relu'.*'conv1', 'conv2'"),
        (lambda: IntegratedGradients(classifier(), baseline="counterfactual"), ValueError,
         "explainer: expected one exactly where the baseline is a counterfactual, got none"),
        (lambda: IntegratedGradients(classifier(), Identity(classifier())), ValueError,
         "got identity for baseline='black'; pass baseline='counterfactual'"),
        (lambda: IntegratedGradients(classifier(), RawImage(classifier()), baseline="counterfactual").explain(images()),
         NotApplicable, "integrated_gradients needs counterfactuals, got raw_image"),
        (lambda: IntegratedGradients(classifier(), Identity(classifier(gain=1.0)), baseline="counterfactual"),
         ValueError, "identity explains another classifier"),
        (lambda: SmoothGrad(classifier(), copies=0), ValueError, "copies: expected more than 0 for smoothgrad, got 0"),
        (lambda: Occlusion(classifier(), fill="grey"), ValueError, "fill: expected one of .black., .mean., .blur. for occlusion"),
        (lambda: Occlusion(classifier(), patch=13), ValueError,
         "expected 1 <= stride <= patch <= 12 pixels, got stride 2"),
        (lambda: Occlusion(classifier(), patch=3, stride=4), ValueError, "got stride 4 and patch 3"),
    ],
)  # fmt: skip
def test_errors_name_argument_expectation_and_remedy(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_hooks_are_gone_also_after_a_failure():
    chosen = classifier()
    explainer = GradCAM(chosen)
    bad = nn.Module()
    before = chosen.module.conv2
    with pytest.raises(ValueError, match="pixels in"):
        explainer.explain(images() * 3)
    chosen.module.out = bad
    with pytest.raises(NotImplementedError):
        explainer._part(images(), torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64))
    assert not before._forward_hooks
