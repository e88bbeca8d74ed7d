"""The one loop over data: a step is a generator of moves, `fit` does everything else."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from obverse.batches import Batches, Step
from obverse.checkpoint import read_json, save_folder
from obverse.data.base import Dataset, Sample
from obverse.memory import keep_memory
from obverse.modules import default_device
from obverse.progress import Progress
from obverse.runs import Existing, RunFolder, device_name
from obverse.state import State

if TYPE_CHECKING:
    from accelerate import Accelerator

Moves = Generator[tuple[str, Mapping[str, Tensor]], None, None]
"""What `train_step` yields: (player, named weighted losses)."""
Precision = Literal["auto", "float32", "bf16"]


class Trainable(ABC):
    """Anything that `fit` can train; all that outlives a step is a parameter or a buffer in `networks`."""

    networks: nn.ModuleDict
    full_precision: ClassVar[bool] = False
    """Whether "auto" stays at float32 also where bf16 is faster."""
    from_samples: ClassVar[bool] = False
    """Whether it can be trained without images, on samples of a generator."""

    @abstractmethod
    def players(self) -> dict[str, Optimizer]:
        """Return a fresh optimiser a player, over parameters of `networks`."""

    @abstractmethod
    def train_step(self, batch: Sample, step: Step) -> Moves:
        """Yield the moves of one step; code after a `yield` sees the updated weights."""

    @abstractmethod
    def validate(self, data: Dataset) -> float:
        """Return a score, lower is better, of the (averaged) weights."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what it is and its settings, as JSON can hold them; a resumed run must agree."""

    def groups(self, data: Dataset) -> Tensor | None:
        """Return one integer a sample (-1 leaves it out); a batch has equal numbers of each, sorted; None: one group."""
        return None

    def weights(self, data: Dataset) -> Tensor | None:
        """Return (N,) how often each image is drawn, in relation, with replacement; None: each once an epoch."""
        return None

    def rate(self, step: Step) -> float:
        """Return what multiplies every player's learning rate at this step."""
        return 1.0

    def pictures(self, data: Dataset) -> Tensor | None:
        """Return a (C, H, W) picture in [0, 1] for the run folder, or None."""
        return None

    def finish(self, data: Dataset) -> bool:
        """Do what is left to do on validation images with the weights that are kept; return whether `networks` changed."""
        return False

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return default_device()

    def save(self, folder: str | Path) -> None:
        """Write `settings.json` and `networks.safetensors`, whole or not at all."""
        save_folder(folder, {"networks": dict(self.networks.state_dict())}, {"settings": self.describe()})


@dataclass(frozen=True)
class History:
    """What a run did.

    Args:
        steps: taken in all, resumed ones included.
        seconds: in training, resumed ones included.
        best_step, best_score: of the weights kept; None without validation.
        curve: (step, score) at every validation.
        stopped_by: "steps" or "max_minutes"; a run folder does not know the latter from a request to stop.
        device: what the last step ran on.
    """

    steps: int
    seconds: float
    best_step: int | None
    best_score: float | None
    curve: tuple[tuple[int, float], ...]
    stopped_by: str
    device: str = "unknown"


def history_of(run: str | Path) -> History:
    """Read what a run did from its folder.

    Raises:
        FileNotFoundError: no run there.
    """
    meta = read_json(Path(run) / "checkpoint" / "state.json")
    curve = tuple((int(step), float(score)) for step, score in meta["curve"])
    wanted = read_json(Path(run) / "config.json")["fit"]["steps"]
    stopped_by = "steps" if meta["step"] >= wanted else "max_minutes or a request to stop"
    device = meta.get("device", "unknown")
    return History(meta["step"], meta["seconds"], meta["best_step"], meta["best_score"], curve, stopped_by, device)


