"""All that a run must keep to go on exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class State:
    """All that a run must keep to go on exactly: weights, averages, optimisers, counters, the best so far."""

    def __init__(self, networks: nn.ModuleDict, players: dict[str, Optimizer], average: float) -> None:
        self.networks, self.players, self.decay = networks, players, average
        self.rates = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in players.items()}
        self.average = {k: v.detach().clone() for k, v in moving(networks).items()}
        self.step, self.seconds, self.device = 0, 0.0, "unknown"  # the name of what the last step ran on
        self.best_step: int | None = None
        self.best_score: float | None = None
        self.best: dict[str, Tensor] | None = None
        self.curve: list[tuple[int, float]] = []

    def advance(self, seconds: float, device: str) -> None:
        """Count a step and move the averages, quickly at first: the start is noise."""
        self.step, self.seconds, self.device = self.step + 1, seconds, device
        keep = min(self.decay, (1 + self.step) / (10 + self.step)) if self.decay else 0.0
        own = moving(self.networks)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), [own[k].detach() for k in self.average], 1 - keep)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The networks with averaged parameters and running statistics; other buffers stay as they are."""
        own = {k: v.detach().clone() for k, v in moving(self.networks).items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def remember_best(self) -> None:
        """Keep the averaged weights, and the other buffers of the moment, in memory."""
        buffers = {k: v.detach().clone() for k, v in self.networks.named_buffers()}
        self.best = {**buffers, **{k: v.clone() for k, v in self.average.items()}}

    def load_best(self) -> None:
        """Put the best weights into the networks."""
        if self.best is not None:
            self.networks.load_state_dict(self.best, strict=False)  # buffers that are not saved stay

    def _put(self, values: Mapping[str, Tensor]) -> None:
        own = moving(self.networks)
        with torch.no_grad():
            for key, value in values.items():
                own[key].copy_(value)


def moving(networks: nn.ModuleDict) -> dict[str, Tensor]:
    """Return what is averaged: parameters, and the statistics of batch norms, which belong to the weights they ran with."""
    statistics = {k: v for k, v in networks.named_buffers() if k.endswith(("running_mean", "running_var"))}
    return {**dict(networks.named_parameters()), **statistics}
