"""The run folder: settings, losses, sample pictures, the last state and the best weights."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from obverse.checkpoint import beside, contents, load_tensors, read_json, save_folder, settle, write_json, write_text

if TYPE_CHECKING:
    from obverse.state import State
    from obverse.training import Trainable

Existing = Literal["refuse", "resume", "overwrite"]


class RunFolder:
    """Where one run writes; without a path, or in any process but the main one, it writes nothing."""

    def __init__(self, path: Path | None, *, main: bool) -> None:
        self.path, self._writes = path, main and path is not None

    @staticmethod
    def open(
        path: str | Path | None, what: Mapping[str, Any], settings: Mapping[str, Any], existing: Existing, *,
        main: bool, wait: Callable[[], None],
    ) -> RunFolder:  # fmt: skip
        """Make the folder, or check that the run in it can go on; `wait` holds a process until all are there.

        Raises:
            ValueError: the folder holds a run and `existing` is "refuse"; or the run to resume was of another
                method, of another classifier, or with other settings.
        """
        if path is None:
            return RunFolder(None, main=main)
        folder = Path(path)
        config = folder / "config.json"
        RunFolder.check(path, existing)
        others = sorted(set(contents(folder)) - {"classifier", "model", "run.json"})  # what is explained may be there already
        if others and not config.exists():
            raise ValueError(f"run_dir: {folder} holds no run but {others[0]}; choose an empty or a new folder")
        resumes = config.exists() and existing == "resume"
        if resumes:
            _agree(folder, read_json(config), what, settings)
        wait()  # every process has looked before the main one writes
        if main:
            for name in ("checkpoint", "best", "samples"):
                settle(folder / name)
            if config.exists() and not resumes:  # a run to overwrite; without one, a classifier there is the user's
                for name in ("checkpoint", "best", "samples", "classifier", "model"):
                    for place in (folder / name, *beside(folder / name)):
                        shutil.rmtree(place, ignore_errors=True)
                for name in ("metrics.jsonl", "run.json"):
                    (folder / name).unlink(missing_ok=True)
            write_json(config, {"what": dict(what), "fit": dict(settings), "versions": versions()})
        wait()  # and has written before the others read
        return RunFolder(folder, main=main)

    @staticmethod
    def check(path: str | Path | None, existing: Existing) -> None:
        """Refuse a folder that holds a run, if that is asked for.

        Raises:
            ValueError: it does.
        """
        if path is not None and existing == "refuse" and (Path(path) / "config.json").exists():
            raise ValueError(f"run_dir: {path} holds a run already; choose another folder, or pass "
                             "existing='resume' (--resume) to go on or existing='overwrite' (--overwrite)")  # fmt: skip

    def restore(self, state: State) -> None:
        """Put the last state back, if there is one."""
        if self.path is None or not (self.path / "checkpoint").exists():
            return
        tensors = load_tensors(self.path / "checkpoint" / "state.safetensors")
        meta = read_json(self.path / "checkpoint" / "state.json")
        state.networks.load_state_dict(_part(tensors, "networks."))
        state.average = {k: v.to(state.average[k].device) for k, v in _part(tensors, "average.").items()}
        for name, optimizer in state.players.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in _part(tensors, f"players.{name}.").items():
                index, slot = key.split(".", 1)
                slots.setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict({"state": slots, "param_groups": meta["groups"][name]})
        state.step, state.seconds, state.device = meta["step"], meta["seconds"], meta.get("device", "unknown")
        state.best_step, state.best_score = meta["best_step"], meta["best_score"]
        state.curve = [(int(step), float(score)) for step, score in meta["curve"]]
        self._forget_after(state.step)
        if (self.path / "best").exists():
            state.best = load_tensors(self.path / "best" / "networks.safetensors")

    def save(self, state: State) -> None:
        """Write the last state, whole or not at all."""
        if not self._writes or self.path is None:
            return
        tensors = {f"networks.{k}": v for k, v in state.networks.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in state.average.items()}
        groups = {}
        for name, optimizer in state.players.items():
            content = optimizer.state_dict()
            for index, slots in content["state"].items():
                tensors |= {f"players.{name}.{index}.{slot}": torch.as_tensor(v) for slot, v in slots.items()}
            groups[name] = content["param_groups"]
        meta = {"step": state.step, "seconds": state.seconds, "best_step": state.best_step,
                "best_score": state.best_score, "curve": state.curve, "groups": groups,
                "device": state.device}  # fmt: skip
        save_folder(self.path / "checkpoint", {"state": tensors}, {"state": meta})

    def save_best(self, trainable: Trainable) -> None:
        """Write the weights that `load` takes."""
        if self._writes and self.path is not None:
            trainable.save(self.path / "best")

    def log(self, step: int, seconds: float, losses: Mapping[str, Tensor], score: float | None) -> None:
        """Append one line to `metrics.jsonl`."""
        if self._writes and self.path is not None:
            row = {"step": step, "seconds": round(seconds, 3), "validation": score}
            row |= {name: float(loss) for name, loss in losses.items()}
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _forget_after(self, step: int) -> None:
        """Drop the lines of `metrics.jsonl` that a killed run wrote after its last checkpoint; they come again."""
        if not self._writes or self.path is None or not (self.path / "metrics.jsonl").exists():
            return
        lines = (self.path / "metrics.jsonl").read_text().splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_text(self.path / "metrics.jsonl", "".join(f"{line}\n" for line in kept))

    def picture(self, step: int, picture: Tensor | None) -> None:
        """Write `samples/step_N.png`."""
        if picture is not None and self._writes and self.path is not None:
            from PIL import Image

            pixels = (picture.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            (self.path / "samples").mkdir(exist_ok=True)
            image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            image.save(self.path / "samples" / f"step_{step:06d}.png")

    def remedy(self) -> str:
        """Say how the run can go on."""
        if self.path is None:
            return "nothing was saved, since there is no run_dir"
        return f"go on with the same settings and existing='resume' (--resume) in {self.path}"


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes, and the machine."""
    names = ("obverse", "torch", "numpy", "accelerate", "safetensors")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {"python": platform.python_version(), **found, "machine": platform.machine(), "system": platform.system()}


def _agree(folder: Path, old: dict[str, Any], what: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise unless the run in `folder` is the one to go on with."""
    before, now = old["what"], json.loads(json.dumps(what))
    for key in sorted((set(before) | set(now)) - {"found"}):  # what was found in the data may differ by rounding
        if before.get(key) != now.get(key):
            kind = {"method": "another method", "classifier": "another classifier"}.get(key, f"other {key}")
            raise ValueError(f"run_dir: {folder} holds a run of {kind} ({_short(before.get(key))}, got "
                             f"{_short(now.get(key))}); choose another folder or pass existing='overwrite'")  # fmt: skip
    for key in ("data", "batch_size", "average", "precision", "seed"):
        if old["fit"].get(key) != settings[key]:
            raise ValueError(f"{key}: the run in {folder} has {old['fit'].get(key)!r}, got {settings[key]!r}; a resumed "
                             "run keeps its settings (only steps and max_minutes may change)")  # fmt: skip


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
