import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from obverse.data.base import MemoryDataset, Sample
from obverse.evaluation import evaluate, fitting
from obverse.explainer import Answer
from obverse.metrics.base import Better, ImageMetric, SetMetric
from obverse.metrics.maps import Cut
from obverse.metrics.overlap import Dice
from obverse.metrics.validity import Validity
from obverse.report.base import Report
from obverse.report.examples import Examples
from obverse.training import History
from tiny import MapOnly, Negative, Nothing, Truth, corner_classifier, corner_data

QUICK = ["validity", "acc_a", "l1", "dice", "iou", "ncc", "twin_distance", "true_difference", "transfer"]


def run(kind=Truth, metrics=QUICK, count=24, **arguments) -> Report:
    data, classifier = corner_data(count), corner_classifier()
    explainer = Truth(classifier, data) if kind is Truth else kind(classifier)
    return evaluate(explainer, data, metrics=metrics, **arguments)


def test_the_true_answer_scores_as_the_true_answer():
    report = run(validation=corner_data(seed=1), second_classifier=corner_classifier(0.55))
    expected = {"validity": 1, "acc_a": 0, "dice": 1, "iou": 1, "twin_distance": 0, "true_difference": 1, "transfer": 1}
    for name, value in expected.items():
        assert report.row(name).value == pytest.approx(value, abs=1e-4), name
    assert report.row("validity", "lesion -> healthy").n == 12
    assert report.row("dice").n == 12  # the images with a mask
    assert report.row("twin_distance").low == 0
    unchanged = report.row("distance to the true twin, unchanged image (control)")
    assert unchanged.value > 0.03
    assert not report.failures
    assert report.counts == {"images": 24, "answers": 24, "that count": 24, "left out (already decided as asked)": 0}


def test_the_null_answer_scores_as_the_null_answer():
    report = run(Nothing, validation=corner_data(seed=1), second_classifier=corner_classifier(0.55))
    assert report.row("validity").value == 0 and report.row("acc_a").value == 1
    assert report.row("l1").value == 0 and report.row("ncc").value == 0 and report.row("true_difference").value == 0
    assert report.skipped["transfer to a second classifier"] == "no answer that it applies to"
    assert all(math.isfinite(row.value) for row in report.rows)


def test_the_first_explanation_is_timed():
    class Slow(Negative):
        calls = 0

        def answer(self, query):
            Slow.calls += 1
            time.sleep(0.3 if Slow.calls == 1 else 0)
            return super().answer(query)

    report = evaluate(Slow(corner_classifier()), corner_data(), metrics=("repeat_agreement", "seconds"))
    assert report.row("seconds, first explanation").value > 0.3
    labels = [row.label for row in report.rows]
    assert labels.index("repeated answers: correlation of maps") < labels.index("seconds, first explanation")  # where they stand


def test_time_is_taken_in_the_precision_that_is_evaluated():
    class Watched(Negative):
        seen = ()

        def answer(self, query):
            Watched.seen = (*Watched.seen, torch.is_autocast_enabled("cpu"))
            return super().answer(query)

    evaluate(Watched(corner_classifier()), corner_data(), metrics=("seconds", "peak_memory"), precision="bf16")
    assert len(Watched.seen) > 3 and all(Watched.seen)


def test_two_figures_of_one_name():
    with pytest.raises(ValueError, match=r"metrics: expected figures of different names, got 'L1 on \[0, 1\]' twice"):
        evaluate(Negative(corner_classifier()), corner_data(), metrics=("l1", "l1"))


def test_what_was_computed_is_not_said_to_be_missing():
    report = run(MapOnly)
    (without,) = [names for why, names in report.reasons().items() if why.endswith("the method makes no counterfactual")]
    assert "L1 on [0, 1]" in without and not {"IoU", "NCC", "L1 on [0"} & set(without)
    with pytest.raises(KeyError, match=r"frechet .all.: the report has no such row; Frechet distance, .*: \w+: "):
        evaluate(Negative(corner_classifier()), corner_data(), metrics=("frechet", "validity")).row("frechet")


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_streaming_equals_all_at_once(batch_size):
    whole = run(Negative, validation=corner_data(seed=1), seed=3)
    parts = run(Negative, validation=corner_data(seed=1), seed=3, batch_size=batch_size)
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one.label == other.label and one.n == other.n
        assert one.value == pytest.approx(other.value, abs=1e-5) and one.low == pytest.approx(other.low, abs=1e-5)
    assert torch.equal(whole.identity, parts.identity)


