"""The tab Explore: one image, one explainer, one target, and the slider between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from obverse.app import fragments
from obverse.app.state import Picture, Workbench
from obverse.app.uploads import LIMITS, READABLE, read_upload


@dataclass(frozen=True)
class Chosen:
    """What the other tabs share with Explore: the image (None is the row in `number`), explainer, target, display, slice."""

    upload: gr.State
    number: gr.Number
    explainer: gr.Dropdown
    target: gr.Dropdown
    display: gr.HTML
    slices: gr.Slider

    @property
    def inputs(self) -> list[gr.components.Component]:
        """Inputs of a handler that answers what is chosen."""
        return [self.explainer, self.target, self.upload, self.number]


def wired(event: Callable[..., object], call: Callable[..., object], inputs: object, outputs: object) -> None:
    """Let an event of the page run a handler; handlers wait for each other, since explainers answer one at a time.

    While one runs, only the last of further events of its kind is kept: a slider that is dragged asks for where it ends.
    """
    event(call, inputs, outputs, show_progress="minimal", trigger_mode="always_last", concurrency_id="explainer",
          concurrency_limit=1, api_visibility="private")  # fmt: skip


def picture_of(bench: Workbench, upload: Picture | None, number: float | None) -> Picture:
    """Return the uploaded image, or else the row of the data set, kept within it."""
    return upload or bench.picture(min(max(int(number or 0), 0), len(bench.data) - 1))


def explore(bench: Workbench) -> Chosen:
    """Lay out the tab and wire it; the first answer is there from the start."""
    classes, last = bench.classifier.classes, len(bench.data) - 1
    other = "the other class" if len(classes) == 2 else "the runner-up"
    upload: gr.State = gr.State(None, time_to_live=3600)
    file: gr.State = gr.State(None, time_to_live=3600)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=260):
            explainer = gr.Dropdown(bench.names, value=bench.names[0], label="Explainer", elem_id="explainer")
            target = gr.Dropdown([(other, -1), *((name, k) for k, name in enumerate(classes))], value=-1,
                                 label="Asked to become", elem_id="target")  # fmt: skip
            number = gr.Number(0, label=f"Image of the data set, 0 to {last}", precision=0, minimum=0, maximum=last,
                               elem_id="number")  # fmt: skip
            with gr.Row():
                back = gr.Button("Previous", size="sm", min_width=80)
                forth = gr.Button("Next", size="sm", min_width=80)
            chooser = gr.UploadButton("Your own image", type="filepath", elem_id="upload", size="sm")
            slices = gr.Slider(0, 1, 0, step=1, label="Slice", visible=False, elem_id="slice")
            gr.HTML(fragments.hint(f"{READABLE}; {LIMITS}."), apply_default_css=False)
        with gr.Column(scale=3, min_width=320):
            display = gr.HTML(look_at(bench, bench.names[0], -1, None, 0), apply_default_css=False, elem_id="explore")
    chosen = Chosen(upload, number, explainer, target, display, slices)

    def look(name: str, wanted: int, own: Picture | None, row: float | None) -> str:
        return look_at(bench, name, wanted, own, row)

    def row_chosen(name: str, wanted: int, row: float | None) -> tuple[None, str, object]:
        return None, look_at(bench, name, wanted, None, row), gr.update(visible=False)

    def stepped(row: float | None, by: int) -> int:
        return (int(row or 0) + by) % len(bench.data)

    def uploaded(name: str, wanted: int, path: str, index: int | None = None) -> tuple[object, ...]:
        try:
            found = read_upload(Path(path), bench.classifier.image_shape, index)
        except ValueError as error:
            return gr.update(), gr.update(), fragments.message(str(error)), gr.update(visible=False)
        own = bench.own(Path(path).name, found.image, found.notes)
        slider = gr.update(visible=found.count > 1, maximum=max(found.count - 1, 1), value=found.index)
        return own, path, look_at(bench, name, wanted, own, None), slider

    def sliced(name: str, wanted: int, path: str | None, index: float) -> tuple[object, ...]:
        return uploaded(name, wanted, path, int(index))[:3] if path else (None, None, gr.update())

    wired(explainer.change, look, chosen.inputs, display)
    wired(target.change, look, chosen.inputs, display)
    wired(number.change, row_chosen, [explainer, target, number], [upload, display, slices])
    wired(back.click, lambda row: stepped(row, -1), number, number)
    wired(forth.click, lambda row: stepped(row, 1), number, number)
    wired(chooser.upload, uploaded, [explainer, target, chooser], [upload, file, display, slices])
    wired(slices.input, sliced, [explainer, target, file, slices], [upload, file, display])
    return chosen


def look_at(bench: Workbench, name: str, target: int, upload: Picture | None, number: float | None) -> str:
    """Return what Explore shows."""
    try:
        return fragments.explore(bench.answer(name, picture_of(bench, upload, number), None if target < 0 else target))
    except (ValueError, TypeError, RuntimeError) as error:  # what an explainer cannot do is said, not thrown
        return fragments.message(f"{name}: {error}")
