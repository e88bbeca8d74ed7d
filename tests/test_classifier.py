"""Every way into Classifier, what it says, and every message it refuses with."""

import copy
import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from obverse.classifier import Classifier
from obverse.explanation import NotApplicable
from obverse.networks.classifiers import LeNet, ResNet
from obverse.probe import WITHOUT_GRADIENT
from tiny_core import SHAPE, Bright, bright_data

IMAGE = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))


class Linear(nn.Module):
    """Random linear scores of 256 pixels, then whatever `end` makes of them."""

    def __init__(self, outputs: int, end=lambda scores: scores, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.out = nn.Linear(256, outputs)
        with torch.no_grad():
            self.out.weight.copy_(torch.randn(outputs, 256, generator=generator) / 8)
            self.out.bias.zero_()
        self.end = end

    def forward(self, image):
        return self.end(self.out(image.flatten(1)))


def wrap(width, classes=None, end=lambda scores: scores, **settings) -> Classifier:
    classes = [f"c{k}" for k in range(max(width, 2))] if classes is None else classes
    return Classifier(Linear(width, end), classes, SHAPE, device="cpu", **settings)


SCORES = Linear(4)(IMAGE).detach()

# ---------------------------------------------------------------------- what it says


def test_logits_posteriors_and_decisions_of_several_classes():
    classifier = wrap(4)
    torch.testing.assert_close(classifier.logits(IMAGE), SCORES)
    slow = torch.stack([row.exp() / row.exp().sum() for row in SCORES])
    torch.testing.assert_close(classifier.posterior(IMAGE), slow)
    assert classifier.decide(IMAGE).tolist() == [row.tolist().index(row.max()) for row in SCORES]
    assert classifier.classes == ("c0", "c1", "c2", "c3") and classifier.has_gradient


@pytest.mark.parametrize("end", [lambda z: z, lambda z: z.squeeze(1)])
def test_one_logit_becomes_zero_and_it(end):
    logits = wrap(1, end=end).logits(IMAGE)
    z = Linear(1)(IMAGE)
    torch.testing.assert_close(logits, torch.cat([torch.zeros_like(z), z], 1))
    torch.testing.assert_close(wrap(1, end=end).posterior(IMAGE)[:, 1], z.sigmoid().squeeze(1))


@pytest.mark.parametrize("end", [lambda z: z.sigmoid(), lambda z: z.sigmoid().squeeze(1)])
def test_one_probability_becomes_its_logit(end):
    classifier = wrap(1, end=end, outputs="probabilities")
    torch.testing.assert_close(classifier.logits(IMAGE)[:, 1], Linear(1)(IMAGE).squeeze(1), atol=1e-4, rtol=1e-4)
    assert torch.equal(classifier.logits(IMAGE)[:, 0], torch.zeros(5))


@pytest.mark.parametrize("outputs", [2, 4])
def test_probabilities_become_their_logarithms(outputs):
    classifier = wrap(outputs, end=lambda scores: scores.softmax(1), outputs="probabilities")
    torch.testing.assert_close(classifier.posterior(IMAGE), Linear(outputs)(IMAGE).softmax(1))
    torch.testing.assert_close(classifier.logits(IMAGE).exp().sum(1), torch.ones(5))


def test_certain_probabilities_stay_finite():
    hard = wrap(2, end=lambda s: 0.5 * (1000 * s).softmax(1) + 0.5 * (s > 0).float(), outputs="probabilities")
    assert torch.isfinite(hard.logits(IMAGE)).all()


def test_log_softmax_counts_as_logits():
    classifier = wrap(4, end=lambda scores: scores.log_softmax(1))
    torch.testing.assert_close(classifier.posterior(IMAGE), SCORES.softmax(1))


def test_the_module_sees_normalised_images():
    classifier = wrap(2, mean=[0.3], std=[0.2])
    torch.testing.assert_close(classifier.logits(IMAGE), Linear(2)((IMAGE - 0.3) / 0.2))
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    per_channel = Classifier(network, ["a", "b"], (3, 2, 2), mean=[0.1, 0.2, 0.3], std=[1, 2, 3], device="cpu")
    image = torch.rand(2, 3, 2, 2)
    by_hand = torch.stack([(image[:, c] - (0.1, 0.2, 0.3)[c]) / (1, 2, 3)[c] for c in range(3)], 1)
    torch.testing.assert_close(per_channel.logits(image), per_channel.module(by_hand))


def test_the_gradient_reaches_the_image_and_nothing_else(classifier):
    image = IMAGE.clone().requires_grad_(True)
    classifier.logits(image)[:, 1].sum().backward()
    expected = torch.zeros(16, 16)
    expected[:, :8] = 12 / 128
    torch.testing.assert_close(image.grad, expected.expand(5, 1, 16, 16))
    assert all(p.grad is None and not p.requires_grad for p in classifier.module.parameters())


def test_posteriors_are_float32_under_autocast(classifier):
    with torch.autocast("cpu", torch.bfloat16):
        inside = classifier.posterior(IMAGE)
    assert inside.dtype == torch.float32 and torch.equal(inside, classifier.posterior(IMAGE))


def test_posteriors_of_a_data_set(classifier):
    data = bright_data(10)
    found = classifier.posteriors(data, batch_size=4)
    torch.testing.assert_close(found, classifier.posterior(data[slice(None)].image))
    assert not found.requires_grad
    assert found.argmax(1).tolist() == [0] * 5 + [1] * 5
    assert classifier.posteriors(data.subset(torch.zeros(0, dtype=torch.int64))).shape == (0, 2)


def test_features_are_what_enters_the_last_linear_layer():
    classifier = Classifier(LeNet((1, 28, 28), 3, 4), list("abc"), (1, 28, 28), device="cpu")
    image = torch.rand(2, 1, 28, 28)
    features = classifier.features(image)
    assert features.shape == (2, 128)
    torch.testing.assert_close(classifier.module.out(features), classifier.logits(image))
    assert not classifier.module.out._forward_pre_hooks
    view = classifier.against_rest("b")
    torch.testing.assert_close(view.features(image), features)


def test_features_of_a_module_without_a_linear_layer():
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NotApplicable, match="features: the module has no linear layer that runs"):
        Classifier(pooled, list("ab"), SHAPE, device="cpu").features(IMAGE)