def fit(
    trainable: Trainable,
    data: Dataset | None,
    *,
    validation: Dataset | None = None,
    steps: int = 1000,
    batch_size: int = 128,
    validate_every: int = 250,
    max_minutes: float | None = None,
    run_dir: str | Path | None = None,
    existing: Existing = "refuse",
    average: float = 0.99,
    precision: Precision = "auto",
    seed: int = 0,
    progress: bool = True,
    opened: Callable[[Path], None] | None = None,
) -> History:
    """Train anything trainable, and leave it with the weights that did best on validation.

    Validation runs on averaged weights. The run folder gets `config.json`, `metrics.jsonl`, `samples/`, `checkpoint/`
    (the last state, exact to resume) and `best/`. Ctrl-C and SIGTERM save after the current step, then stop.

    Args:
        trainable: an explainer, a generative model or a classifier in training.
        data: training images; None trains from samples of a generator alone.
        validation: images that choose the best weights; None keeps the averaged last ones.
        steps: how many in all.
        batch_size: images a step over all groups and processes, equally many of each; rounded down to a multiple of both.
        validate_every: steps between validations, checkpoints and sample pictures.
        max_minutes: of training; the run then stops as if its steps were done.
        run_dir: folder for the run; None writes nothing.
        existing: what to do with a folder that holds a run: "refuse", "resume" or "overwrite".
        average: share of the old average kept a step (with a warm-up); 0 takes the plain weights.
        precision: "auto" is bf16 autocast where the machine is fast at it.
        seed: of data order, noise and nothing else; networks are initialised by whoever made them.
        progress: show a bar (where the output is no terminal, a line a validation and one a minute).
        opened: called with the run folder before the first step, by one process, to put beside what `fit` writes there.

    Returns:
        History: steps, seconds, validation curve.

    Raises:
        TypeError: data that are no `Dataset`.
        ValueError: impossible arguments, no images for what cannot do without or images of another shape, or a folder with
            another run.
        FloatingPointError: a loss that is not finite, naming player, loss and step.
        RuntimeError: a `train_step` that yields inside a `with` block.
        KeyboardInterrupt: after the state was saved.
        OSError: the disk is full; the previous checkpoint survives.
    """
    _check(steps, batch_size, validate_every, average, max_minutes, seed)
    for name, word, known in (("existing", existing, get_args(Existing)), ("precision", precision, get_args(Precision))):
        if word not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {word!r}; leave it out for {known[0]}")
    accelerator = _accelerator(trainable.device)
    device, world, rank = trainable.device, accelerator.num_processes, accelerator.process_index
    if device.type == "cpu":
        keep_memory()
    networks = trainable.networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, images in (("data", data), ("validation", validation)):
        _check_images(trainable, name, images)
    if validation is not None and len(validation) == 0:
        raise ValueError("validation: expected at least one image, got none; check the split, or leave it out")
    if data is None and not trainable.from_samples:
        raise ValueError(f"data: {type(trainable).__name__} is trained on images, got None; pass a data set (or, in a class of "
                         "your own whose train_step makes its images, set from_samples = True)")  # fmt: skip
    RunFolder.check(run_dir, existing)  # before anything looks at the data, and remembers it
    batches = Batches(trainable, data, batch_size, seed, rank, world, device)
    batch_size = batches.size
    facts = None if data is None else {"name": data.name, "shape": list(data.image_shape), "count": len(data)}
    settings = {"data": facts, "steps": steps, "batch_size": batch_size, "average": average, "precision": precision, "seed": seed}
    folder = RunFolder.open(run_dir, trainable.describe(), settings, existing, main=accelerator.is_main_process,
                            wait=accelerator.wait_for_everyone)  # fmt: skip
    if opened is not None and folder.path is not None and accelerator.is_main_process:
        opened(folder.path)
    players = trainable.players()  # after the folder, which may be refused: some forget here what they knew
    state = State(networks, players, average)
    folder.restore(state)
    machine = device_name(device)
    low = in_bf16("float32" if precision == "auto" and trainable.full_precision else precision, device)

    def keep(score: float | None) -> None:  # the averaged weights, if they are the best so far
        if score is None or state.best_score is None or score < state.best_score:
            state.best_step, state.best_score = state.step, score
            with state.averaged():
                folder.save_best(trainable)
            state.remember_best()

    spent = max_minutes is not None and state.seconds >= 60 * max_minutes  # by the run that is resumed
    started, before, stopped_by = time.monotonic(), state.seconds, "max_minutes" if spent else "steps"
    with stop_requests() as asked, Progress(state.step, steps, batch_size, shown=progress and rank == 0) as bar:
        while state.step < steps and stopped_by == "steps":
            step = Step(state.step, steps, seed, batches.rows, batches.blocks, rank, world, device)
            for player, optimizer in players.items():
                for group, base in zip(optimizer.param_groups, state.rates[player]):
                    group["lr"] = base * trainable.rate(step)
            networks.train()
            losses = _take_step(trainable, batches(state.step), step, players, low, accelerator)
            state.advance(time.monotonic() - started + before, machine)
            bar.advance(losses)
            stop = _any(accelerator, asked.is_set(), device)
            late = _any(accelerator, max_minutes is not None and state.seconds >= 60 * max_minutes, device)
            due = state.step % validate_every == 0 or state.step == steps or late
            if due:
                score, picture = _validate(trainable, state, validation, data if validation is None else validation)
                folder.log(state.step, state.seconds, losses, score)
                folder.picture(state.step, picture)
                bar.validated(state.step, losses, score)
                keep(score)
            if due or stop:  # a stop adds no validation: the resumed run must equal one that was never stopped
                folder.save(state)
                accelerator.wait_for_everyone()
            if stop:
                raise KeyboardInterrupt(f"stopped after step {state.step} of {steps}; {folder.remedy()}")
            if late and state.step < steps:
                stopped_by = "max_minutes"
    state.load_best()
    networks.eval()
    if validation is not None and trainable.finish(validation):
        folder.save_best(trainable)
    curve = tuple(state.curve)
    return History(state.step, state.seconds, state.best_step, state.best_score, curve, stopped_by, state.device)


