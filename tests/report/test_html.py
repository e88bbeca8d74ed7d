import html
import json
import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.evaluation import Report, evaluate
from obverse.report import html as report_html
from obverse.report.examples import FRAMES
from obverse.report.html import render
from obverse.training import History
from tiny import MapOnly, Negative, Truth, corner_classifier, corner_data


@pytest.fixture(scope="module")
def page() -> str:
    history = History(100, 1.0, 50, 0.2, ((50, 0.2), (100, 0.4)), "steps")
    return render(evaluate(Negative(corner_classifier()), corner_data(), validation=corner_data(seed=1),
                           metrics=["validity", "acc_s", "dice", "seconds"], history=history))  # fmt: skip


class Balanced(HTMLParser):
    """Fails on a tag that is closed but not open."""

    void = frozenset({"meta", "link", "img", "polyline", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs): ...

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_one_whole_file_that_asks_for_nothing(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    links = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert links and all(link.startswith("data:") for link in links)
    assert page.count("<script") == page.count("<script>") == 1 and "@import" not in page
    assert page.count("http") == page.count("http-equiv") == 1  # the policy that forbids all else
    assert "default-src 'none'; img-src data:" in page


def test_failures_are_marked_in_words(page):
    assert page.count("NOT VALID") == 6  # of 12 images of this seed that are turned to "lesion"
    assert "Not valid: still not decided" in page
    assert page.count('class="card failed"') == page.count("NOT VALID") == page.count('data-kinds="failed')


def test_everything_is_there(page):
    for part in ("validity (Val)", "95 % interval", "healthy → lesion", "what changed", "mask", "true twin",
                 "Not computed", "the method makes no stable image", "Training", "explainer: hyperparameters: strength",
                 "seed", "torch", "prefers-color-scheme: dark", "before", "at the slider", 'type="range"',
                 "only answers that are not valid", "Higher is better.", "Methods and sources", "SyCE supplement table",
                 "Environment"):  # fmt: skip
        assert part in page, part


def test_settings_are_short_and_axes_are_named(page):
    assert report_html._flat({"a": {"b": 0.9800000190734863, "c": ["x", "y"], "d": [0.0, 0.99], "e": None}}) == [
        ("a: b", "0.98"), ("a: c", "x; y"), ("a: d", "[0.0, 0.99]")]  # fmt: skip
    assert report_html.axes("AUPC of the target, by the method's own mask")["y"] == "posterior"
    assert report_html.axes("else") == {"x": "", "y": ""} and "score on validation, lower is better" in page


def test_it_says_whether_the_examples_are_all_there_are(page):
    assert "All 24 answers that count" in page and "drawn with a fixed seed" not in page
    chosen = render(evaluate(Negative(corner_classifier()), corner_data(), metrics=["validity"], examples=5))
    assert "5 answers, drawn with a fixed seed" in chosen and "All 5" not in chosen


def test_notes_on_the_data_are_said_at_the_top():
    data = corner_data()
    data.notes = ("three files were <damaged>",)
    page = render(evaluate(Negative(corner_classifier()), data, metrics=["validity"]))
    assert "three files were &lt;damaged&gt;" in page[: page.index("<h2>")]


def test_names_are_escaped():
    data = corner_data()
    data.name = "<script>alert(1)</script>"
    page = render(evaluate(Negative(corner_classifier()), data, metrics=["validity"]))
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_methods_without_counterfactual_and_with_stable_image():
    data, classifier = corner_data(), corner_classifier()
    page = render(evaluate(MapOnly(classifier), data, metrics=["ncc"]))
    assert "attribution only" in page and "what changed" not in page and "NOT VALID" not in page
    page = render(evaluate(Truth(classifier, data), data, metrics=["validity"]))
    assert "<figcaption>stable</figcaption>" in page


def test_a_report_without_examples_renders():
    page = render(evaluate(Negative(corner_classifier()), corner_data(), metrics=["validity"], examples=0))
    assert "<h2>Examples</h2>" not in page


def test_sliders_know_the_posterior_of_every_frame(page):
    ways = [json.loads(html.unescape(way)) for way in re.findall(r'data-walk="([^"]*)"', page)]
    assert len(ways) == 24
    for way in ways:
        assert len(way["posterior"]) == len(way["labels"]) == len(way["decided"]) == FRAMES
        assert all(abs(sum(frame) - 1) < 1e-3 for frame in way["posterior"])


def test_a_large_report_is_written_with_loss_and_says_so(monkeypatch):
    report = evaluate(Negative(corner_classifier()), corner_data(), metrics=["validity"])
    exact = render(report)
    assert "image/png" in exact and "stored with some loss" not in exact
    monkeypatch.setattr(report_html, "MOST_BYTES", len(exact) - 1)
    page = render(report)
    assert "image/webp" in page and "image/png" not in page and "stored with some loss" in page


def noisy_report(channels: int, size: int, count: int) -> Report:
    """A report whose pictures hardly compress."""
    image = torch.randint(0, 256, (count, channels, size, size), generator=torch.Generator().manual_seed(0)) / 255
    weight = torch.zeros(1, channels * size * size)
    weight[0, 0] = 1.0
    module = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 1))
    module[1].weight.data, module[1].bias.data = weight, torch.tensor([-0.5])
    classifier = Classifier(module, ["a", "b"], (channels, size, size), device="cpu")
    return evaluate(
        Negative(classifier), MemoryDataset(Sample(image=image), ["a", "b"]), metrics=["validity"], examples=50
    )


def test_fifty_noisy_pictures_stay_below_the_limit():
    page = render(noisy_report(1, 128, 50))
    assert page.count("<article") == 50 and len(page.encode()) < report_html.MOST_BYTES