def test_the_callers_module_keeps_its_state_and_the_copy_its_own():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Dropout(0.5), nn.Linear(256, 2)).train()
    state = copy.deepcopy(module.state_dict())
    classifier = Classifier(module, list("ab"), SHAPE, device="cpu")
    before = classifier.logits(IMAGE)
    assert module.training and module[2].training and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert not classifier.module.training
    with torch.no_grad():
        module[3].weight.add_(1)
    assert torch.equal(before, classifier.logits(IMAGE))


# ---------------------------------------------------------------------- classes and views


def test_classes_by_name_and_index(classifier):
    assert classifier.index("bright") == 1 and classifier.index(0) == 0 and classifier.index("1") == 1
    digits = wrap(4, classes=["3", "1", "0", "8"])
    assert [digits.index(name) for name in ("3", "1", "0", 2, 1)] == [0, 1, 2, 2, 1]
    with pytest.raises(ValueError, match="target: expected one of '3', '1', '0', '8' or an int below 4, got '2'"):
        digits.index("2")  # the digit 2, which it does not decide, and not its third class
    for wrong in ("3", 2, -1):
        with pytest.raises(ValueError, match="target: expected one of 'dark', 'bright' or an index below 2, got"):
            classifier.index(wrong)


def test_against_rest_is_the_logit_against_the_logsumexp_of_the_others():
    view = wrap(4).against_rest("c2")
    slow = []
    for row in SCORES.double():
        rest = sum(row[k].exp() for k in (0, 1, 3)).log()
        slow.append(torch.stack([rest, row[2]]))
    torch.testing.assert_close(view.logits(IMAGE), torch.stack(slow).float())
    assert view.classes == ("not c2", "c2")
    torch.testing.assert_close(view.posterior(IMAGE)[:, 1], SCORES.softmax(1)[:, 2])  # probabilities do not change
    assert view.module is not None and wrap(4).classes[0] == "c0"


