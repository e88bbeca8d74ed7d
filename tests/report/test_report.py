import csv
import io
import json

import pytest
import rich.console
import torch

from obverse.evaluation import evaluate
from obverse.report.base import Report, Row, number
from tiny import Negative, Nothing, corner_classifier, corner_data

METRICS = ["validity", "acc_s", "l1", "ncc", "seconds"]


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate(Negative(corner_classifier()), corner_data(), metrics=METRICS)


def test_json_and_back(report, tmp_path):
    report.save(tmp_path / "report.json")
    again = Report.load(tmp_path / "report.json")
    assert again.rows == report.rows and again.skipped == report.skipped and again.settings == report.settings
    assert torch.equal(again.identity, report.identity)
    for name, value in report.values.items():
        assert torch.equal(again.values[name].nan_to_num(-1), value.nan_to_num(-1))
    json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_csv_has_a_line_a_row(report, tmp_path):
    report.save(tmp_path / "report.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert len(lines) == len(report.rows)
    assert lines[0]["metric"] == "validity" and float(lines[0]["value"]) == report.rows[0].value
    assert int(lines[0]["n"]) == 24


def test_console_names_everything(report):
    console = rich.console.Console(width=160, record=True, file=io.StringIO())
    console.print(report.console())
    text = console.export_text()
    for part in ("validity (Val)", "healthy -> lesion", "95 % interval", "skipped acc_s", "24 that count"):
        assert part in text


def test_headline_starts_with_validity_and_ends_with_time(report):
    names = [row.metric for row in report.headline()]
    assert names == ["validity", "l1", "ncc", "seconds"]
    assert [row.metric for row in report.headline(2)] == ["validity", "seconds"]


def test_a_failure_is_in_every_form(tmp_path):
    report = evaluate(Nothing(corner_classifier()), corner_data(), metrics=["validity"])
    failed = Report(title="t", rows=report.rows, counts=report.counts, failures={"l1": "ValueError: no luck"})
    assert failed.to_dict()["failures"] == {"l1": "ValueError: no luck"}
    failed.save(tmp_path / "r.html")
    assert "no luck" in (tmp_path / "r.html").read_text()
    with pytest.raises(KeyError, match="l1: ValueError: no luck"):
        failed.row("l1")


def test_wrong_names_and_foreign_files_are_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a name ending in .html, .json or .csv, got 'report.pdf'"):
        report.save(tmp_path / "report.pdf")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a report that Report"):
        Report.load(tmp_path / "other.json")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.12345, "0.123"), (12.345, "12.35"), (123.45, "123.5"),
                                             (1234.5, "1234"), (123456, "1.23e+05"), (1.2e-4, "1.20e-04")])  # fmt: skip
def test_numbers_as_people_write_them(value, text):
    assert number(value) == text


def test_short_times_have_short_units():
    row = Row(metric="seconds", label="", question="", direction="all", value=1.35e-5, n=1, unit="s")
    assert row.text() == "13.50 µs"


def test_a_metric_that_is_skipped_in_part_is_named_with_the_part(report):
    skipped = {"validity (Val), of b": "no reason", "SSIM, of a": "no reason", "SSIM, of b": "no reason"}
    part = Report(title="t", rows=report.rows, counts=report.counts, skipped=skipped)
    assert part.reasons() == {"no reason": ["validity (Val), of b", "SSIM"]}
