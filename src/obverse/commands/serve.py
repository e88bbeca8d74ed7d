"""obverse serve RUN..."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from obverse.commands.options import parse


@dataclass(kw_only=True)
class ServeOptions:
    """What to serve, and where.

    Args:
        runs: run folders of trained explainers of one classifier; none opens the one that comes with obverse.
        baseline: names of baselines beside them, e.g. pgd gradcam.
        reports: report files (JSON) whose scores are shown; those in run folders are found.
        data: images to show; default those of the first run.
        data_dir: where the files of a named set are.
        host: address to listen on; anything but 127.0.0.1 lets other machines in.
        port: to listen on; default the first free one from 7860.
    """

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")] = ()
    baseline: tuple[str, ...] = ("pgd", "nearest", "gradcam")
    reports: tuple[Path, ...] = ()
    data: str | None = None
    data_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None


def run(arguments: list[str]) -> int:
    """Serve the app until interrupted."""
    about = "Turn the knob, compare explainers, look through the data set, keep the report: in a browser."
    options: ServeOptions = parse("serve", about, {"serve": ServeOptions}, arguments)["serve"]
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise ValueError("serve: needs the extra `app`; pip install -e '.[app]' in obverse's folder")
    import torch  # heavy, like what follows

    from obverse.app.server import serve
    from obverse.app.state import BUNDLED, Workbench

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # one core is left for the page
    bench = Workbench(options.runs or (BUNDLED,), baselines=options.baseline, reports=options.reports, data=options.data,
                      data_dir=options.data_dir)  # fmt: skip
    serve(bench, host=options.host, port=options.port)
    return 0
