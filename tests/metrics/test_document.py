from pathlib import Path

from obverse.metrics import METRICS
from obverse.metrics.document import document

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_current():
    assert PAGE.read_text() == document(), "run: python -m obverse.metrics.document > docs/metrics.md"


def test_every_metric_is_on_it_with_all_it_has_to_say():
    page = document()
    for name in METRICS:
        part = page.split(f"(`{name}`)")[1].split("\n###")[0]
        assert "- Definition: " in part and "- Source: " in part
