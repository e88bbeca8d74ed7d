"""The page: tabs that share what is chosen in Explore, and one entry for programs."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import api

from obverse.app import fragments, tabs
from obverse.app.explore import explore
from obverse.app.state import Workbench
from obverse.figures import pixels
from obverse.report.cards import data_uri

MOST_WAITING = 32
"""Requests that wait for their turn; more are refused with a message."""
MOST_VISITORS = 200
"""Visitors whose upload is remembered; more, and the one not seen for longest is forgotten."""


def page(bench: Workbench) -> gr.Blocks:
    """Return the whole page."""
    blocks: gr.Blocks
    with gr.Blocks(title="obverse", analytics_enabled=False, delete_cache=(300, 3600)) as blocks:
        gr.HTML(fragments.about(bench), apply_default_css=False)
        with gr.Tabs(selected="explore") as every:
            with gr.Tab("Explore", id="explore"):
                chosen = explore(bench)
            with gr.Tab("Compare", id="compare") as tab:
                tabs.compare(bench, chosen, tab)
            with gr.Tab("Data set", id="data") as tab:
                sort, filtered = tabs.data_set(bench, chosen, tab, every)
            with gr.Tab("Scores", id="scores") as tab:
                tabs.scores(bench, tab)
            with gr.Tab("Report", id="report"):
                tabs.report(bench, chosen, sort, filtered)
        gr.HTML(fragments.hint(f"At most {MOST_WAITING} requests wait for their turn. What you upload is kept in memory for "
                               "about an hour, and goes nowhere else."), apply_default_css=False)  # fmt: skip

        def turn(explainer: str, image: int, target: str, place: float) -> dict[str, Any]:
            return turned(bench, explainer, image, target, place)

        api(turn, api_name="turn", concurrency_id="turn", concurrency_limit=2)
    blocks.state_session_capacity = MOST_VISITORS
    blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
    return blocks


def turned(bench: Workbench, explainer: str, image: int, target: str, place: float) -> dict[str, Any]:
    """Return one picture on the way to a counterfactual, for programs that turn the knob.

    Args:
        bench: explainers and images.
        explainer: its name.
        image: row of the data set.
        target: class name; "" is the other class, or the runner-up.
        place: from 0, the start, to 1, the counterfactual; with a knob, the posterior that is asked for.

    Raises:
        gr.Error: what was asked for cannot be had; the text says why.
    """
    try:
        if not 0 <= image < len(bench.data):
            raise ValueError(f"image: expected a row from 0 to {len(bench.data) - 1}, got {image}; choose one of them")
        if not 0 <= place <= 1:
            raise ValueError(
                f"place: expected a share from 0 to 1, got {place:g}; 0 is the start, 1 the counterfactual"
            )
        wanted = bench.classifier.index(target) if target else None
        answered = bench.answer(explainer, bench.picture(image), wanted)
        if answered.walk is None:
            raise ValueError(f"explainer: {explainer} makes no counterfactual to walk to; choose another")
    except (ValueError, TypeError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    walk = answered.walk
    frame = round(place * (walk.frames.shape[1] - 1))
    names = bench.classifier.classes
    posterior = dict(zip(names, [round(value, 6) for value in walk.posterior[0, frame].tolist()], strict=True))
    return {"image": data_uri(pixels(walk.frames[0, frame])), "posterior": posterior, "label": walk.labels()[frame],
            "words": answered.explanation.words(0)}  # fmt: skip