@dataclass(eq=False, kw_only=True)
class Chance(Negative):
    """Noise decides whether it inverts the image or leaves it; on the way it shows the same answer throughout."""

    name = "chance"
    many_answers = True

    def answer(self, query):
        share = (query.normal(1) > 0).float().view(-1, 1, 1, 1)
        return Answer(counterfactual=query.image + share * (1 - 2 * query.image))

    def frames(self, query, count):
        return self.answer(query).counterfactual[:, None].expand(-1, count, -1, -1, -1)


def test_where_noise_chooses_the_figures_are_over_more_than_one_noise():
    explainer, data = Chance(corner_classifier()), corner_data(40)
    lesion = data.subset((data.labels() == 1).nonzero().flatten())
    report = evaluate(explainer, lesion, metrics=["validity"], batch_size=4)
    by_hand = [explainer.explain(batch.image, seed=k).valid.float().mean() for k, batch in enumerate(lesion.batches(4))]
    found = report.row("validity").value
    assert found == pytest.approx(float(torch.stack(by_hand).mean())) and 0 < found < 1
    # 16 images of a noise if nothing is said; one noise for all where nothing is chosen by it
    assert evaluate(explainer, lesion, metrics=["validity"]).settings["batch size"] == 16
    assert evaluate(Negative(corner_classifier()), lesion, metrics=["validity"]).settings["batch size"] == 256


def test_the_way_to_an_example_is_walked_with_its_own_noise():
    explainer, data = Chance(corner_classifier()), corner_data(12)
    examples = Examples(12)
    for seed, start in enumerate(range(0, 12, 2)):
        sample = data[start : start + 2]
        examples.add(explainer.explain(sample.image, seed=seed), sample, torch.arange(start, start + 2), seed)
    examples.arrange()
    examples.follow(explainer)
    assert torch.equal(examples.walk.frames[:, -1], examples.explanation.counterfactual)
    assert len(examples.walk.posterior) == 12


def test_answers_of_which_nothing_was_asked_are_left_out_and_counted():
    report = run(Negative, target="lesion")
    assert report.counts["that count"] == 12 and report.counts["left out (already decided as asked)"] == 12
    assert report.row("validity").n == 12
    assert report.identity[:, 0].tolist() == list(range(0, 24, 2))
    data = corner_data().subset(torch.arange(1, 24, 2))
    with pytest.raises(ValueError, match="target: all 12 answers were left out"):
        evaluate(Negative(corner_classifier()), data, target="lesion", metrics=["validity"])


def test_what_is_missing_is_listed_with_the_arguments_name():
    report = run(MapOnly)
    assert report.skipped["validity (Val)"].startswith("counterfactual: the method makes no counterfactual")
    assert report.skipped["Dice, attribution"].startswith("validation: pass validation=")
    assert report.row("NCC, attribution").n == 12
    data = corner_data()
    plain = MemoryDataset(dataclasses.replace(data.sample, mask=None, twin=None), data.classes)
    report = evaluate(Negative(corner_classifier()), plain, metrics=QUICK)
    assert report.skipped["NCC, attribution"].startswith("mask: the data has no masks")
    assert report.skipped["distance to the true twin"].startswith("twin: the data has no twins")
    assert report.skipped["transfer to a second classifier"].startswith("second_classifier: pass")
    with pytest.raises(KeyError, match=r"twin_distance \(all\): the report has no such row"):
        report.row("twin_distance")
    unmasked = MemoryDataset(dataclasses.replace(data.sample, mask=torch.zeros_like(data.sample.mask)), data.classes)
    report = run(Negative, validation=unmasked)
    assert "validation: has no image with a non-empty mask" in report.skipped["Dice, attribution"]


