"""docs/coverage.md lists everything numbered in the papers and names only files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"

# Counted in the papers' text, supplements and appendices included; a series runs from 1 to the number here.
# An S marks SyCE's supplement, whose numbers start again; the other papers number through.
LAST = {
    "CX-GAN": {"Eq. ": 12, "Table ": 4, "Fig. ": 9},
    "C3LT": {"Eq. ": 11, "Table ": 6, "Fig. ": 10},
    "SyCE": {
        "Eq. ": 16, "Table ": 2, "Fig. ": 4,
        "Eq. S": 22, "Table S": 7, "Fig. S": 14,
    },
    "Progressive Exaggeration": {"Eq. ": 10, "Table ": 6, "Fig. ": 12},
    "medXGAN": {"Eq. ": 7, "Table ": 3, "Fig. ": 11},
}  # fmt: skip
PARTS = {  # items that the papers print in parts
    "SyCE": [
        *("Table 1a", "Table 1b", "Table 1c", "Table 2a", "Table 2b", "Fig. 3a", "Fig. 3b", "Fig. 3c"),
        *(f"Table S{number}{part}" for number in (1, 3, 4, 5, 6) for part in "ab"),
    ],
    "Progressive Exaggeration": ["Fig. 4a", "Fig. 4b", "Fig. 4c"],
}
HEADER = ["item", "what it is", "where", "test"]
ITEM = re.compile(r"(Eq\. |Table |Fig\. )(S?)(\d+)([a-z]?)|Sec\. \d+(\.\d+)*")
PATHS = re.compile(r"`[^`]+`(, `[^`]+`)*")


def read() -> dict[str, list[list[str]]]:
    """Return the rows of each paper, cells stripped."""
    papers: dict[str, list[list[str]]] = {}
    name = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            name = line[3:].strip()
            papers[name] = []
        elif line.startswith("|"):
            papers[name].append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return papers


PAPERS = read()
ROWS = [(name, *row) for name, (_, _, *rows) in PAPERS.items() for row in rows]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_five_papers_have_one_table_each():
    assert list(PAPERS) == list(LAST)
    for name, (header, rule, *rows) in PAPERS.items():
        assert header == HEADER, name
        assert set("".join(rule)) == {"-"}, name
        assert rows, name


def test_every_cell_is_filled():
    for name, *row in ROWS:
        assert len(row) == len(HEADER), (name, row)
        assert all(row), (name, row)
        item, _, where, test = row
        assert ITEM.fullmatch(item), (name, item)
        for cell in (where, test):
            known = cell == "not yet" or re.fullmatch(r"no: \S.*", cell) or PATHS.fullmatch(cell)
            assert known, (name, item, cell)
        assert named(where) or not named(test), f"{name} {item}: a test of nothing"
        assert where.startswith("no: ") == test.startswith("no: ") or named(where), (name, item)


def test_every_file_named_exists():
    cells = [(cell, column) for *_, where, test in ROWS for column, cell in enumerate((where, test))]
    paths = {(path, column) for cell, column in cells for path in named(cell)}
    assert paths
    for path, _ in paths:
        assert not Path(path).is_absolute() and ".." not in Path(path).parts, path
    missing = sorted({path for path, _ in paths if not (ROOT / path).is_file()})
    assert not missing, f"docs/coverage.md names files that are not there: {missing}"
    assert all(path.startswith("tests/") == bool(column) for path, column in paths)


@pytest.mark.parametrize(("name", "series"), [(name, series) for name in LAST for series in LAST[name]])
def test_numbers_run_without_gaps(name, series):
    kind, supplement = (series[:-1], "S") if series.endswith("S") else (series, "")
    matches = [ITEM.fullmatch(item) for paper, item, *_ in ROWS if paper == name]
    numbers = [int(m[3]) for m in matches if m and m[1] == kind and m[2] == supplement]
    assert sorted(set(numbers)) == list(range(1, LAST[name][series] + 1))
    if kind == "Eq. ":
        assert numbers == sorted(set(numbers)), "an equation is listed twice or out of order"


def test_no_item_is_listed_twice_and_the_parts_are_there():
    items = [(name, item) for name, item, *_ in ROWS]
    assert len(set(items)) == len(items)
    for name, parts in PARTS.items():
        for part in parts:
            assert (name, part) in items, (name, part)


def test_every_loss_of_syce_names_a_file_and_a_test():
    rows = {item: (where, test) for name, item, _, where, test in ROWS if name == "SyCE"}
    for number in range(9, 17):
        where, test = rows[f"Eq. {number}"]
        assert named(where), f"eq. {number} names no file"
        assert named(test), f"eq. {number} names no test"