def test_a_view_by_index_is_named_by_its_class():
    assert wrap(4).against_rest("2").classes == ("not c2", "c2") and wrap(4).against_rest("2").view == "c2 against rest"


def test_a_view_of_a_view():
    view = wrap(4).against_rest("c2").against_rest("not c2")
    torch.testing.assert_close(view.posterior(IMAGE)[:, 1], 1 - SCORES.softmax(1)[:, 2])


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_a_label_of_a_multi_label_module_is_a_two_class_classifier(outputs):
    end = (lambda s: s.sigmoid()) if outputs == "probabilities" else (lambda s: s)
    classifier = wrap(4, end=end, head="multilabel", outputs=outputs)
    view = classifier.label("c3")
    assert view.classes == ("no c3", "c3")
    torch.testing.assert_close(view.posterior(IMAGE)[:, 1], SCORES[:, 3].sigmoid())
    torch.testing.assert_close(view.logits(IMAGE)[:, 0], torch.zeros(5))


def test_a_single_label_may_come_without_an_axis():
    classifier = wrap(1, ["edema"], lambda z: z.squeeze(1), head="multilabel")
    torch.testing.assert_close(classifier.label("edema").posterior(IMAGE)[:, 1], Linear(1)(IMAGE)[:, 0].sigmoid())


def test_what_a_view_cannot_do():
    several = wrap(4, head="multilabel")
    with pytest.raises(NotApplicable, match=r"not exclusive; choose one of c0, c1, c2, c3 with .*label\(name\)"):
        several.logits(IMAGE)
    with pytest.raises(NotApplicable, match=r"against_rest: the labels are not exclusive; use label\(name\)"):
        several.against_rest("c0")
    with pytest.raises(NotApplicable, match=r"label: the classes are exclusive .*; use against_rest\(name\)"):
        wrap(4).label("c0")
    with pytest.raises(NotApplicable, match="label: this is the view 'label c1' already; take it of the whole"):
        several.label("c1").label("c1")
    with pytest.raises(ValueError, match="target: expected one of"):
        several.label("edema")


# ---------------------------------------------------------------------- black boxes


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.numpy(), lambda t: t.double(), lambda t: t.tolist()])
def test_a_black_box_answers_and_has_no_gradient(convert):
    module = Linear(3)
    box = Classifier.black_box(lambda image: convert(module(image).detach()), list("abc"), SHAPE)
    torch.testing.assert_close(box.logits(IMAGE), module(IMAGE).detach())
    assert box.has_gradient is False and box.classes == ("a", "b", "c")
    assert not box.logits(IMAGE.clone().requires_grad_(True)).requires_grad
    torch.testing.assert_close(box.against_rest("a").posterior(IMAGE)[:, 1], module(IMAGE).softmax(1)[:, 0].detach())


def test_black_boxes_are_told_apart_by_what_they_answer():
    one, same, other = (
        Classifier.black_box(lambda image, module=module: module(image), list("abc"), SHAPE)
        for module in (Linear(3), Linear(3), Linear(3, seed=1))
    )
    assert one.fingerprint == one.fingerprint == same.fingerprint != other.fingerprint
    assert one.against_rest("a").fingerprint == same.against_rest("a").fingerprint != other.against_rest("a").fingerprint


