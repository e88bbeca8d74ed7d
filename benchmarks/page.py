"""docs/results.md, from the results and what was seen on the sheets: `python -m benchmarks page`."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runner import RESULTS, declares
from benchmarks.seen import SEEN
from benchmarks.tables import TABLES
from obverse.checkpoint import read_json, write_text

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
HEAD = """# What was measured

Made from `benchmarks/results` by `python -m benchmarks page`; all other figures, settings and versions are there.
[metrics.md](metrics.md) says what each figure means.

In brackets 95 % intervals. Weights are chosen on validation images, thresholds of maps too; test images choose nothing. One
seed each. Where a paper prints the figure, it stands behind the semicolon; its images, classifiers and networks are others,
so it is for the order of size. Machine A is an AMD EPYC with AVX512-BF16, B an Intel Xeon with AMX, C Intel Xeons without, of
2.8 or 2.5 GHz, 2 cores each; a run had one core if nothing else is said. Parameters are what an explainer learns, critics
included. Rows with a star were measured with other settings or images than the table declares by now; the results file has
theirs.
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a row.

    Args:
        head: of the column.
        label: of the figure.
        direction: of the figure.
    """

    head: str
    label: str
    direction: str = "all"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table.

    Args:
        title: of the section.
        tables: names of the results files whose rows it shows.
        columns: figures.
        picture: a file in benchmarks/results, or none.
    """

    title: str
    tables: tuple[str, ...]
    columns: tuple[Column, ...]
    picture: str = ""


def columns(*pairs: tuple[str, str]) -> tuple[Column, ...]:
    """Return columns over all directions, of heads and labels."""
    return tuple(Column(head=head, label=label) for head, label in pairs)


