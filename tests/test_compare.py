import csv
import dataclasses
import hashlib
import io
import json

import pytest
import rich.console
import torch

from obverse.compare import compare
from obverse.evaluation import evaluate
from obverse.metrics.statistics import paired_interval
from obverse.report.base import Report, Row
from tiny import Negative, Nothing, Truth, corner_classifier, corner_data

METRICS = ["validity", "l1", "posterior_gain", "ncc", "generated_accuracy"]


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    data, classifier = corner_data(), corner_classifier()
    kinds = {"nothing": Nothing(classifier), "negative": Negative(classifier), "truth": Truth(classifier, data)}
    return {name: evaluate(explainer, data, metrics=METRICS) for name, explainer in kinds.items()}


def line(comparison, label, direction="all"):
    return next(one for one in comparison.lines if one.label == label and one.direction == direction)


def test_differences_are_paired_and_marked_beyond_the_interval(reports):
    found = compare(reports, baseline="negative")
    assert found.names == ("negative", "nothing", "truth")
    cells = line(found, "L1 on [0, 1]").cells
    values = [reports[name].values["L1 on [0, 1]"] for name in ("truth", "negative")]
    gap, (low, high) = paired_interval(*values)
    assert cells["truth"].difference == pytest.approx(gap)
    assert (cells["truth"].difference_low, cells["truth"].difference_high) == pytest.approx((low, high))
    assert cells["truth"].mark == "better" and cells["truth"].pairs == 24
    assert cells["negative"].difference is None and cells["negative"].mark == ""
    valid = line(found, "validity (Val)").cells
    assert valid["nothing"].mark == "worse" and valid["nothing"].difference == pytest.approx(-0.75)
    assert line(found, "NCC, attribution").cells["truth"].pairs == 12


def test_figures_of_sets_are_marked_by_their_intervals(reports):
    cells = line(compare(reports, baseline="nothing"), "balanced accuracy on generated images").cells
    assert cells["truth"].mark == "better" and cells["truth"].difference is None


def test_what_failed_is_said(reports):
    broken = dataclasses.replace(reports["truth"], failures={"L1 on [0, 1]": "RuntimeError: out of memory"})
    found = compare({"nothing": reports["nothing"], "truth": broken})
    assert "Failed for truth: L1 on [0, 1]: RuntimeError: out of memory." in found.notes


def test_the_common_successes_are_beside_all_images(reports):
    chosen = {name: reports[name] for name in ("negative", "truth")}
    cell = line(compare(chosen), "L1 on [0, 1]").cells["truth"]
    rows = reports["negative"].values["validity (Val)"] == 1
    assert cell.common_n == int(rows.sum()) == 18
    assert cell.common == pytest.approx(float(reports["truth"].values["L1 on [0, 1]"][rows].mean()))
    assert compare(chosen).notes[1] == "18 answers are valid in all reports (common)."


def test_nothing_is_said_of_valid_answers_where_nobody_counted_them(reports):
    blind = {name: dataclasses.replace(one, values={k: v for k, v in one.values.items() if k != "validity (Val)"})
             for name, one in reports.items()}  # fmt: skip
    assert not any("valid in all reports" in note for note in compare(blind).notes)


def test_a_report_without_a_valid_answer_leaves_the_common_successes_to_the_others(reports):
    found = compare(reports)
    assert line(found, "L1 on [0, 1]").cells["truth"].common_n == 18
    assert found.notes[1] == "18 answers are valid in all reports (common), those without any left out: nothing."
    alone = compare({name: reports[name] for name in ("nothing", "truth")})
    assert line(alone, "L1 on [0, 1]").cells["truth"].common is None  # nobody to share them with


def test_equal_reports_differ_in_nothing(reports):
    found = compare({"one": reports["truth"], "two": reports["truth"]})
    assert all(cell.mark == "" for one in found.lines for cell in one.cells.values())
    assert line(found, "L1 on [0, 1]").cells["two"].difference == 0


def test_other_data_and_classifiers_are_said(reports):
    other = evaluate(Negative(corner_classifier(0.7)), corner_data(20), metrics=METRICS)
    found = compare({"one": reports["negative"], "two": other})
    assert found.notes[2] == "Of other images than one, so neither paired with it nor among the common ones: two."
    assert "The data differ" in found.notes[3] and "The classifier differ" in found.notes[4]
    assert len(compare(reports).notes) == 2


def test_images_of_other_data_are_not_paired_by_their_numbers(reports):
    data, classifier = corner_data(), corner_classifier()
    first, last = (evaluate(Negative(classifier), data.subset(rows), metrics=METRICS)
                   for rows in (range(12), range(12, 24)))  # fmt: skip
    assert first.settings["data"]["digest"] != last.settings["data"]["digest"]  # name, split and size are the same
    found = compare({"first": first, "again": first, "last": last})
    cells = line(found, "L1 on [0, 1]").cells
    assert cells["again"].pairs == 12 and cells["again"].difference == 0
    assert cells["last"].pairs == 0 and cells["last"].difference is None
    assert cells["last"].common is None and cells["last"].common_n == 0
    assert cells["first"].common_n == cells["again"].common_n == int((first.values["validity (Val)"] == 1).sum())
    assert line(compare({"first": first, "last": last}), "L1 on [0, 1]").cells["first"].common is None