def test_the_fingerprint_against_its_definition():
    chosen = Classifier(Linear(3), list("abc"), SHAPE, mean=[0.5], std=[2.0])
    digest = hashlib.sha256()
    for name, value in sorted(chosen.module.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    digest.update(b'["softmax", "logits", ["a", "b", "c"], "", [0.5], [2.0]]')
    assert chosen.fingerprint == digest.hexdigest()


def test_a_black_box_may_say_probabilities():
    box = Classifier.black_box(lambda image: Linear(3)(image).softmax(1), list("abc"), SHAPE, outputs="probabilities")
    torch.testing.assert_close(box.posterior(IMAGE), Linear(3)(IMAGE).softmax(1).detach())
    with pytest.raises(ValueError, match="returns probabilities, but outputs='logits' was announced"):
        Classifier.black_box(lambda image: Linear(3)(image).softmax(1), list("abc"), SHAPE)


def test_a_black_box_has_no_features_and_no_file(tmp_path):
    box = Classifier.black_box(lambda image: Linear(3)(image), list("abc"), SHAPE)
    with pytest.raises(NotApplicable, match="features: the module has no linear layer"):
        box.features(IMAGE)
    with pytest.raises(NotApplicable, match="save: 'a black box' cannot be written"):
        box.save(tmp_path / "box")


# ---------------------------------------------------------------------- refusals


def test_a_function_is_not_a_module():
    with pytest.raises(TypeError, match=r"module: expected a torch.nn.Module, got function; .*Classifier.black_box"):
        Classifier(lambda image: image, list("ab"), SHAPE)


@pytest.mark.parametrize("classes", [[], ["a"], ["a", "a"], "ab"])
def test_too_few_or_equal_names(classes):
    with pytest.raises(ValueError, match=r"classes: expected at least 2 different names, got .*; name every output"):
        Classifier(Linear(2), classes, SHAPE, device="cpu")


def test_heads_and_outputs_that_there_are_not():
    with pytest.raises(ValueError, match="head: expected one of softmax, multilabel, got 'binary'; leave it out for softmax"):
        wrap(1, head="binary")
    with pytest.raises(ValueError, match="outputs: expected one of logits, probabilities, got 'scores'; leave it out for logits"):
        wrap(2, outputs="scores")


@pytest.mark.parametrize("outputs, classes, head, message", [
    (4, ["a", "b", "c"], "softmax", r"classes: 3 names need outputs of shape \(N, 3\), got \(6, 4\) for 6 images"),
    (4, ["a", "b"], "softmax", r"classes: 2 names need outputs of shape \(N, 2\) or \(N, 1\), got \(6, 4\)"),
    (1, ["a", "b"], "multilabel", r"classes: 2 names need outputs of shape \(N, 2\), got \(6, 1\)"),
    (1, ["a", "b", "c"], "softmax", r"classes: 3 names need outputs of shape \(N, 3\), got \(6, 1\)"),
])  # fmt: skip
def test_the_wrong_number_of_outputs(outputs, classes, head, message):
    with pytest.raises(ValueError, match=message):
        wrap(outputs, classes, head=head)


@pytest.mark.parametrize("end", [lambda s: s[:, :, None], lambda s: s[:3], lambda s: s.sum()])
def test_outputs_of_another_shape(end):
    with pytest.raises(ValueError, match=r"classes: 2 names need outputs of shape"):
        wrap(2, end=end)


def test_outputs_that_are_no_tensor():
    with pytest.raises(TypeError, match=r"module: expected a tensor \(N, K\), got tuple; wrap it to return the logits"):
        wrap(2, end=lambda scores: (scores, scores))


def test_a_network_whose_gradient_fails():
    class Overwrites(nn.Module):
        def forward(self, image):
            return torch.relu_(torch.tanh(image.flatten(1)))[:, :2]  # tanh's gradient needs what it returned

    with pytest.raises(ValueError, match=r"module: no gradient can be taken through it: .*; set inplace=False in its layers, "
                                         r"or use Classifier.black_box.*occlusion, cxplain, nearest, cxgan"):  # fmt: skip
        Classifier(Overwrites(), ["a", "b"], (1, 4, 4), device="cpu")


def test_outputs_that_are_not_finite():
    with pytest.raises(ValueError, match="module: its outputs hold NaN or infinity; check its weights and"):
        wrap(2, end=lambda scores: scores / 0)


@pytest.mark.parametrize("outputs, end", [
    (4, lambda s: s.softmax(1)), (2, lambda s: s.softmax(1)), (1, lambda s: s.sigmoid()),
    (1, lambda s: s.sigmoid().squeeze(1)), (1, lambda s: s.sigmoid().view(-1)), (1, lambda s: s.sigmoid()[:, 0]),
])  # fmt: skip
def test_probabilities_announced_as_logits(outputs, end):
    with pytest.raises(ValueError, match="outputs='logits' was announced; pass outputs='probabilities'"):
        wrap(outputs, end=end)


def test_sigmoids_of_labels_announced_as_logits():
    with pytest.raises(ValueError, match="pass outputs='probabilities'"):
        wrap(4, end=lambda s: s.sigmoid(), head="multilabel")


def test_small_logits_are_not_taken_for_probabilities():
    assert wrap(2, end=lambda s: s * 1e-4 + 0.3).classes == ("c0", "c1")
    assert wrap(1, end=lambda s: s * 1e-4 + 0.3).classes == ("c0", "c1")


def test_logits_announced_as_probabilities():
    with pytest.raises(ValueError, match=r"outputs='probabilities' was announced, but the module returned -.* to "):
        wrap(4, outputs="probabilities")


@pytest.mark.parametrize("end", [
    lambda s: s.detach(), lambda s: s.detach() + torch.zeros(1, requires_grad=True), lambda s: (s * 10).round(),
])  # fmt: skip
def test_a_gradient_that_does_not_reach(end):
    with pytest.raises(ValueError, match=r"the image's gradient does not reach .*Classifier.black_box") as caught:
        wrap(2, end=end)
    assert WITHOUT_GRADIENT in str(caught.value)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_as_many_numbers_as_channels(name):
    with pytest.raises(ValueError, match=f"{name}: expected 1 numbers, one a channel, got 3; repeat a single number"):
        wrap(2, **{name: [1.0, 1.0, 1.0]})


def test_the_wrong_image_shape():
    with pytest.raises(ValueError, match=r"image_shape: the module failed on images of shape \(1, 8, 8\): .*pass the"):
        Classifier(Bright(), ["a", "b"], (1, 8, 8), device="cpu")


@pytest.mark.parametrize("image, kind, message", [
    (torch.rand(1, 3, 16, 16), ValueError, r"image: expected shape \(N, 1, 16, 16\), got \(1, 3, 16, 16\)"),
    (torch.rand(1, 1, 8, 8).requires_grad_(), ValueError, r"expected shape \(N, 1, 16, 16\), got \(1, 1, 8, 8\)"),
    (torch.rand(1, 16, 16), ValueError, "one image needs a batch axis"),
    (torch.rand(*IMAGE.shape).double(), TypeError, "image: expected dtype torch.float32, got torch.float64"),
    (IMAGE * 255, ValueError, r"image: expected pixels in \[0, 1\]"),
    (IMAGE / 0, ValueError, "image: expected finite pixels, got NaN or infinity"),
])  # fmt: skip
def test_images_that_break_the_contract(classifier, image, kind, message):
    with pytest.raises(kind, match=message):
        classifier.logits(image)


# ---------------------------------------------------------------------- fingerprint and disk


def test_the_fingerprint_is_of_the_weights_and_all_that_changes_decisions():
    def of(module=None, classes=("a", "b"), **settings):
        return Classifier(module or Linear(2), classes, SHAPE, device="cpu", **settings).fingerprint

    same = of()
    assert same == of() and len(same) == 64
    softmax = lambda s: s.softmax(1)  # noqa: E731
    moved = Linear(2)
    with torch.no_grad():
        moved.out.bias[1] += 1e-6
    others = [
        of(moved), of(classes=("b", "a")), of(mean=[0.1]), of(std=[2.0]), of(head="multilabel"),
        of(Linear(2, softmax), outputs="probabilities"), wrap(2, ["a", "b"]).against_rest("a").fingerprint,
        wrap(2, ["a", "b"]).against_rest("b").fingerprint,
    ]  # fmt: skip
    renamed = Linear(2)
    renamed.last = renamed._modules.pop("out")
    renamed.forward = lambda image: renamed.last(image.flatten(1))
    others.append(of(renamed))
    # the same weights and names, but another question
    others.append(of(classes=("not a", "a")))
    assert len({same, *others}) == 11


@pytest.mark.parametrize("network", [LeNet((1, 16, 16), 3, 4), ResNet((1, 16, 16), 3, 4, 2)])
def test_own_architectures_are_saved_and_loaded(tmp_path, network):
    classifier = Classifier(network, list("abc"), SHAPE, mean=[0.2], std=[0.5], device="cpu")
    classifier.save(tmp_path / "c")
    loaded = Classifier.load(tmp_path / "c", device="cpu")
    assert torch.equal(loaded.logits(IMAGE), classifier.logits(IMAGE))
    assert loaded.fingerprint == classifier.fingerprint and loaded.classes == ("a", "b", "c")
    assert (loaded.mean, loaded.std, loaded.image_shape) == (classifier.mean, classifier.std, SHAPE)


def test_a_foreign_architecture_needs_its_module(tmp_path, classifier):
    classifier.save(tmp_path / "c")
    with pytest.raises(ValueError, match=r"holds an architecture that is not obverse's own; pass the empty network as"):
        Classifier.load(tmp_path / "c")
    skeleton = Bright()
    nn.init.zeros_(skeleton.out.weight)
    loaded = Classifier.load(tmp_path / "c", skeleton, device="cpu")
    assert torch.equal(loaded.logits(IMAGE), classifier.logits(IMAGE))
    with pytest.raises(ValueError, match=r"module: the weights in .* do not fit it"):
        Classifier.load(tmp_path / "c", Linear(3))


def test_a_view_is_not_saved(tmp_path, classifier):
    with pytest.raises(NotApplicable, match="save: 'dark against rest' cannot be written; save the whole classifier"):
        classifier.against_rest("dark").save(tmp_path / "c")


def test_a_folder_whose_files_were_mixed(tmp_path, classifier):
    classifier.save(tmp_path / "c")
    changed = {key: value + 1 for key, value in classifier.module.state_dict().items()}
    save_file(changed, tmp_path / "c" / "weights.safetensors")
    with pytest.raises(ValueError, match="does not match its fingerprint; its files were changed or mixed"):
        Classifier.load(tmp_path / "c", Bright(), device="cpu")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"classifier: nothing at .*; train one with `obverse fit classifier`"):
        Classifier.load(tmp_path / "c")


