"""The one loop over a tensor: inversion, latent descent, adversarial search and masks are all `minimise`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

Objective = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
"""(values (M, ...), rows (M,)) to (M,) losses; `rows` says which of the N queries each value belongs to.

Beside the losses it may return (M, ...) what it saw on the way, which then is what `done` and `settled` look at."""


PART = 32
"""Rows that are worked on together on a CPU."""


@dataclass(frozen=True)
class Minimum:
    """What `minimise` found, one row a query.

    Args:
        value: (N, ...) the best value seen.
        loss: (N,) its loss.
        steps: (N,) how many steps the query took, over its best restart.
        stopped: (N,) bool, `done` held before the steps ran out.
    """

    value: Tensor
    loss: Tensor
    steps: Tensor
    stopped: Tensor


def minimise(
    objective: Objective,
    start: Tensor,
    *,
    steps: int,
    rate: float = 1e-2,
    update: Literal["adam", "sgd", "sign"] = "adam",
    project: Callable[[Tensor, Tensor], Tensor] | None = None,
    done: Callable[[Tensor, Tensor], Tensor] | None = None,
    settled: Callable[[Tensor, Tensor], Tensor] | None = None,
    keep: Literal["best", "last"] = "best",
    check_every: int = 1,
) -> Minimum:
    """Minimise each row of a tensor for itself, all rows at once.

    Rows never influence each other, so an answer does not depend on its batch mates. A row that is done or
    settled leaves the batch and costs nothing more. Gradients go to the values only: no network's `.grad` is touched.

    Args:
        objective: the loss of each row; it is called with gradients on.
        start: (N, ...); for R restarts R * N rows, restart-major, and `best_restart` afterwards.
        steps: at most.
        rate: step size; for "sign" the change of every entry a step.
        update: Adam, plain gradient descent, or the sign of the gradient (PGD).
        project: (values, rows) to allowed values, after every step and on the start.
        done: (values, rows) to (M,) bool, these values are good enough and what is returned; asked every `check_every` steps, of
            the values whose losses were just taken, or of what the objective saw of them.
        settled: (values, rows) to (M,) bool, these rows get no better and keep what `keep` says; asked after `done`, of the
            same.
        keep: the value with the least loss (of those that are done, if any are), or the last one.
        check_every: steps between two looks at `done` and `settled`.

    Returns:
        Minimum: one row a row of `start`.

    Raises:
        ValueError: impossible numbers, or an objective that does not return one loss a row.
        FloatingPointError: a loss that is not finite.
    """
    if steps < 1 or rate <= 0 or check_every < 1:
        raise ValueError(f"steps, rate, check_every: expected positive numbers, got {steps}, {rate:g}, {check_every}")
    if update not in ("adam", "sgd", "sign") or keep not in ("best", "last"):
        raise ValueError("update, keep: expected 'adam', 'sgd' or 'sign', and 'best' or 'last', got "
                         f"{update!r}, {keep!r}")  # fmt: skip
    rows = torch.arange(len(start), device=start.device)
    value = start.detach().clone() if project is None else project(start.detach(), rows).clone()
    best = Minimum(value.clone(), torch.full((len(start),), torch.inf, device=start.device),
                   torch.zeros_like(rows), torch.zeros(len(start), dtype=torch.bool, device=start.device))  # fmt: skip
    value.requires_grad_(True)
    optimizer = _optimizer(update, value, rate)
    for index in range(steps + 1):
        loss, seen = _losses(objective, value, rows, index, slope=index < steps)
        _note(best, value.detach(), loss, rows, index, keep)
        if index % check_every == 0 or index == steps:
            finished = _asked(done, seen, rows)
            best.value[rows[finished]], best.loss[rows[finished]] = value.detach()[finished], loss[finished].to(best.loss)
            best.stopped[rows[finished]] = True
            leaves = finished | _asked(settled, seen, rows)
            if bool(leaves.any()):
                rows, value, optimizer = _drop(leaves, rows, value, optimizer, update, rate)
                if len(rows) == 0:
                    break
        if index == steps:
            break
        if update == "sign" and value.grad is not None:
            value.grad.sign_()
        optimizer.step()
        if project is not None:
            with torch.no_grad():
                value.copy_(project(value.detach(), rows))
    return best


def best_restart(found: Minimum, restarts: int) -> Minimum:
    """Return the best of R restarts a query from R * N rows (restart-major): a done one first, then the least loss."""
    loss, stopped = found.loss.view(restarts, -1), found.stopped.view(restarts, -1)
    loss = torch.where(stopped | ~stopped.any(0), loss, torch.inf)
    queries = torch.arange(loss.shape[1], device=loss.device)
    index = loss.argmin(0) * loss.shape[1] + queries
    return Minimum(found.value[index], found.loss[index], found.steps[index], found.stopped[index])


def _optimizer(update: str, value: Tensor, rate: float) -> Optimizer:
    return Adam([value], rate) if update == "adam" else SGD([value], rate)


def _parts(value: Tensor) -> list[slice]:
    """Return the rows that are worked on together: on a CPU the activations of a few stay in its caches.

    Measured on digits and 2 cores: 32 rows at a time take 0.75 of the seconds of 256, 64 take 0.8.
    """
    size = PART if value.device.type == "cpu" else max(1, len(value))
    return [slice(first, first + size) for first in range(0, max(1, len(value)), size)]


def _asked(question: Callable[[Tensor, Tensor], Tensor] | None, seen: Tensor, rows: Tensor) -> Tensor:
    """Return (M,) the answers of `done` or `settled`, no where there is no question."""
    if question is None:
        return torch.zeros_like(rows, dtype=torch.bool)
    with torch.no_grad():
        return torch.cat([question(seen[part], rows[part]) for part in _parts(seen)])


def _losses(objective: Objective, value: Tensor, rows: Tensor, index: int, *, slope: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of each row and what was seen of it, and leave the slopes in the values' `.grad` if they are wanted."""
    losses: list[Tensor] = []
    seen: list[Tensor] = []
    slopes: list[Tensor] = []
    for part in _parts(value):
        few = value.detach()[part].requires_grad_(True)
        with torch.enable_grad():  # an explainer calls from within no_grad, under which a sum has no graph
            found = objective(few, rows[part])
            loss, saw = found if isinstance(found, tuple) else (found, few)
            _check(loss, rows[part], index)
            if slope:
                slopes += torch.autograd.grad(loss.sum(), few)
        losses.append(loss.detach())
        seen.append(saw.detach())
    value.grad = torch.cat(slopes) if slope else None
    return torch.cat(losses), torch.cat(seen)


