"""What the tabs show, as HTML: the report's own templates, and a few more."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from obverse.app.state import Answered, Picture, Workbench
from obverse.app.survey import Survey
from obverse.figures import common_scale, pixels
from obverse.metrics import metric
from obverse.metrics.base import ImageMetric
from obverse.report import html
from obverse.report.base import Report, Row, number
from obverse.report.cards import card, columns, data_uri
from obverse.report.papers import meaning

COMPARED = ("posterior_gain", "l1", "changed_share", "ssim")
PER_PAGE = 40


@functools.cache
def environment() -> Environment:
    """Return the report's templates and the app's."""
    shared = html.environment()
    return shared.overlay(loader=ChoiceLoader([PackageLoader("obverse.app"), *filter(None, [shared.loader])]))


def _render(template: str, values: Mapping[str, Any]) -> str:
    return environment().get_template(template).render(values)


def asset(name: str) -> str:
    """Return a style sheet or script of the report as it is."""
    return _render(name, {})


def explore(answered: Answered) -> str:
    """Return one answer, large."""
    stem = "".join(letter if letter.isalnum() else "-" for letter in answered.picture.name)
    return _render("explore.html.j2", {"one": answered.card, "frames": f"walks/{answered.key}/",
                   "animation": f"walks/{answered.key}/walk.gif", "file": f"{stem}-{answered.card.target}",
                   "scale": number(common_scale(answered.explanation))})  # fmt: skip


def compare(found: Sequence[tuple[str, Answered | str]], picture: Picture, bench: Workbench) -> str:
    """Return the answers of several explainers to one image, or why there is none; changes on a common scale."""
    answers = [(name, one) for name, one in found if isinstance(one, Answered)]
    scale = common_scale(*(one.explanation for _, one in answers))
    shown = [(card(one.explanation, 0, name=name, scale=scale, walk=one.walk, exact=False), _figures(one, bench))
             for name, one in answers]  # fmt: skip
    failed = [(name, why) for name, why in found if isinstance(why, str)]
    image = data_uri(pixels(picture.sample.image[0]))
    return _render("compare.html.j2", {"cards": shown, "failed": failed, "scale": number(scale), "picture": picture,
                   "columns": columns(one for one, _ in shown), "image": image, "shape": picture.sample.image.shape})  # fmt: skip


def _figures(one: Answered, bench: Workbench) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of a few figures of one answer."""
    found = []
    if one.explanation.counterfactual is not None and bool(one.explanation.asked[0]):
        for key in COMPARED:
            kind = metric(key)
            if issubclass(kind, ImageMetric):
                value = kind()(one.explanation, one.picture.sample, bench.classifier)
                row = Row(metric=key, label=kind.title, question="", direction="all", value=float(value[0]), n=1,
                          better=kind.better, unit=kind.unit)  # fmt: skip
                found.append((kind.title, row.text(), meaning(row)))
    return [
        *found,
        (
            "time",
            f"{number(one.seconds)} s",
            "Of this one explanation, alone in its batch; a method's first one reads, too.",
        ),
    ]


def gallery(survey: Survey, rows: Sequence[int], page: int, bench: Workbench, name: str) -> str:
    """Return one page of small pictures, each a button that leads to Explore."""
    answers, classes = survey.explanation, bench.classifier.classes
    shown = []
    for row in rows[page * PER_PAGE : (page + 1) * PER_PAGE]:
        source, target = classes[int(answers.source[row])], classes[int(answers.target[row])]
        label = None if survey.label is None or not bool(survey.wrong[row]) else int(survey.label[row])
        made = answers.counterfactual
        shown.append({
            "row": row, "name": bench.picture(row).name, "source": source, "target": target,
            "confidence": f"{float(answers.posterior_before[row].max()):.1%}", "failed": bool(survey.failed[row]),
            "made": made is not None, "change": number(float(survey.change[row])),
            "labelled": None if label is None else bench.data.classes[label],
            "image": data_uri(pixels(answers.image[row])),
            "counterfactual": None if made is None else data_uri(pixels(made[row])),
        })  # fmt: skip
    last = max(0, (len(rows) - 1) // PER_PAGE)
    return _render("gallery.html.j2", {"shown": shown, "found": len(rows), "survey": survey, "page": page, "last": last,
                   "width": answers.image.shape[-1], "name": name, "made": answers.counterfactual is not None})  # fmt: skip


def scores(name: str, report: Report | None) -> str:
    """Return the figures and curves of a run's report, or what to do where there is none."""
    return _render(
        "scores.html.j2", {"name": name, "report": report} | ({} if report is None else html.parts_of(report))
    )


def about(bench: Workbench) -> str:
    """Return the line below the title."""
    return _render("about.html.j2", {"bench": bench})


def hint(text: str) -> str:
    """Return a line of help."""
    return _render("message.html.j2", {"text": text, "bad": False})


def message(text: str) -> str:
    """Return a message where an answer was expected."""
    return _render("message.html.j2", {"text": text, "bad": True})


def written(key: str, bench: Workbench) -> str:
    """Return the link to a report that was written."""
    name, page, _ = bench.written[key]
    return _render("written.html.j2", {"key": key, "name": name, "size": f"{len(page.encode()) / 1e6:.1f} MB"})
