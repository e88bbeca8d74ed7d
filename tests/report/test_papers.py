"""Sources: every method and metric is named with where it comes from."""

import pytest

from obverse.baselines import BASELINES
from obverse.methods import METHODS
from obverse.metrics import METRICS
from obverse.report.base import Row
from obverse.report.papers import PAPERS, explained, meaning, methods


def row(metric: str) -> Row:
    return Row(metric=metric, label="", question="", direction="all", value=0.0, n=1, better="higher")


def test_every_method_and_baseline_says_what_it_is():
    for name in (*METHODS, *BASELINES):
        found = explained(name)
        assert found and found[0][0] == f"explainer {name}" and len(found[0][1]) > 10, name
    assert explained("somebody's") == []


@pytest.mark.parametrize("name", ["cxgan", "cxgan_cascaded", "cyclegan", "vagan"])
def test_the_report_says_where_no_classifier_takes_part(name):
    assert "no classifier takes part" in explained(name)[0][1]


def test_the_five_papers_are_cited_where_they_belong():
    assert "SyCE" in dict(methods("syce", []))
    assert dict(methods("syce", []))["SyCE"].startswith("M. Charachon")
    cited = dict(methods("pgd", ["cout", "acc_a", "knob_calibration"]))
    assert cited["C3LT"] == PAPERS["C3LT"] and cited["EPE"] == PAPERS["EPE"] and "medXGAN" not in cited
    assert any(name.startswith("figure: COUT") for name in cited)


def test_meaning_has_direction_formula_and_source():
    for name in METRICS:
        text = meaning(row(name))
        assert text.startswith("Higher is better.") and "Source: " in text, name
    assert meaning(row("somebody's")) == ""