def test_figures_of_other_data_are_marked_beyond_both_intervals():
    def of(digest, value, low, high):
        row = Row(metric="l1", label="L1", question="?", direction="all", value=value, n=8, low=low, high=high, better="lower")
        return Report(title=digest, rows=(row,), counts={}, settings={"data": {"digest": digest}},
                      values={"L1": torch.full((8,), value)}, identity=torch.tensor([[k, 0, 1] for k in range(8)]))  # fmt: skip

    base = of("a", 0.5, 0.4, 0.6)
    for other, mark in ((of("b", 0.3, 0.2, 0.35), "better"), (of("b", 0.3, 0.2, 0.45), ""), (of("a", 0.3, 0.2, 0.45), "better")):
        assert line(compare({"base": base, "other": other}), "L1").cells["other"].mark == mark


def test_the_digest_is_of_all_images_in_their_order_whatever_the_batches(reports):
    data, classifier = corner_data(), corner_classifier()

    def digest(rows, **settings):
        report = evaluate(Nothing(classifier), data.subset(rows), metrics=["l1"], **settings)
        return report.settings["data"]["digest"]

    whole = digest(range(24))
    assert whole == digest(range(24), batch_size=5) == reports["nothing"].settings["data"]["digest"]
    assert len({whole, digest(range(23, -1, -1)), digest([*range(23), 22])}) == 3
    pixels = (data[:].image * 255).round().to(torch.uint8).numpy().tobytes()
    assert whole == hashlib.sha256(pixels).hexdigest()[:16]


def test_files_and_table(reports, tmp_path):
    found = compare(reports)
    found.save(tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["names"] == ["nothing", "negative", "truth"]
    found.save(tmp_path / "c.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert len(lines) == sum(len(one.cells) for one in found.lines)
    console = rich.console.Console(width=200, record=True, file=io.StringIO())
    console.print(found.console())
    text = console.export_text()
    assert "BETTER" in text and "validity (Val)" in text and "valid in all reports" in text
    with pytest.raises(ValueError, match=r"path: expected a name ending in .html, .json or .csv, got 'c.pdf'"):
        found.save(tmp_path / "c.pdf")


def curve_report(name: str, areas: list[float], flips: dict[str, float] | None = None) -> Report:
    """A report by hand with a curve, and a figure with others beside it."""
    row = Row(metric="confounding", label="attributes that flip", question="?", direction="all", value=0.5, n=4,
              beside=flips or {})  # fmt: skip
    return Report(
        title=name, rows=(row,), counts={}, curves={"share of the image in the map": ([0.0, 0.5, 1.0], areas)}
    )


def test_maps_are_compared_by_the_ratio_of_their_areas():
    reports = {"ig": curve_report("ig", [1.0, 0.4, 0.0]), "lig": curve_report("lig", [0.9, 0.1, 0.0])}
    curves = compare(reports).curves
    assert set(curves) == {"share of the image in the map", "share of the image in the map, relative to ig"}
    ratio = curves["share of the image in the map, relative to ig"]
    assert ratio == {"ig": ([0.0, 0.5], [1.0, 1.0]), "lig": ([0.0, 0.5], pytest.approx([0.9, 0.25]))}
    alone = compare({"ig": curve_report("ig", [1.0, 0.4, 0.0]), "none": Report(title="none", rows=(), counts={})})
    assert alone.curves == {}


def test_beside_maps_that_are_empty_there_is_no_ratio(tmp_path):
    found = compare({name: curve_report(name, [0.0, 0.0, 0.0]) for name in ("nothing", "nothing again")})
    assert set(found.curves) == {"share of the image in the map"}
    found.save(tmp_path / "c.html")


def test_flips_of_every_attribute_make_a_matrix():
    flips = {"smiling": {"smiling": 0.9, "young": 0.1}, "young": {"smiling": 0.2, "young": 0.8}}
    found = compare({name: curve_report(name, [1, 1, 1], row) for name, row in flips.items()})
    assert found.beside == {"attributes that flip": {name: {"the figure": 0.5, **row} for name, row in flips.items()}}


def test_the_page_holds_figures_curves_and_matrices_and_needs_nothing_else(reports, tmp_path):
    compare(reports, baseline="negative").save(tmp_path / "deep" / "c.html")
    page = (tmp_path / "deep" / "c.html").read_text()
    assert "http://" not in page and "https://" not in page
    assert page.count('<td class="cell better">') == sum(
        cell.mark == "better" for one in compare(reports, baseline="negative").lines for cell in one.cells.values()
    )
    assert "Compared with negative" in page and "validity (Val)" in page and "common" in page
    flips = {"<b>": {"smiling": 0.9}, "young": {"smiling": 0.2, "young": 0.8}}
    compare({name: curve_report(name, [1, 0.5, 0.25], row) for name, row in flips.items()}).save(tmp_path / "d.html")
    page = (tmp_path / "d.html").read_text()
    assert "&lt;b&gt;" in page and "<b></td>" not in page  # names are data
    assert page.count("<polyline") == 4 and "relative to &lt;b&gt;" in page and ">0.800</td>" in page


def test_from_saved_reports(reports, tmp_path):
    for name, report in reports.items():
        report.save(tmp_path / f"{name}.json")
    again = compare({name: Report.load(tmp_path / f"{name}.json") for name in reports})
    assert again == compare(reports)


def test_wrong_arguments(reports):
    with pytest.raises(ValueError, match="reports: expected at least 2, got 1"):
        compare({"one": reports["truth"]})
    with pytest.raises(ValueError, match="baseline: expected one of nothing, negative, truth, got 'none'"):
        compare(reports, baseline="none")
