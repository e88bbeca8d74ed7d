"""What a run shows while it goes: a bar in a terminal, a line a validation and one a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from torch import Tensor

MINUTE = 60.0
"""Seconds without a word, where the output is no terminal."""


class Progress:
    """A progress bar with losses, images per second and time left."""

    def __init__(self, start: int, steps: int, batch_size: int, *, shown: bool) -> None:
        self.start, self.steps, self.batch_size = start, steps, batch_size
        self.shown, self.terminal = shown, shown and sys.stderr.isatty()
        self._began = self._drawn = time.monotonic()
        self._done = 0

    def __enter__(self) -> Progress:
        if self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[said]}"))
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("fit", total=self.steps, completed=self.start, said="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.terminal:
            self._bar.stop()

    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Count one step; the losses are drawn at most five times a second."""
        self._done += 1
        now = time.monotonic()
        last = self.start + self._done == self.steps
        if self.terminal and (now - self._drawn > 0.2 or last):
            self._drawn = now
            self._bar.update(self._task, completed=self.start + self._done, said=f"{self._speed()}  {_words(losses)}")
        elif self.shown and not self.terminal and now - self._drawn > MINUTE and not last:
            self._drawn = now
            sys.stderr.write(self._line(self.start + self._done, "", losses) + "\n")

    def validated(self, step: int, losses: Mapping[str, Tensor], score: float | None) -> None:
        """Say what a validation found."""
        if not self.shown:
            return
        line = self._line(step, "" if score is None else f"validation {score:.4f}  ", losses)
        if self.terminal:
            self._bar.console.print(line, highlight=False)
        else:
            self._drawn = time.monotonic()
            sys.stderr.write(line + "\n")

    def _line(self, step: int, said: str, losses: Mapping[str, Tensor]) -> str:
        left = (time.monotonic() - self._began) / max(self._done, 1) * (self.steps - step)
        return f"step {step}/{self.steps}  {said}{self._speed()}  {left / 60:.1f} min left  {_words(losses)}"

    def _speed(self) -> str:
        return f"{self._done * self.batch_size / max(time.monotonic() - self._began, 1e-9):.0f} images/s"


def _words(losses: Mapping[str, Tensor]) -> str:
    return "  ".join(f"{name} {float(loss):.3g}" for name, loss in losses.items())