def _check_images(trainable: Trainable, name: str, data: Dataset | None) -> None:
    if data is None:
        return
    if not isinstance(data, Dataset):
        raise TypeError(f"{name}: expected an obverse Dataset, got {type(data).__name__}; open one with obverse.data.open, or "
                        "put tensors into an obverse.data.MemoryDataset")  # fmt: skip
    shape = getattr(trainable, "image_shape", None)  # an explainer has none: its classifier looks at every image
    if shape is not None and tuple(shape) != data.image_shape:
        raise ValueError(f"{name}: expected images of shape {tuple(shape)} for {type(trainable).__name__}, got "
                         f"{data.image_shape}; open them with that size, or make it for these")  # fmt: skip


def _take_step(
    trainable: Trainable, batch: Sample, step: Step, players: dict[str, Optimizer], low: bool, accelerator: Accelerator
) -> dict[str, Tensor]:
    """Play every move of one step and return its losses by "player/name"."""
    moves, row = trainable.train_step(batch, step), dict[str, Tensor]()
    while True:
        # entered and left around every move: kept open, autocast would reuse the old weights
        with torch.autocast(step.device.type, torch.bfloat16, enabled=low):
            depth = _autocast_depth()
            move = next(moves, None)
            clean = _autocast_depth() == depth and torch.is_grad_enabled()
            if not clean:
                moves.close()  # unwinds the step's own with blocks here, in order
                torch.set_grad_enabled(True)
                raise RuntimeError("train_step yielded inside a with block of torch.no_grad, inference_mode or "
                                   "autocast; yield outside it")  # fmt: skip
        if move is None:
            return row
        player, losses = move
        if player not in players:
            raise ValueError(f"train_step yielded player {player!r}, expected one of {sorted(players)}")
        total = torch.stack([loss.float() if loss.dtype != torch.float64 else loss for loss in losses.values()]).sum()
        if not bool(torch.isfinite(total)):
            bad = [name for name, loss in losses.items() if not bool(torch.isfinite(loss))] or list(losses)
            raise FloatingPointError(f"step {step.index}: player {player!r}: loss {', '.join(map(repr, bad))} is not "
                                     "finite; lower the learning rate or its weight, or train with "
                                     "precision='float32'")  # fmt: skip
        row |= {f"{player}/{name}": loss.detach() for name, loss in losses.items()}
        optimizer = players[player]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad()
        total.backward(inputs=parameters)
        if accelerator.num_processes > 1:
            _average_gradients(accelerator, parameters)
        optimizer.step()