def test_weights_from_a_file(tmp_path, module, classifier):
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    facts = {"classes": ["dark", "bright"], "image_shape": SHAPE}
    skeleton = Bright()
    nn.init.zeros_(skeleton.out.weight)
    loaded = Classifier.load(tmp_path / "w.safetensors", skeleton, device="cpu", **facts)
    assert loaded.fingerprint == classifier.fingerprint
    with pytest.raises(ValueError, match=r"module: needed to read .*: weights alone do not say what network they fill"):
        Classifier.load(tmp_path / "w.safetensors", **facts)
    with pytest.raises(ValueError, match=r"classes, image_shape: needed to read the file .*w.safetensors"):
        Classifier.load(tmp_path / "w.safetensors", skeleton)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.pkl"])
@pytest.mark.parametrize("trust", [False, True])
def test_pickles_are_refused_with_the_conversion(tmp_path, module, name, trust):
    torch.save(module.state_dict(), tmp_path / name)
    with pytest.raises(ValueError, match=r"is refused: a pickle runs code when it is read\. Convert it .*save_file"):
        Classifier.load(tmp_path / name, module, classes=["a", "b"], image_shape=SHAPE, trust=trust)


@pytest.mark.parametrize("name", ["c.pt2", "c.ts"])
def test_programs_need_trust(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"trust: .* is a program that can carry code; pass trust=True if you know"):
        Classifier.load(tmp_path / name, classes=["a", "b"], image_shape=SHAPE)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_trusted_torchscript_program(tmp_path, module, classifier):
    torch.jit.trace(module, IMAGE).save(str(tmp_path / "c.ts"))
    loaded = Classifier.load(tmp_path / "c.ts", classes=["dark", "bright"], image_shape=SHAPE, trust=True, device="cpu")
    torch.testing.assert_close(loaded.logits(IMAGE), classifier.logits(IMAGE))
    assert loaded.has_gradient


def test_a_trusted_exported_program(tmp_path, module, classifier):
    shapes = ({0: torch.export.Dim("n", min=1)},)
    torch.export.save(torch.export.export(module, (IMAGE,), dynamic_shapes=shapes), str(tmp_path / "c.pt2"))
    facts = {"classes": ["dark", "bright"], "image_shape": SHAPE}
    loaded = Classifier.load(tmp_path / "c.pt2", trust=True, device="cpu", **facts)
    torch.testing.assert_close(loaded.logits(IMAGE), classifier.logits(IMAGE))
    assert loaded.has_gradient and loaded.fingerprint != ""
