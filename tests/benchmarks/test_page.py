"""docs/results.md is what the results say, and its columns are figures that some row has."""

import pytest

from benchmarks import page
from benchmarks.runner import RESULTS
from benchmarks.seen import SEEN
from benchmarks.tables import TABLES
from obverse.checkpoint import read_json


def test_the_page_is_current():
    assert page.PAGE.read_text() == page.page(), "run: python -m benchmarks page"


@pytest.mark.parametrize("section", page.SECTIONS, ids=lambda section: section.tables[0])
def test_every_column_is_of_a_figure_that_there_is(section):
    rows = [row for name in section.tables for row in read_json(RESULTS / f"{name}.json")["rows"]]
    figures = {(figure["label"], figure["direction"]) for row in rows for figure in row["figures"]}
    assert {(column.label, column.direction) for column in section.columns} <= figures
    assert not section.picture or (RESULTS / section.picture).exists()


def test_what_was_seen_is_of_tables_on_the_page():
    shown = {name for section in page.SECTIONS for name in section.tables}
    assert set(SEEN) - {"answers", "audits", "confounder", "medxgan-latents"} <= shown <= set(TABLES)


def test_a_cell_holds_value_interval_and_what_the_paper_prints():
    figure = {"metric": "l1", "label": "L1", "direction": "all", "value": 0.12345, "low": 0.1, "high": 0.2}
    row = {"row": "mine", "figures": [figure, figure | {"direction": "a -> b", "value": 3.0, "low": None}]}
    column = page.Column(head="L1", label="L1")
    assert page.cell(row, column, {}) == "0.123 (0.1 to 0.2)"
    assert page.cell(row, column, {("mine", "l1", "all"): 0.5, ("other", "L1", "all"): 9.0}) == "0.123 (0.1 to 0.2); 0.5"
    assert page.cell(row, page.Column(head="L1", label="L1", direction="a -> b"), {}) == "3"
    assert page.cell(row, page.Column(head="L2", label="L2"), {}) == ""


def test_means_are_over_three_pairs():
    values = []
    for pair in page.C3LT[1]:
        (row,) = [row for row in read_json(RESULTS / f"{pair}.json")["rows"] if row["row"] == "xGEM"]
        values += [f["value"] for f in row["figures"] if (f["label"], f["direction"]) == ("COUT", "all")]
    (line,) = [line for line in page.means().split("| clothes |")[1].splitlines() if line.startswith("| xGEM |")]
    assert len(values) == 3 and f" {sum(values) / 3:.4g} " in line
    assert "| C3LT, printed | 1 |  | 0.058 | 0.906 |" in page.means()


def test_rows_of_different_settings_have_no_mean(monkeypatch):
    def changed(path):
        result = read_json(path)
        for row in result["rows"]:
            if row["row"] == "xGEM" and path.stem == page.C3LT[1][2]:
                row["settings"] = {**row["settings"], "steps": 1}
        return result

    monkeypatch.setattr(page, "read_json", changed)
    digits, clothes = page.means().split("| clothes |")
    assert "| xGEM |" in digits and "| xGEM |" not in clothes and "| C3LT, printed |" in clothes


def test_columns_that_nobody_fills_are_left_out_and_machines_have_letters():
    figure = {"metric": "l1", "label": "L1", "direction": "all", "value": 1.0, "low": None, "high": None}
    where = {"processor": "AMD EPYC", "amx_bf16": False, "gpu": None}
    rows = [{"row": "one", "seed": 0, "figures": [figure], "training_minutes": 2.4, "parameters": {"a": 1000, "b": 5}},
            {"row": "two", "seed": 1, "figures": [], "hardware": where | {"processor": "Intel Xeon", "amx_bf16": True}},
            {"row": "three", "seed": 0, "figures": [figure], "hardware": where | {"gpu": "NVIDIA H100"}},
            {"row": "four", "seed": 0, "failed": "no", "figures": []}]  # fmt: skip
    section = page.Section(title="", tables=(), columns=page.columns(("L1", "L1"), ("L2", "L2")))
    assert page.grid(section, {"table": "mine", "rows": rows, "paper": [], "hardware": where}) == [
        "|  | L1 | minutes, parameters | machine |",
        "| --- | --- | --- | --- |",
        "| one | 1 | 2, 1,005 | A |",
        "| two, seed 1 |  |  | B |",
        "| three | 1 |  | NVIDIA H100 |",
    ]


def test_a_row_that_is_declared_otherwise_by_now_has_a_star():
    table = TABLES["lesions-64"]
    row = {"row": "nothing", "settings": {"method": "identity", "settings": {}}, "notes": []}
    assert page.current({"table": table.name}, row)
    for changed in ({"row": "gone"}, {"settings": {"method": "identity", "settings": {"x": 1}}}, {"notes": ["only some"]}):
        assert not page.current({"table": table.name}, row | changed)


def test_the_way_there_and_back_is_told_of_rows_that_have_one():
    rows = [{"row": "C3LT", "round_trip": {"4 -> 9": 0.804, "9 -> 4": 0.7}}, {"row": "xGEM"}]
    assert page.trips({"rows": rows}).endswith("0 for true inverses: C3LT 0.80 (4 -> 9), 0.70 (9 -> 4).")
    assert page.trips({"rows": rows[1:]}) == ""


def test_figures_within_figures_are_told_by_name():
    part = {"SSIM": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}, "none": {"value": None, "n": 0}, "images": 4,
            "residual": [0.012345, 0.2], "all": {"cosine": {"value": 0.25, "low": None, "high": None, "n": 2}}}  # fmt: skip
    assert page.told(part) == [
        ("SSIM", "0.5 (0.4 to 0.6), n 3"), ("none", "none"), ("images", "4"), ("residual", "0.0123, 0.2"),
        ("all, cosine", "0.25, n 2"),
    ]  # fmt: skip