@dataclass(frozen=True)
class Breaks(ImageMetric):
    """Fails in the way asked for."""

    how: str = "raises"
    calls: list[int] = field(default_factory=list, compare=False, repr=False)
    name: ClassVar[str] = "breaks"
    title: ClassVar[str] = "breaks"
    question: ClassVar[str] = "Does it break?"
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, explanation, sample, classifier) -> Tensor:
        self.calls.append(len(explanation))
        if self.how == "raises" and len(self.calls) == 3:  # what two batches gave is there by then
            raise RuntimeError("out of luck")
        return torch.full((len(explanation),), float("nan") if self.how == "nan" else 0.0)[
            : 3 if self.how == "short" else None
        ]


@pytest.mark.parametrize(
    ("how", "message"),
    [("raises", "RuntimeError: out of luck"), ("nan", "ValueError: breaks: expected 24 finite figures"),
     ("short", "ValueError: breaks: expected 24 finite figures, got shape")],
)  # fmt: skip
def test_a_metric_that_fails_loses_nothing_else(how, message):
    breaks = Breaks(how)
    report = run(Negative, [Validity(), breaks, "l1"], batch_size=8 if how == "raises" else 24)
    assert breaks.calls == ([8, 8, 8] if how == "raises" else [24])
    assert report.failures["breaks"].startswith(message)
    assert [row.metric for row in report.rows if row.direction == "all"] == ["validity", "l1"]
    assert "breaks" not in report.values


@dataclass(frozen=True)
class MeanBrightness(SetMetric):
    """The mean of all counterfactuals."""

    name: ClassVar[str] = "brightness"
    title: ClassVar[str] = "brightness"
    question: ClassVar[str] = "How bright?"
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def features(self, explanation, sample, classifier) -> Tensor:
        return explanation.counterfactual.flatten(1).mean(1, keepdim=True)

    def compute(self, features, source, target) -> float:
        return float(features.mean())

    def beside(self, features, source, target):
        return {"half": 0.5}


def test_a_set_metric_has_its_interval_by_direction():
    report = run(Negative, [MeanBrightness()])
    assert [row.direction for row in report.rows] == ["all", "healthy -> lesion", "lesion -> healthy"]
    expected = 1 - corner_data()[:].image.flatten(1).mean(1)
    assert report.row("brightness").value == pytest.approx(float(expected.mean()), abs=1e-3)
    row = report.row("brightness", "lesion -> healthy")
    assert row.value == pytest.approx(float(expected[1::2].mean()), abs=1e-3)
    assert row.low < row.value < row.high and row.n == 12 and row.beside == {"half": 0.5}


def test_explanations_of_another_classifier_are_refused():
    explainer = Negative(corner_classifier())
    explainer.explain(corner_data()[:1].image)
    explainer.classifier = corner_classifier(0.7)  # the explainer remembers whom it was bound to
    with pytest.raises(ValueError, match=r"explainer: its explanations are of another classifier \(fingerprint"):
        evaluate(explainer, corner_data(), metrics=["validity"])


class BadMasks(MemoryDataset):
    def __getitem__(self, index):
        rows = super().__getitem__(index)
        return dataclasses.replace(rows, mask=rows.mask * 0.5 if self.name == "halves" else rows.mask[..., 1:])


@pytest.mark.parametrize(("name", "message"), [("halves", "mask: expected the values 0 and 1 only, got up to 0.5"),
                                               ("sizes", r"mask: expected shape \(N, 1, 12, 12\)")])  # fmt: skip
def test_masks_of_other_values_or_sizes_are_refused(name, message):
    data = corner_data()
    with pytest.raises(ValueError, match=message):
        evaluate(Negative(corner_classifier()), BadMasks(data.sample, data.classes, name=name), metrics=["ncc"])


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="data: expected at least one image, got none"):
        evaluate(
            Negative(corner_classifier()), corner_data().subset(torch.zeros(0, dtype=torch.int64)), metrics=["validity"]
        )


def test_one_image_is_enough():
    report = run(Negative, [*QUICK, "acc_s", "posterior_gain", "average_precision", "l1_paper"], count=1)
    assert all(math.isfinite(row.value) and row.low is None for row in report.rows)


