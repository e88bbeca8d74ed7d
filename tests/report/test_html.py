import re
from html.parser import HTMLParser

import pytest

from obverse.evaluation import evaluate
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

    void = frozenset({"meta", "link", "img", "polyline", "br"})

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
    assert "<script" not in page and "@import" not in page and "http" not in page


def test_failures_are_marked_in_words(page):
    assert page.count("NOT VALID") == 6  # of 12 images of this seed that are turned to "lesion"
    assert "Not valid: still not decided" in page
    assert page.count('class="card failed"') == page.count("NOT VALID")


def test_everything_is_there(page):
    for part in ("validity (Val)", "95 % interval", "healthy → lesion", "what changed", "mask", "true twin",
                 "Not computed", "the method makes no stable image", "Training", "explainer: hyperparameters: strength",
                 "seed", "torch", "prefers-color-scheme: dark", "before", "after"):  # fmt: skip
        assert part in page, part


def test_names_are_escaped():
    data = corner_data()
    data.name = "<script>alert(1)</script>"
    page = render(evaluate(Negative(corner_classifier()), data, metrics=["validity"]))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_methods_without_counterfactual_and_with_stable_image():
    data, classifier = corner_data(), corner_classifier()
    page = render(evaluate(MapOnly(classifier), data, metrics=["ncc"]))
    assert "attribution only" in page and "what changed" not in page and "NOT VALID" not in page
    page = render(evaluate(Truth(classifier, data), data, metrics=["validity"]))
    assert "<figcaption>stable</figcaption>" in page


def test_a_report_without_examples_renders():
    page = render(evaluate(Negative(corner_classifier()), corner_data(), metrics=["validity"], examples=0))
    assert "<h2>Examples</h2>" not in page
