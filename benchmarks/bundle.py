"""Pack a run of the demo into the package, as what `obverse serve` opens: `python -m benchmarks.bundle demo/explainer`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from obverse.app.state import BUNDLED, SCORED
from obverse.checkpoint import beside
from obverse.commands.runs import JudgeOptions
from obverse.evaluation import evaluate
from obverse.training import history_of

FOLDERS, FILES = ("best", "classifier"), ("config.json", "run.json")
MOST_WEIGHTS = 3_000_000  # bytes of safetensors


def bundle(run: Path, out: Path = BUNDLED) -> None:
    """Copy weights, classifier and settings of a run, and score it on its test images.

    Args:
        run: the run folder of a trained explainer.
        out: where it goes; what is there is replaced once the new one is whole.

    Raises:
        FileNotFoundError: a run without weights, classifier or settings.
        ValueError: more weights than a package should carry.
    """
    for name in (*FOLDERS, *FILES):
        if not (run / name).exists():
            raise FileNotFoundError(f"run: {run / name} is missing; pass the folder of a run that `obverse fit` has ended")
    weights = [*(run / "best").glob("*.safetensors"), *(run / "classifier").rglob("*.safetensors")]
    size = sum(path.stat().st_size for path in weights)
    if size > MOST_WEIGHTS:
        raise ValueError(
            f"run: expected at most {MOST_WEIGHTS} bytes of weights, {run} has {size}; train a smaller one"
        )
    new, old = beside(out)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for name in FOLDERS:
            shutil.copytree(run / name, new / name)
        for name in FILES:
            shutil.copy(run / name, new / name)
        opened = JudgeOptions().open(new)
        report = evaluate(opened.explainer, opened.data, validation=opened.validation, reference=opened.train,
                          history=history_of(run), metrics=SCORED, examples=0)  # fmt: skip
        report.save(new / "report.json")
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    bundle(Path(sys.argv[1]))