def test_groups_widen_the_interval_to_what_is_known():
    data, rows = corner_data(40), torch.arange(40).repeat_interleave(5)
    copies = MemoryDataset(dataclasses.replace(data.sample.select(rows), group=rows), data.classes)
    grouped = evaluate(Negative(corner_classifier()), copies, metrics=["posterior_gain"]).row("posterior_gain")
    plain = MemoryDataset(dataclasses.replace(copies.sample, group=None), data.classes)
    naive = evaluate(Negative(corner_classifier()), plain, metrics=["posterior_gain"]).row("posterior_gain")
    assert grouped.value == pytest.approx(naive.value)
    assert grouped.high - grouped.low > 2 * (naive.high - naive.low)


def test_labels_are_compared_by_name():
    data = corner_data()
    sample = dataclasses.replace(data.sample, label=1 - data.sample.label)
    turned = MemoryDataset(sample, ["lesion", "healthy"])
    report = evaluate(Negative(corner_classifier()), turned, metrics=["twin_distance"])
    assert report.row("twin_distance").n == 12
    assert report.settings["classifier accuracy on these images"] == 1.0
    other = MemoryDataset(dataclasses.replace(data.sample), ["x", "y"])
    report = evaluate(Negative(corner_classifier()), other, metrics=["validity"])
    assert report.settings["classifier accuracy on these images"] is None


def test_a_given_cut_needs_no_validation():
    report = run(Truth, [Dice(cut=Cut(0.2))])
    assert report.row("dice").value == 1.0
    assert report.row("dice").note == "map > 0.2"


def test_settings_times_and_history_are_kept():
    history = History(100, 1.0, 50, 0.2, ((50, 0.2), (100, 0.4)), "steps")
    report = run(Negative, ["validity", "seconds"], history=history, seed=5, validation=corner_data(seed=1))
    assert report.settings["explainer"]["hyperparameters"] == {"strength": 1.0}
    assert report.settings["data"]["images"] == 24 and report.settings["seed"] == 5
    assert report.training == ((50, 0.2), (100, 0.4))
    assert report.times["total"] >= report.times["explaining"] > 0
    assert {"torch", "python", "device"} <= report.versions.keys()


def test_evaluating_leaves_the_random_state_alone():
    explainer, data = Negative(corner_classifier()), corner_data()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    evaluate(explainer, data, metrics=QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_a_sample_without_labels_will_do():
    data = corner_data()
    plain = MemoryDataset(Sample(image=data.sample.image), data.classes)
    assert evaluate(Negative(corner_classifier()), plain, metrics=["validity"]).row("validity").n == 24


@pytest.mark.parametrize(("shape", "count"), [((1, 28, 28), 256), ((3, 128, 128), 64), ((1, 4096, 4096), 1)])
def test_fewer_large_images_are_taken_at_a_time(shape, count):
    class Large:
        image_shape = shape

    assert fitting(Large()) == count


def test_a_long_evaluation_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("obverse.progress.MINUTE", -1.0)  # a line a batch
    for progress, said in ((True, ["step 1/4", "step 2/4", "step 3/4"]), (False, [])):
        evaluate(Nothing(corner_classifier()), corner_data(16), metrics=("l1",), batch_size=4, progress=progress)
        assert [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()] == said


def test_the_accuracy_is_of_all_images_whatever_is_asked():
    data = corner_data()
    sample = data[:]
    label = sample.label.clone()
    label[sample.label.nonzero().flatten()[:3]] = 0  # three of the 24 are decided otherwise than labelled
    wrong = MemoryDataset(dataclasses.replace(sample, label=label), data.classes)
    for more in ({}, {"target": "lesion"}, {"target": "healthy"}):
        report = evaluate(Negative(corner_classifier()), wrong, metrics=["validity"], **more)
        assert report.settings["classifier accuracy on these images"] == pytest.approx(21 / 24)


def test_thresholds_are_chosen_on_images_that_are_asked():
    # all validation images with a mask are decided lesion already: nothing to choose a threshold on
    report = run(MapOnly, ["dice"], validation=corner_data(seed=1), target="lesion")
    assert "no image with a non-empty mask that is asked" in report.skipped["Dice, attribution"] and not report.failures