DECIDED = columns(
    ("acc_a", "acc_a, decision kept"),
    ("second classifier keeps", "transfer acc_a, decision kept for a second classifier"),
    ("acc_s", "acc_s, decision kept by the stable image"),
    ("L1", "L1 on [0, 1]"),
)
DISTANCES = tuple(
    Column(head=f"{short}, {direction}", label=f"{long} distance, embedding", direction=direction)
    for short, long in (("FD", "Frechet"), ("JS", "Jensen-Shannon")) for direction in ("3 -> 8", "8 -> 3")
)  # fmt: skip
MAPS = columns(
    ("Dice", "Dice, attribution"), ("IoU", "IoU, attribution"), ("NCC", "NCC, attribution"),
    ("average precision", "average precision, attribution"),
)  # fmt: skip
FOLLOWS = ("second classifier follows", "transfer to a second classifier")
SEARCHED = columns(("validity", "validity (Val)"), FOLLOWS, ("L1", "L1 on [0, 1]"), ("COUT", "COUT"))
REALISM_PAIRS = (("FD", "Frechet distance, embedding"), ("kernel distance", "kernel distance, embedding"))
REALISM = columns(("IM1", "IM1"), ("IM2", "IM2"), *REALISM_PAIRS)
REBUILT_ERROR = ("L1 of the reconstruction", "residual of the method's own picture")
REBUILT = columns(("L1 to its reconstruction", "L1 on [0, 1], to the stable image"), REBUILT_ERROR)
KNOB = columns(
    ("rank correlation", "knob: rank correlation"), ("error", "knob: mean absolute error"),
    ("series that rise", "knob: share of series that rise"), ("both ends valid", "knob: share with both ends valid"),
    ("L1 at delta 0", "residual of the method's own picture"), FOLLOWS,
    ("FD, classifier features", "Frechet distance, classifier features"), ("FD, embedding", "Frechet distance, embedding"),
    ("closeness", "latent closeness, embedding"),
    ("decisions kept when pixels are deleted", "decisions kept under pixel deletion"),
)  # fmt: skip
C3LT = (
    ("c3lt-mnist-38", "c3lt-mnist-49", "c3lt-mnist-56"), ("c3lt-fashion-02", "c3lt-fashion-46", "c3lt-fashion-79"),
)  # fmt: skip
AVERAGED = (*SEARCHED, *REBUILT, *REALISM, *columns(("FD, classifier features", "Frechet distance, classifier features")))
SPEED = columns(("seconds an image", "seconds per image"))
SECTIONS = (
    Section(title="Digits 3 and 8: SyCE's family and what it is compared with", tables=("digits", "syce-digits"),
            columns=(*DECIDED, *DISTANCES), picture="sheet-digits.png"),
    Section(title="All ten digits, one network", tables=("ten-digits",), columns=columns(
        ("validity", "mean of 90 pairs: validity"), ("worst pair", "worst pair: validity 1 -> 3"),
        ("second classifier decides as asked, all answers", "mean of 90 pairs: transfer to a second classifier"),
        ("L1", "mean of 90 pairs: L1"),
    ), picture="sheet-ten-digits.png"),
    Section(title="Digits: C3LT", tables=C3LT[0],
            columns=(*SEARCHED, *REBUILT, *REALISM, *SPEED), picture="sheet-c3lt.png"),
    Section(title="Clothes: C3LT", tables=C3LT[1],
            columns=(*SEARCHED, *REBUILT, *REALISM, *SPEED), picture="sheet-c3lt-more.png"),
    Section(title="Digits 4 and 9: C3LT's terms added one by one", tables=("c3lt-ablation-49",),
            columns=(*SEARCHED, *REBUILT, *REALISM,
                     *columns(("FD, classifier features", "Frechet distance, classifier features"))),
            picture="sheet-c3lt-ablation-49.png"),
    Section(title="Digits 4 and 9: CycleGAN, which asks no classifier", tables=("c3lt-cyclegan-49",), columns=(
        *SEARCHED, *REALISM, *columns(("FD, classifier features", "Frechet distance, classifier features")), *SPEED),
        picture="sheet-c3lt-cyclegan-49.png"),
    Section(title="A classifier that never saw a 9: C3LT", tables=("c3lt-rigged",), columns=(
        *SEARCHED, *columns(("an honest classifier decides as asked, all answers", "validity for a second classifier"),
                            REBUILT_ERROR, *REALISM_PAIRS)), picture="sheet-c3lt-rigged.png"),
    Section(title="Digits 3 and 8: the knob of Progressive Exaggeration", tables=("knob-digits",),
            columns=(*KNOB, *columns(("error in thin bins", "knob: mean absolute error, thin bins"))),
            picture="strip-knob-digits.png"),
    Section(title="Coats and shirts: the knob of Progressive Exaggeration", tables=("knob-fashion",), columns=KNOB,
            picture="strip-knob-fashion.png"),
    Section(title="Brain MRI, tumour or none: the knob of Progressive Exaggeration", tables=("knob-brain",),
            columns=(*KNOB, *columns(("error in thin bins", "knob: mean absolute error, thin bins"))),
            picture="strip-knob-brain.png"),
    Section(title="Digits 3 and 8: the losses of Progressive Exaggeration, short runs", tables=("knob-ablation",),
            columns=(*KNOB[:-1], *columns(("error in thin bins", "knob: mean absolute error, thin bins")))),
    Section(title="Brain MRI, tumour or none: medXGAN", tables=("medxgan-brain",), columns=(
        Column(head="validity, tumour to none", label="validity (Val)", direction="tumour -> none"),
        Column(head="validity, none to tumour", label="validity (Val)", direction="none -> tumour"),
        *columns(FOLLOWS, REBUILT_ERROR, *REALISM_PAIRS,
                 ("FD, classifier features", "Frechet distance, classifier features")),
        *(Column(head=f"{head}, tumour to none", label=label, direction="tumour -> none") for head, label in (
            ("confidence drop", "confidence drop"), ("the same, pixels at random", "confidence drop, random ranking (control)"),
            ("share of the image in the map", "share of the image in the map"))),
        *SPEED), picture="medxgan-latents.png"),
    Section(title="Generated lesions, 128 and 64 px: CX-GAN and VA-GAN", tables=("lesions", "lesions-64"), columns=(
        *MAPS, *columns(("lesion left", "residual lesion contrast"), ("change outside", "non-resemblance, outside the lesion")),
        Column(head="validity, healthy to diseased", label="validity (Val)", direction="healthy -> diseased"),
        Column(head="validity, diseased to healthy", label="validity (Val)", direction="diseased -> healthy"), *SPEED,
    ), picture="sheet-lesions.png"),
    Section(title="Digits 3 and 8: baselines", tables=("baselines-digits",), columns=(*SEARCHED, *REALISM, *SPEED),
            picture="sheet-baselines-digits.png"),
    Section(title="T-shirts and pullovers: baselines", tables=("baselines-fashion",), columns=(*SEARCHED, *REALISM, *SPEED),
            picture="sheet-baselines-fashion.png"),
    Section(title="Generated lesions, 64 px: baselines", tables=("baselines-lesions", "baselines-lesions-cam"),
            columns=(*MAPS, *SEARCHED, *REALISM, *SPEED), picture="sheet-baselines-lesions.png"),
    Section(title="Magnetic tiles, 128 px, real defects: baselines", tables=("baselines-tile", "baselines-tile-cam"),
            columns=(*MAPS, *SEARCHED, *REALISM, *SPEED), picture="sheet-baselines-tile.png"),
)  # fmt: skip