def _check(loss: Tensor, rows: Tensor, index: int) -> None:
    if loss.shape != rows.shape:
        raise ValueError(f"objective: expected one loss a row, shape {tuple(rows.shape)}, got {tuple(loss.shape)}; "
                         "take the mean over everything but the first axis")  # fmt: skip
    if not bool(torch.isfinite(loss).all()):
        bad = rows[~torch.isfinite(loss)].tolist()
        raise FloatingPointError(f"step {index}: the loss of rows {bad[:5]} is not finite; lower the rate")


def _note(best: Minimum, value: Tensor, loss: Tensor, rows: Tensor, index: int, keep: str) -> None:
    better = loss < best.loss[rows] if keep == "best" else torch.ones_like(rows, dtype=torch.bool)
    best.value[rows[better]] = value[better]
    best.loss[rows[better]] = loss[better].to(best.loss)
    best.steps[rows] = index


def _drop(
    finished: Tensor, rows: Tensor, value: Tensor, optimizer: Optimizer, update: str, rate: float
) -> tuple[Tensor, Tensor, Optimizer]:
    """Take the finished rows out of the batch, and out of the optimiser's memory."""
    left = ~finished
    kept = value.detach()[left].clone().requires_grad_(True)
    kept.grad = None if value.grad is None else value.grad[left]
    fresh = _optimizer(update, kept, rate)
    for slot, memory in optimizer.state.get(value, {}).items():
        whole = isinstance(memory, Tensor) and memory.shape == value.shape
        fresh.state[kept][slot] = memory[left].clone() if whole else memory
    return rows[left], kept, fresh
