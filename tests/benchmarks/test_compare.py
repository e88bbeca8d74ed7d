"""The reports of a table are found by its rows and put side by side."""

import csv
import io

import pytest

import benchmarks.compare as script
import benchmarks.runner as runner
from benchmarks.table import Table, Training, Untrained
from obverse.report.base import Report

TINY = Training(method="classifier", settings={"architecture": "LeNet"}, steps=2, batch_size=8, validate_every=2)


def table(name, rows):
    return Table(name=name, about="A test.", data="lesions", size=16, counts={"train": 16, "validation": 8, "test": 12},
                 classifier=TINY, rows=rows, metrics=("validity", "l1"))  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("OBVERSE_BENCHMARKS", str(tmp_path / "cache"))
    for module in (runner, script):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    rows = {"attack": Untrained(method="pgd", settings={"steps": 2}), "nothing": Untrained(method="identity"),
            "not run": Untrained(method="random_map")}  # fmt: skip
    tables = {"full": table("full", rows), "empty": table("empty", rows)}
    monkeypatch.setattr(script, "TABLES", tables)
    monkeypatch.setattr(script, "NAMES", tuple(tables))
    runner.run(tables["full"], only=["attack", "nothing"])
    return tmp_path


def test_a_table_with_reports_is_compared_and_one_without_is_left_out(results, capsys):
    assert script.run(quick=False) == {"full": ["nothing", "attack"]}
    assert "empty: left out, 0 of its rows have a report" in capsys.readouterr().out
    folder = results / "cache" / "reports" / "full"
    assert (folder / "comparison.html").exists() and (folder / "comparison.csv").exists()
    lines = list(csv.DictReader(io.StringIO((results / "results" / "compare-full.csv").read_text())))
    means = {line["report"]: line for line in lines if line["figure"] == "L1 on [0, 1]"}
    report = Report.load(runner.report_file(script.TABLES["full"], "attack", 0, "json"))
    assert means["attack"]["value"] == means["attack"]["difference"] == f"{report.row('l1').value:.4g}"
    assert means["nothing"]["value"] == "0" and means["nothing"]["difference"] == ""
    assert means["attack"]["pairs"] == "12" and len({line["figure"] for line in lines}) == 2


def test_a_quick_comparison_writes_nothing(results):
    assert script.run(quick=True) == {"full": ["nothing", "attack"]}
    assert not list((results / "results").glob("compare*")) and not list((results / "cache").rglob("comparison*"))


def test_without_its_baseline_differences_are_from_the_first(results):
    runner.report_file(script.TABLES["full"], "nothing", 0, "json").rename(
        runner.report_file(script.TABLES["full"], "not run", 0, "json")
    )
    assert script.run(quick=True) == {"full": ["attack", "not run"]}