def run(*, quick: bool) -> dict[str, Any]:
    """Write docs/results.md; quick only makes it."""
    text = page()
    if not quick:
        write_text(PAGE, text)
        sys.stdout.write(f"{PAGE}\n")
    return {"sections": [section.title for section in SECTIONS]}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(part(section) for section in SECTIONS), means(), confounded(), latents(), answers(), audits(),
                      searches()])  # fmt: skip


def part(section: Section) -> str:
    """Return the part of one table, or several of one kind."""
    lines = [f"## {section.title}\n"]
    for name in section.tables:
        result = read_json(RESULTS / f"{name}.json")
        lines += [f"`python -m benchmarks {name}`: {about(result)}\n", *grid(section, result), ""]
        lines += [f"- {note}" for note in result["notes"]]
        lines += [f"- FD and kernel distance in the embedding: {note}." for note in embeddings(result)]
        lines += [f"- {trips(result)}"] if trips(result) else []
        lines += [f"- {said}" for said in SEEN.get(name, ())]
        lines.append("")
    if section.picture:
        lines.append(f"![{section.title}](../benchmarks/results/{section.picture})\n")
    return "\n".join(lines)


def about(result: Mapping[str, Any]) -> str:
    """Return what a table asks, of how many images, and how good the classifiers are."""
    images = sorted({row["images"] for row in result["rows"] if "images" in row})
    count = f"{images[0]}" if len(images) == 1 else f"{images[0]} to {images[-1]}"
    parts = [result["about"], f"{count} test images."]
    for key, name in (("classifier", "classifier"), ("second_classifier", "second classifier")):
        if found := result[key]:
            balanced = found.get("balanced_test_accuracy")
            parts.append(f"Accuracy of the {name} {found['test_accuracy']:.3f}"
                         + (f", balanced {balanced:.3f}." if balanced is not None else "."))  # fmt: skip
    return " ".join(parts)


def embeddings(result: Mapping[str, Any]) -> list[str]:
    """Return what the distances say of the space that they are taken in."""
    found = {figure["note"]: None for row in result["rows"] for figure in row["figures"]
             if figure["label"] == "Frechet distance, embedding"}  # fmt: skip
    return [note for note in found if note]


def trips(result: Mapping[str, Any]) -> str:
    """Return how far the walks of C3LT are from being each other's inverse."""
    found = [f"{row['row']} " + ", ".join(f"{value:.2f} ({way})" for way, value in row["round_trip"].items())
             for row in result["rows"] if "round_trip" in row]  # fmt: skip
    what = "There and back, h(g(z)) misses z by this share of the way from z to g(z), 0 for true inverses: "
    return what + "; ".join(found) + "." if found else ""


def grid(section: Section, result: Mapping[str, Any]) -> list[str]:
    """Return the table in Markdown; columns that no row fills are left out."""
    printed: dict[tuple[str, str, str], float] = {}
    for one in result["paper"]:
        printed.setdefault((one["ours"] or one["row"], one["metric"], one["direction"]), one["value"])
    rows = [row for row in result["rows"] if "failed" not in row]
    cells = [[cell(row, column, printed) for column in section.columns] for row in rows]
    used = [k for k in range(len(section.columns)) if any(line[k] for line in cells)]
    trained = any("training_minutes" in row for row in rows)
    head = ["", *(section.columns[k].head for k in used), *(["minutes, parameters"] if trained else []), "machine"]
    lines = [line_of(head), line_of(["---"] * len(head))]
    for row, line in zip(rows, cells):
        name = row["row"] + (f", seed {row['seed']}" if row["seed"] else "") + ("" if current(result, row) else " *")
        lines.append(line_of([name, *(line[k] for k in used), *([training(row)] if trained else []), machine(row, result)]))
    return lines


