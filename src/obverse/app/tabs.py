"""The tabs beside Explore: several explainers, the data set, the scores, and the report."""

from __future__ import annotations

import gradio as gr

from obverse.app import fragments
from obverse.app.explore import Chosen, look_at, picture_of, wired
from obverse.app.state import MOST_EXAMPLES, Answered, Picture, Workbench
from obverse.app.survey import FILTERS, SORTS, first_rows, survey

ONE, SHOWN = "the image in Explore", f"the images that Data set shows, in its order, {MOST_EXAMPLES} at most"


def compare(bench: Workbench, chosen: Chosen, tab: gr.Tab) -> None:
    """Lay out the same image through several explainers."""
    names = gr.CheckboxGroup(bench.names, value=bench.names[:4], label="Explainers", elem_id="names")
    display = gr.HTML(fragments.hint("Choose explainers."), apply_default_css=False, elem_id="compare")

    def look(wanted: list[str], target: int, upload: Picture | None, number: float | None) -> str:
        if not wanted:
            return fragments.hint("Choose explainers.")
        picture, found = picture_of(bench, upload, number), []
        for name in wanted:
            try:
                one: Answered | str = bench.answer(name, picture, None if target < 0 else target)
            except (ValueError, TypeError, RuntimeError) as error:  # one that cannot does not lose the others
                one = str(error)
            found.append((name, one))
        return fragments.compare(found, picture, bench)

    for event in (tab.select, names.change):
        wired(event, look, [names, chosen.target, chosen.upload, chosen.number], display)


def data_set(bench: Workbench, chosen: Chosen, tab: gr.Tab, tabs: gr.Tabs) -> tuple[gr.Dropdown, gr.Radio]:
    """Lay out the gallery; returns what sorts and what filters it."""
    with gr.Row():
        sort = gr.Dropdown(list(SORTS), value=SORTS[0], label="Sort by", elem_id="sort", min_width=200)
        filtered = gr.Radio(list(FILTERS), value=FILTERS[0], label="Show", elem_id="filter")
    display = gr.HTML(
        fragments.hint("Explaining the images."), apply_default_css=False, elem_id="gallery", js_on_load=PICK
    )
    with gr.Row():
        back, forth = gr.Button("Previous page", size="sm"), gr.Button("Next page", size="sm")
    page: gr.State = gr.State(0)

    def look(
        name: str, target: int, order: str, kept: str, wanted: int, progress: gr.Progress | None = None
    ) -> tuple[str, int]:
        try:
            found = survey(bench, name, progress, None if target < 0 else target)
        except (ValueError, TypeError, RuntimeError) as error:
            return fragments.message(f"{name}: {error}"), 0
        rows = found.rows(order, kept)
        place = min(max(wanted, 0), max(0, (len(rows) - 1) // fragments.PER_PAGE))
        return fragments.gallery(found, rows, place, bench, name), place

    def first(
        name: str, target: int, order: str, kept: str, progress: gr.Progress = gr.Progress()  # noqa: B008
    ) -> tuple[str, int]:
        return look(name, target, order, kept, 0, progress)

    def previous(name: str, target: int, order: str, kept: str, place: int) -> tuple[str, int]:
        return look(name, target, order, kept, place - 1)

    def following(name: str, target: int, order: str, kept: str, place: int) -> tuple[str, int]:
        return look(name, target, order, kept, place + 1)

    def pick(name: str, target: int, event: gr.EventData) -> tuple[object, ...]:
        row = min(max(int(event.row), 0), len(bench.data) - 1)
        # the row may be in the box already, and then nothing else redraws
        return gr.Tabs(selected="explore"), None, row, look_at(bench, name, target, None, row), gr.update(visible=False)

    for event in (tab.select, sort.change, filtered.change):
        wired(event, first, [chosen.explainer, chosen.target, sort, filtered], [display, page])
    for event, turned in ((back.click, previous), (forth.click, following)):
        wired(event, turned, [chosen.explainer, chosen.target, sort, filtered, page], [display, page])
    wired(display.click, pick, [chosen.explainer, chosen.target],
          [tabs, chosen.upload, chosen.number, chosen.display, chosen.slices])
    return sort, filtered


PICK = """element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-row]');
  if (tile) trigger('click', {row: Number(tile.dataset.row)});
});"""


def scores(bench: Workbench, tab: gr.Tab) -> None:
    """Lay out the evaluation tables and curves."""
    names = list(dict.fromkeys([*bench.names, *bench.reports]))
    with gr.Row(equal_height=True):
        chosen = gr.Dropdown(names, value=names[0], label="Scores of", elem_id="scored", scale=3, min_width=200)
        again = gr.Button("Score on the first 200 images", elem_id="score", min_width=200)
    display = gr.HTML(
        fragments.scores(names[0], bench.reports.get(names[0])), apply_default_css=False, elem_id="scores"
    )

    def look(name: str) -> str:
        return fragments.scores(name, bench.reports.get(name))

    def score(name: str) -> str:
        try:
            return fragments.scores(name, bench.evaluate(name))
        except (ValueError, TypeError, RuntimeError) as error:
            return fragments.message(f"{name}: {error}")

    wired(tab.select, look, chosen, display)
    wired(chosen.change, look, chosen, display)
    wired(again.click, score, chosen, display)


def report(bench: Workbench, chosen: Chosen, sort: gr.Dropdown, filtered: gr.Radio) -> None:
    """Lay out what writes the report of a selection."""
    gr.HTML(fragments.hint("One HTML file that opens without a network: pictures with sliders, figures, sources, settings. "
                           "The explainer and the target are those chosen in Explore. It takes some seconds."),
            apply_default_css=False)  # fmt: skip
    which = gr.Radio([ONE, SHOWN], value=SHOWN, label="A report of", elem_id="which")
    write = gr.Button("Write the report", variant="primary", elem_id="write")
    display = gr.HTML("", apply_default_css=False, elem_id="written")

    def written(
        of: str, name: str, target: int, upload: Picture | None, number: float | None, order: str, kept: str
    ) -> str:
        wanted = None if target < 0 else target
        try:
            rows = (
                picture_of(bench, upload, number) if of == ONE else first_rows(bench, name, order, kept, MOST_EXAMPLES, wanted)
            )
            how = [*([kept] if kept != FILTERS[0] else []), order if order != SORTS[0] else f"in the {order}"]
            key = bench.report(name, rows, wanted, ", ".join(how))
            return fragments.written(key, bench)
        except (ValueError, TypeError, RuntimeError) as error:
            return fragments.message(str(error))

    wired(write.click, written, [which, *chosen.inputs, sort, filtered], display)
