"""The frozen model under explanation: always a choice among K >= 2 exclusive classes, from images in [0, 1]."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.checkpoint import load_tensors, read_json, save_folder
from obverse.data.base import Dataset, check_images
from obverse.explanation import NotApplicable
from obverse.modules import default_device, digest_of, fill, frozen, own_architecture, program
from obverse.networks.blocks import in_parts, memory_format
from obverse.probe import check_module

Head = Literal["softmax", "multilabel"]
Outputs = Literal["logits", "probabilities"]
Targets = int | str | Sequence[int | str] | Tensor  # one class for all images, by index or name, or one for each

class Classifier:
    """A trained classifier, wrapped so that every method sees the same thing.

    The module is deep-copied, frozen and put in evaluation mode: the caller's own keeps its state. A module
    with one logit z becomes the two-class logits [0, z].

    Args:
        module: maps (N, C, H, W) to (N, K) scores, or to (N, 1) or (N,) for two classes.
        classes: K names, in the order of the outputs; two names for a one-output module; one name a label for
            `head="multilabel"`.
        image_shape: (C, H, W) of the images.
        head: "softmax" for exclusive classes; "multilabel" for independent labels, which are then explained
            one by one through `label(name)`.
        outputs: whether the module returns logits (log-softmax counts) or probabilities.
        mean, std: per channel; the module then sees (image - mean) / std.
        device: where the module runs; default: CUDA if there is one.

    Raises:
        ValueError: an unknown head or kind of outputs, too few classes, wrong number of outputs, probabilities announced as
            logits (or the other way round), outputs that are not finite, or a module that the image's gradient does not
            reach.
    """

    has_gradient: bool = True

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        image_shape: tuple[int, int, int],
        *,
        head: Head = "softmax",
        outputs: Outputs = "logits",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}; wrap a plain function "
                            "with Classifier.black_box(function, classes, image_shape)")  # fmt: skip
        device = torch.device(device or default_device())
        self._setup(frozen(copy.deepcopy(module), device), classes, image_shape, head, outputs, mean, std, device)
        check_module(self, self._normalised)

    def _setup(
        self,
        module: nn.Module,
        classes: Sequence[str],
        image_shape: tuple[int, int, int],
        head: Head,
        outputs: Outputs,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        device: torch.device,
    ) -> None:
        for name, said, known in (("head", head, get_args(Head)), ("outputs", outputs, get_args(Outputs))):
            if said not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {said!r}; leave it out for {known[0]}")
        least = 1 if head == "multilabel" else 2
        if isinstance(classes, str) or len(classes) < least or len(set(classes)) != len(classes):
            raise ValueError(f"classes: expected at least {least} different names, got {classes!r}; "
                             "name every output in order")  # fmt: skip
        channels = image_shape[0]
        for name, value in (("mean", mean), ("std", std)):
            if value is not None and len(value) != channels:
                raise ValueError(f"{name}: expected {channels} numbers, one a channel, got {len(value)}; "
                                 "repeat a single number for every channel")  # fmt: skip
        self.module, self.device = module, device
        self.classes = tuple(str(name) for name in classes)
        self.image_shape = (image_shape[0], image_shape[1], image_shape[2])
        self.head, self.outputs = head, outputs
        self.mean = tuple(float(value) for value in mean or [0.0] * channels)
        self.std = tuple(float(value) for value in std or [1.0] * channels)
        self.view = ""
        self._format = memory_format(module)
        module.to(memory_format=self._format)  # type: ignore[call-overload]
        self._reduce: Callable[[Tensor], Tensor] | None = None
        self._scale = torch.tensor(self.std, device=device).view(1, -1, 1, 1)
        self._shift = torch.tensor(self.mean, device=device).view(1, -1, 1, 1)
        self._normalises = any(self.mean) or any(value != 1.0 for value in self.std)
        self._feature_layer: nn.Module | None = None
        self._answers = b""  # of a black box, which has no weights to tell it apart

    # ------------------------------------------------------------------ what it says of images

    def logits(self, image: Tensor) -> Tensor:
        """Return (N, K) logits; differentiable in the image.

        Raises:
            TypeError, ValueError: the image breaks the pixel contract (see `check_images`).
            NotApplicable: a multi-label classifier that was not narrowed to one label.
        """
        if image.requires_grad:  # made by a network whose output is clipped: the range holds, only shapes can differ
            if tuple(image.shape[1:]) != self.image_shape:
                check_images(image.detach(), self.image_shape)
        else:
            check_images(image, self.image_shape)
        if self.head == "multilabel" and self._reduce is None:
            raise NotApplicable(f"classifier: its labels are not exclusive; choose one of {', '.join(self.classes)} "
                                "with classifier.label(name)")  # fmt: skip
        scores = self._scores(image)
        return self._reduce(scores) if self._reduce is not None else scores

    def posterior(self, image: Tensor) -> Tensor:
        """Return (N, K) probabilities, computed in float32 whatever the surrounding precision."""
        with torch.autocast(self.device.type, enabled=False):
            logits = self.logits(image) if image.requires_grad else in_parts(self.logits, image)
            return logits.float().softmax(1)

    def decide(self, image: Tensor) -> Tensor:
        """Return (N,) the index of the most probable class."""
        with torch.no_grad():
            return self.posterior(image).argmax(1)

    def posteriors(self, data: Dataset, batch_size: int = 512) -> Tensor:
        """Return (N, K) posteriors of a whole data set, on the CPU, without gradients."""
        with torch.no_grad():
            parts = [self.posterior(batch.image).cpu() for batch in data.batches(batch_size, self.device)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.classes))

    def features(self, image: Tensor) -> Tensor:
        """Return (N, D) features: what enters the module's last linear layer.

        Raises:
            NotApplicable: a black box, or a module without a linear layer.
        """
        layer = self._features_of()
        caught: list[Tensor] = []
        handle = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        try:
            self._scores(image)
        finally:
            handle.remove()
        return caught[-1].flatten(1)

    @property
    def has_features(self) -> bool:
        """Whether `features` has an answer."""
        try:
            self._features_of()
        except NotApplicable:
            return False
        return True

    def index(self, target: int | str) -> int:
        """Return the index of a class given by index or name; digits are an index where no class is named by digits.

        Raises:
            ValueError: an unknown class.
        """
        if target in self.classes:
            return self.classes.index(str(target))
        named = any(name.isdecimal() for name in self.classes)  # then the text "1" is a name, known or not
        number = int(target) if isinstance(target, str) and target.isdecimal() and not named else target
        if hasattr(number, "__index__") and 0 <= operator.index(number) < len(self.classes):  # a posterior is no index
            return operator.index(number)
        raise ValueError(f"target: expected one of {', '.join(map(repr, self.classes))} or {'an int' if named else 'an index'} "
                         f"below {len(self.classes)}, got {target!r}; the classifier decides no other class")  # fmt: skip

    def indices(self, target: Targets, count: int) -> Tensor:
        """Return (count,) int64 of one class for all, by index or name, or of one an image, as a sequence or a tensor.

        Raises:
            ValueError: an unknown class, or another number of them.
        """
        if isinstance(target, Tensor):
            if target.shape != (count,) or target.is_floating_point() or target.dtype == torch.bool:
                raise ValueError(f"target: expected ({count},) class indices (int64), got {target.dtype} of shape "
                                 f"{tuple(target.shape)}; pass one index an image")  # fmt: skip
            target = target.tolist()
        if isinstance(target, (str, int)) or not hasattr(target, "__len__"):  # a number of NumPy's is no int
            return torch.full((count,), self.index(cast("int", target)), device=self.device)
        if len(target) != count:
            raise ValueError(f"target: expected {count} classes, got {len(target)}; pass one an image, or one for all")
        return torch.tensor([self.index(one) for one in target], dtype=torch.int64, device=self.device)

    # ------------------------------------------------------------------ views

    def label(self, name: str) -> Classifier:
        """Return the two-class classifier (absent, present) of one label of a multi-label module.

        Raises:
            NotApplicable: the classes are exclusive.
        """
        if self.head != "multilabel":
            raise NotApplicable("label: the classes are exclusive (head='softmax'); use against_rest(name)")
        if self._reduce is not None:
            raise NotApplicable(f"label: this is the view {self.view!r} already; take it of the whole classifier")
        index = self.index(name)
        name = self.classes[index]
        view = self._view(f"label {name}", (f"no {name}", name))
        view._reduce = lambda scores: torch.stack([torch.zeros_like(scores[:, index]), scores[:, index]], 1)
        return view

    def against_rest(self, name: str) -> Classifier:
        """Return the two-class view (not NAME, NAME): logsumexp of the other logits against its logit.

        Raises:
            NotApplicable: a multi-label classifier.
        """
        if self.head == "multilabel":
            raise NotApplicable("against_rest: the labels are not exclusive; use label(name)")
        index = self.index(name)
        name = self.classes[index]  # it may have been given by its index
        others = [k for k in range(len(self.classes)) if k != index]
        view, inner = self._view(f"{name} against rest", (f"not {name}", name)), self._reduce

        def reduce(scores: Tensor) -> Tensor:
            scores = scores if inner is None else inner(scores)
            return torch.stack([scores[:, others].logsumexp(1), scores[:, index]], 1)

        view._reduce = reduce
        return view

    def _view(self, name: str, classes: tuple[str, str]) -> Classifier:
        view = copy.copy(self)  # shares the frozen module
        view.view = f"{self.view}/{name}" if self.view else name
        view.classes = classes
        return view

    # ------------------------------------------------------------------ identity and disk

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sorted weight names and bytes, head, classes, view and normalisation; and a black box's answers.

        Those are its outputs, rounded to 4 decimals, for 8 images of noise that are always the same.
        """
        facts = [self.head, self.outputs, list(self.classes), self.view, list(self.mean), list(self.std)]
        return digest_of(self.module, facts, self._answers)

    def save(self, folder: str | Path) -> None:
        """Write `classifier.json` and `weights.safetensors`, whole or not at all.

        Raises:
            NotApplicable: a view (save the whole classifier) or a black box (a function has no weights).
        """
        if self.view or not self.has_gradient:
            raise NotApplicable(f"save: {self.view or 'a black box'!r} cannot be written; save the whole classifier "
                                "and take the view again after loading")  # fmt: skip
        config = getattr(self.module, "config", None)
        settings = {
            "kind": "obverse classifier",
            "architecture": {"name": type(self.module).__name__, **config()} if callable(config) else None,
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
            "head": self.head,
            "outputs": self.outputs,
            "mean": list(self.mean),
            "std": list(self.std),
            "fingerprint": self.fingerprint,
        }
        save_folder(folder, {"weights": dict(self.module.state_dict())}, {"classifier": settings})

    @staticmethod
    def load(
        path: str | Path,
        module: nn.Module | None = None,
        *,
        classes: Sequence[str] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        head: Head = "softmax",
        outputs: Outputs = "logits",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        trust: bool = False,
        device: torch.device | str | None = None,
    ) -> Classifier:
        """Read a classifier folder, or a file with weights or a program.

        Args:
            path: a folder that `save` wrote; a `.safetensors` file (with `module`); a TorchScript `.ts`/`.pt` or an
                exported `.pt2` program (with `trust=True`, since they can carry code).
            module: the skeleton to fill, for architectures that are not obverse's own.
            classes, image_shape, head, outputs, mean, std: as for `Classifier`; needed for files, kept in folders.
            trust: whether a program from this file may run.
            device: where it runs.

        Raises:
            FileNotFoundError: nothing there.
            ValueError: a pickle, an untrusted program, a foreign architecture without `module`, or weights that
                do not fit.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"classifier: nothing at {path}; train one with `obverse fit classifier`")
        if path.is_dir():
            settings = read_json(path / "classifier.json")
            module = module or own_architecture(settings, path)
            fill(module, load_tensors(path / "weights.safetensors"), path)
            loaded = Classifier(
                module,
                settings["classes"],
                tuple(settings["image_shape"]),
                head=settings["head"],
                outputs=settings["outputs"],
                mean=settings["mean"],
                std=settings["std"],
                device=device,
            )
            if loaded.fingerprint != settings["fingerprint"]:
                raise ValueError(f"classifier: {path} does not match its fingerprint; its files were changed or mixed")
            return loaded
        if classes is None or image_shape is None:
            raise ValueError(f"classes, image_shape: needed to read the file {path}; a folder written by "
                             "Classifier.save keeps them")  # fmt: skip
        if path.suffix == ".safetensors":
            if module is None:
                raise ValueError(f"module: needed to read {path}: weights alone do not say what network they fill")
            fill(module, load_tensors(path), path)
            return Classifier(
                module, classes, image_shape, head=head, outputs=outputs, mean=mean, std=std, device=device
            )
        device = torch.device(device or default_device())
        wrapped = Classifier.__new__(Classifier)  # no copy: nobody else holds a program that was just read
        ready = frozen(program(path, trust), device)
        wrapped._setup(ready, classes, image_shape, head, outputs, mean, std, device)
        check_module(wrapped, wrapped._normalised)
        return wrapped

    @staticmethod
    def black_box(
        function: Callable[[Tensor], Tensor], classes: Sequence[str], image_shape: tuple[int, int, int],
        *, outputs: Outputs = "logits",
    ) -> Classifier:  # fmt: skip
        """Wrap a function (N, C, H, W) -> (N, K) that has no gradient; methods that need one refuse it."""

        class BlackBox(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                with torch.no_grad():
                    return torch.as_tensor(function(image.detach())).float().to(image.device)

        wrapped = Classifier.__new__(Classifier)
        wrapped.has_gradient = False
        wrapped._setup(BlackBox(), classes, image_shape, "softmax", outputs, None, None, torch.device("cpu"))
        check_module(wrapped, wrapped._normalised)
        noise = torch.rand(8, *image_shape, generator=torch.Generator().manual_seed(0))
        wrapped._answers = (wrapped.module(noise).round(decimals=4) + 0.0).numpy().tobytes()  # without -0
        return wrapped

    # ------------------------------------------------------------------ inside

    def _normalised(self, image: Tensor) -> Tensor:
        return (image - self._shift) / self._scale

    def _scores(self, image: Tensor) -> Tensor:
        """The module's outputs as logits: (N, K) for exclusive classes, (N, L) for labels."""
        # where nothing is normalised a copy: the module may work in place on what it is given
        seen = self._normalised(image) if self._normalises else image.clone(memory_format=self._format)
        out: Tensor = self.module(seen.contiguous(memory_format=self._format))
        if self.outputs == "probabilities":
            small = torch.finfo(torch.float32).eps
            clamped = out.float().clamp(small, 1 - small)
            single = self.head == "multilabel" or out.ndim == 1 or out.shape[1] == 1
            out = torch.logit(clamped) if single else clamped.log()
        if self.head == "softmax" and (out.ndim == 1 or out.shape[1] == 1):
            return F.pad(out.reshape(-1, 1), (1, 0))  # one logit z becomes [0, z]
        return out if out.ndim == 2 else out.reshape(-1, 1)  # one label may come as (N,)

    def _features_of(self) -> nn.Module:
        if self._feature_layer is None:
            ran: list[nn.Module] = []
            linear = [m for m in self.module.modules() if isinstance(m, nn.Linear)]
            handles = [m.register_forward_pre_hook(lambda module, _: ran.append(module)) for m in linear]
            try:
                with torch.no_grad():
                    self._scores(torch.zeros(1, *self.image_shape, device=self.device))
            finally:
                for handle in handles:
                    handle.remove()
            if not ran:
                raise NotApplicable("features: the module has no linear layer that runs; methods that need features "
                                    "take another network instead")  # fmt: skip
            self._feature_layer = ran[-1]
        return self._feature_layer