def current(result: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Return whether a row is declared now as it was when it was measured."""
    return result["table"] not in TABLES or declares(TABLES[result["table"]], row)


def cell(row: Mapping[str, Any], column: Column, printed: Mapping[tuple[str, str, str], float]) -> str:
    """Return a figure with its interval and, behind a semicolon, the printed one; empty where the row has none."""
    found = [f for f in row["figures"] if f["label"] == column.label and f["direction"] == column.direction]
    if not found:
        return ""
    figure = found[0]
    text = number(figure["value"])
    if figure["low"] is not None and column.label != "seconds per image":
        text += f" ({number(figure['low'])} to {number(figure['high'])})"
    papers = [printed[key] for key in ((row["row"], name, column.direction) for name in (figure["label"], figure["metric"]))
              if key in printed]  # fmt: skip
    return text + (f"; {papers[0]:.3g}" if papers else "")


def training(row: Mapping[str, Any]) -> str:
    """Return how long a row was trained, and how many numbers it learns."""
    if "training_minutes" not in row:
        return ""
    count = sum(row.get("parameters", {}).values())
    return f"{row['training_minutes']:.0f}" + (f", {count:,}" if count else "")


def machine(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Return the letter of the machine that a row was evaluated on."""
    found = row.get("hardware") or result["hardware"]
    if found["gpu"]:
        return str(found["gpu"])
    return "A" if "AMD" in found["processor"] else "B" if found["amx_bf16"] else "C"


def line_of(cells: Iterable[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def means() -> str:
    """Return the means over three pairs of classes, as C3LT prints them, its own printed row below.

    A row with other settings for one of the pairs has none.
    """
    lines = ["## C3LT: means over three pairs of classes\n"]
    for name, pairs in (("digits", C3LT[0]), ("clothes", C3LT[1])):
        results = [read_json(RESULTS / f"{pair}.json") for pair in pairs]
        found = [{row["row"]: {f["label"]: f["value"] for f in row["figures"] if f["direction"] == "all"}
                  for row in result["rows"] if "failed" not in row} for result in results]  # fmt: skip
        settings = [{row["row"]: row["settings"] for row in result["rows"]} for result in results]
        lines += [line_of([name, *(column.head for column in AVERAGED)]), line_of(["---"] * (1 + len(AVERAGED)))]
        for row in [row for row in found[0] if all(row in one for one in found)]:
            if any(one[row] != settings[0][row] for one in settings):
                continue
            values = [[one[row][column.label] for one in found if column.label in one[row]] for column in AVERAGED]
            lines.append(line_of([row, *(f"{statistics.mean(v):.4g}" if len(v) == len(found) else "" for v in values)]))
        printed = {one["metric"]: one["value"] for one in results[0]["paper"]
                   if one["row"] == "C3LT" and one["table"] != "table_5_ablation_mnist"}  # fmt: skip
        printed["L1 on [0, 1]"] = printed["L1 on [-1, 1] (C3LT's scale)"] / 2
        lines += [line_of(["C3LT, printed", *(f"{printed[c.label]:.4g}" if c.label in printed else "" for c in AVERAGED)]), ""]
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a figure in three digits, in more where a share that is not all would look like it."""
    text = f"{value:.3g}"
    return f"{value:.5g}" if text == "1" and value < 1 else text


def between(share: float, ends: Any) -> str:
    """Return a figure with its interval."""
    return number(share) + (f" ({number(ends[0])} to {number(ends[1])})" if ends else "")


def confounded() -> str:
    """Return how often explanations flip a mark that goes with the class, of a biased and an unbiased classifier."""
    result = read_json(RESULTS / "confounder.json")
    lines = ["## A mark that goes with the digit: is the biased classifier found out?\n",
             f"`python -m benchmarks confounder`: {result['about']}\n",
             line_of(["", "images", "flips, biased", "flips, unbiased", "difference", "ratio", "valid, biased and unbiased"]),
             line_of(["---"] * 7)]  # fmt: skip
    for name, row in result["rows"].items():
        for way, found in row.items():
            if way.startswith("from ") and found["images"]:
                flips = [between(one["share"], one["interval"]) for one in found["flips"].values()]
                ratio = "" if found["ratio"] is None else f"{found['ratio']:.2f}"
                valid = ", ".join(f"{found['valid'][kind]:.3f}" for kind in ("biased", "unbiased"))
                gap = between(found["difference"], found["interval"])
                lines.append(line_of([f"{name}, {way}", str(found["images"]), *flips, gap, ratio, valid]))
    lines += [line_of([f"EPE, {way}, unbiased classifier, biased images", str(found["images"]), "",
                       between(found["share"], found["interval"]), "", "", f"{found['valid']:.3f}"])
              for way, found in result.get("control", {}).items() if found["images"]]  # fmt: skip
    alone = ", ".join(f"{kind} {found['decisions that turn with the mark alone']:.3f} (accuracy {found['accuracy']:.3f})"
                      for kind, found in result["classifiers"].items())  # fmt: skip
    return "\n".join([*lines, "", f"- Decisions that turn when the mark alone is put on or off: {alone}.",
                      *(f"- {note}" for note in result["notes"]), *(f"- {said}" for said in SEEN["confounder"]), "",
                      "![A mark that goes with the digit](../benchmarks/results/confounder.png)\n"])  # fmt: skip


def latents() -> str:
    """Return what medXGAN's latents hold."""
    result = read_json(RESULTS / "medxgan-latents.json")
    lines = ["## Brain MRI: medXGAN's latents\n", f"`python -m benchmarks medxgan-latents`: {result['about']}\n"]
    for part in ("samples", "walks", "latent integrated gradients", "repeated searches"):
        lines += [f"- {part}, {name}: {said}" for name, said in told(result[part])]
    found = result["maps"]
    labels = list(dict.fromkeys(f["label"] for one in found.values() for f in one["figures"] if f["direction"] == "all"))
    lines += ["", line_of(["map", *labels]), line_of(["---"] * (1 + len(labels)))]
    for name, one in found.items():
        cells = {f["label"]: f for f in one["figures"] if f["direction"] == "all"}
        lines.append(line_of([name, *(between(cells[k]["value"], (cells[k]["low"], cells[k]["high"])) if k in cells else ""
                                      for k in labels)]))  # fmt: skip
    printed = ", ".join(f"{name} {value:g}" for name, value in result["paper"].items())
    return "\n".join([*lines, "", f"- The paper prints: {printed}.", *(f"- {note}" for note in result.get("notes", ())),
                      *(f"- {said}" for said in SEEN["medxgan-latents"]), "",
                      "![Brain MRI: deletion and area of the maps](../benchmarks/results/medxgan-curves.png)\n"])  # fmt: skip


def told(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of one part of medXGAN's measurements, name and text; parts within parts are opened."""
    lines: list[tuple[str, str]] = []
    for name, value in part.items():
        if isinstance(value, Mapping) and "value" not in value:
            lines += [(f"{name}, {inner}", said) for inner, said in told(value)]
        elif isinstance(value, Mapping):
            ends = None if value.get("low") is None else (value["low"], value["high"])
            lines.append((name, "none" if value["value"] is None else f"{between(value['value'], ends)}, n {value['n']}"))
        else:
            lines.append((name, ", ".join(f"{v:.3g}" for v in value) if isinstance(value, list) else f"{value:.4g}"))
    return lines


def answers() -> str:
    """Return what several answers to one image look like."""
    result = read_json(RESULTS / "answers.json")
    places = result["answers that brighten only the place"]
    lines = [
        "## Several answers to one image\n", f"`python -m benchmarks answers`: {result['about']}\n",
        f"- {result['images']} healthy images, {result['answers an image']} answers each: {result['valid answers']:.3f} valid; "
        + ", ".join(f"{share:.3f} in {name}" + ("" if name == "both" else " alone") for name, share in places.items()) + ".",
        *(f"- {note}" for note in result["notes"]), *(f"- {said}" for said in SEEN["answers"]), "",
        "![Several answers to one image](../benchmarks/results/answers.png)\n",
    ]  # fmt: skip
    return "\n".join(lines)


def audits() -> str:
    """Return what the audits found."""
    result = read_json(RESULTS / "audits.json")
    marks = {True: "passes", False: "fails", None: "not asked"}
    names = [check["name"] for check in next(iter(result["rows"].values()))["checks"]]
    lines = ["## Audits\n", f"`python -m benchmarks audits`: {result['about']}\n", line_of(["", *names]),
             line_of(["---"] * (len(names) + 1))]  # fmt: skip
    for name, row in result["rows"].items():
        said = [marks[check["passed"]] + (f" ({check['value']:.2f})" if check["value"] is not None else "")
                for check in row["checks"]]  # fmt: skip
        lines.append(line_of([name, *said]))
    return "\n".join([*lines, "", *(f"- {said}" for said in SEEN["audits"]), ""])


def searches() -> str:
    """Return how long searches take."""
    result = read_json(RESULTS / "searches.json")
    lines = ["## Searches, all images at once\n", f"`python -m benchmarks searches`: {result['about']}\n",
             line_of(["", "images", "seconds", "threads", "seconds an image", "validity", "machine"]),
             line_of(["---"] * 7)]  # fmt: skip
    for name, row in result["rows"].items():
        lines.append(line_of([name, str(row["images"]), f"{row['wall seconds']:.3g}", str(row["threads"]),
                              f"{row['seconds an image']:.3g}", f"{row['validity']:.3g}", machine(row, result)]))  # fmt: skip
    paper = ", ".join(f"{name} {value:g}" for name, value in result["paper, seconds a sample"].items())
    return "\n".join([*lines, "", f"- The papers print, in seconds an image on a GPU: {paper}.", ""])