def _validate(
    trainable: Trainable, state: State, validation: Dataset | None, shown: Dataset | None
) -> tuple[float | None, Tensor | None]:
    """Score the averaged weights, and draw them."""
    trainable.networks.eval()
    with state.averaged(), torch.no_grad():
        score = None if validation is None else float(trainable.validate(validation))
        picture = None if shown is None else trainable.pictures(shown)
    if score is not None:
        state.curve.append((state.step, score))
        if not math.isfinite(score):
            raise FloatingPointError(f"step {state.step}: the validation score is {score}; check {type(trainable).__name__}"
                                     ".validate and the validation images")  # fmt: skip
    return score, picture


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """SIGTERM and Ctrl-C ask; the loop answers after the step. A second Ctrl-C does not wait. Only the main thread can listen."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt("stopped at once; what was saved before is whole")
        asked.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_bf16(precision: Precision, device: torch.device) -> bool:
    """Say whether bf16 autocast is on: where it is faster, for "auto"."""
    return use_bf16(device) if precision == "auto" else precision == "bf16"


def use_bf16(device: torch.device) -> bool:
    """Say whether bf16 autocast is faster than float32 on this device.

    On CPUs with AMX, and on AMD's with AVX512-BF16, where convolutions measured twice as fast as in float32. On Intel's
    with AVX512-BF16 alone they measured 1.2 to 1.9 times slower. Nor on a GPU, where networks of these sizes wait for
    launches and autocast adds to them: on an H100 a step of Progressive Exaggeration (28 px, width 32, batch 128) took 67 ms
    in float32 and 83 ms in bf16. Ask for "bf16" for wide networks on large images.
    """
    has = torch.cpu.get_capabilities()
    amd = bool(has.get("avx512_bf16")) and str(has.get("cpu_name", "")).startswith("AMD")
    return device.type == "cpu" and (bool(has.get("amx_bf16")) or amd)


def _autocast_depth() -> int:
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth


def _average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """One all-reduce for a player's gradients; every process holds one for each parameter, or the run would hang."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    heard = gradients[0].new_tensor([float(p.grad is not None) for p in parameters])
    flat = accelerator.reduce(torch.cat([*(g.reshape(-1) for g in gradients), heard]), "mean")
    *parts, heard = flat.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, part, share in zip(parameters, parts, heard.tolist()):  # one that no process moved stays put
        parameter.grad = part.view(parameter.shape) if share > 0 else None


def _any(accelerator: Accelerator, here: bool, device: torch.device) -> bool:
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=device), "sum") > 0)


def _accelerator(device: torch.device) -> Accelerator:
    from accelerate import Accelerator  # a second to import; only training needs it
    from accelerate.state import AcceleratorState

    # its state is one for the process, and refuses to turn to a CPU after a GPU; nothing here asks it for a device
    return Accelerator(cpu=device.type == "cpu" and not AcceleratorState._shared_state)


def _check(steps: int, batch_size: int, validate_every: int, average: float, max_minutes: float | None, seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number from 0 to {2**32 - 1}, got {seed}; choose a smaller one")
    for name, value in (("steps", steps), ("batch_size", batch_size), ("validate_every", validate_every)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if not 0 <= average < 1:
        raise ValueError(f"average: expected a share in [0, 1), got {average:g}; 0 switches averaging off")
    if max_minutes is not None and max_minutes <= 0:
        raise ValueError(f"max_minutes: expected more than 0, got {max_minutes:g}; leave it out for no limit")
