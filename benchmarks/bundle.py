"""Pack a run of the demo into the package, as what `obverse serve` opens: `python -m benchmarks.bundle demo/explainer`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from obverse.app.state import BUNDLED, SCORED
from obverse.commands.runs import JudgeOptions
from obverse.evaluation import evaluate
from obverse.training import history_of

MOST_WEIGHTS = 3_000_000  # bytes of safetensors


def bundle(run: Path, out: Path = BUNDLED) -> None:
    """Copy weights, classifier and settings of a run, and score it on its test images.

    Args:
        run: the run folder of a trained explainer.
        out: where it goes; what is there is replaced.

    Raises:
        ValueError: more weights than a package should carry.
    """
    weights = [*(run / "best").glob("*.safetensors"), *(run / "classifier").rglob("*.safetensors")]
    size = sum(path.stat().st_size for path in weights)
    if size > MOST_WEIGHTS:
        raise ValueError(
            f"run: expected at most {MOST_WEIGHTS} bytes of weights, {run} has {size}; train a smaller one"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in ("best", "classifier"):
        shutil.copytree(run / name, out / name)
    for name in ("config.json", "run.json"):
        shutil.copy(run / name, out / name)
    opened = JudgeOptions().open(out)
    report = evaluate(opened.explainer, opened.data, validation=opened.validation, reference=opened.train,
                      history=history_of(run), metrics=SCORED, examples=0)  # fmt: skip
    report.save(out / "report.json")


if __name__ == "__main__":
    bundle(Path(sys.argv[1]))
