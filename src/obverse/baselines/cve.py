"""CVE (Goyal et al. 2019): feature cells of an image of the target class pasted in until the decision changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from obverse.baselines.common import Gallery, Space, margin
from obverse.baselines.layers import SpatialLayer, spatial_layer
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Answer, Explainer, Query
from obverse.settings import check_positive


@dataclass(eq=False, kw_only=True)
class CVE(Explainer):
    """Greedy best-edit search (their section 3, Algorithm 1): replace a cell of the query by a cell of a distractor.

    The features of the query at a layer are edited one cell at a time, each time by the pair of cells (where, from
    where) that raises the target's margin most, until the target is decided; every cell is used once. The
    counterfactual is the same edit made of pixels, so what is decided for it can differ, and `valid` says so.

    Deviations: all images at once; the gradient ranks all pairs and only the best `candidates` are tried out (as many
    as there are pairs make it exhaustive, as published); the distractor is the nearest image of the target class
    instead of a random one.

    Args:
        reference: images of every class, usually the training split.
        layer: name of the layer; "" takes the last with spatial output that all later ones depend on, as C3LT does, and
            holds its name afterwards.
        edits: at most.
        candidates: pairs tried out an edit.
        space: where the nearest image is looked for, see `Nearest`.

    Raises:
        NotApplicable: no layer with spatial output, or each is bypassed by another.
        ValueError: an unknown layer, images of another shape; when explaining: a target that is decided for none of
            them.
    """

    name: ClassVar[str] = "cve"

    reference: Dataset = field(kw_only=False, repr=False)
    layer: str = ""
    edits: int = 100
    candidates: int = 8
    space: Space = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "edits", "candidates")
        self._gallery = Gallery(self.classifier, self.reference, self.space)
        self._head = _Head(self.classifier, self.layer)
        self.layer = self._head.layer.name

    def answer(self, query: Query) -> Answer:
        """Return the pixel edits, and a map that falls from the first edited cell to the last."""
        distractor = self._gallery.images(self._gallery.nearest(query.image, query.target))
        size = max(1, min(32, 2**26 // math.prod(self._head.layer.grid) ** 2))  # every cell against every other: bounds memory
        parts = zip(query.image.split(size), distractor.split(size), query.target.split(size))
        found = [self._part(*rows) for rows in parts]
        images = torch.cat([image for image, _ in found]) if found else query.image
        maps = torch.cat([shown for _, shown in found]) if found else query.image[:, :1]
        return Answer(counterfactual=images, attribution=maps)

    def describe(self) -> dict[str, Any]:
        """Return the settings and which images distractors come from."""
        return super().describe() | {"reference": f"{self.reference.name} {self.reference.split}".strip()}

    def _part(self, image: Tensor, distractor: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        source, order = self.search(self._head.features(image), self._head.features(distractor), target)
        grid = self._head.layer.grid
        return _pasted(image, distractor, source, grid), _spread(_weight(order).view(-1, 1, *grid), image)

    def search(self, query: Tensor, distractor: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Edit features until the target is decided.

        Args:
            query, distractor: (M, D, h, w) cells.
            target: (M,).

        Returns:
            (M, h w) which distractor cell is pasted where, -1 for none; (M, h w) the number of the edit, from 0, or -1.
        """
        cells, other = query.flatten(2).clone(), distractor.flatten(2)  # (M, D, cells)
        source = torch.full_like(cells[:, 0], -1, dtype=torch.int64)
        order = source.clone()
        # 0 where a pair may still be chosen, else -inf: by the cell to replace, and by the cell that replaces it
        free_where, free_whence = torch.zeros_like(cells[:, 0]), torch.zeros_like(cells[:, 0])
        left = torch.arange(len(cells), device=cells.device)
        for number in range(min(self.edits, cells.shape[2])):
            lead, gradient = self._lead(cells[left], target[left])
            going = lead <= 0
            left, gradient = left[going], gradient[going]
            if len(left) == 0:
                break
            gain = gradient.transpose(1, 2) @ other[left]  # (L, where, whence), to first order
            gain += (free_where[left] - (gradient * cells[left]).sum(1))[:, :, None]
            gain += free_whence[left][:, None]
            where, whence = self._best(cells[left], other[left], target[left], gain)
            cells[left, :, where] = other[left, :, whence]
            source[left, where], order[left, where] = whence, number
            free_where[left, where], free_whence[left, whence] = -torch.inf, -torch.inf
        return source, order

    def _lead(self, cells: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (M,) the target's margin and (M, D, cells) its gradient."""
        with torch.enable_grad():
            leaf = cells.detach().clone().requires_grad_(True)
            lead = margin(self._head.logits(leaf), target)
            (gradient,) = torch.autograd.grad(lead.sum(), leaf)
        return lead.detach(), gradient

    def _best(self, cells: Tensor, other: Tensor, target: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Try the candidates out; return (M,) the cell to replace and (M,) the cell that replaces it."""
        size = cells.shape[2]
        # the best pairs lie in the rows with the best maxima: far less to sort
        lines = gain.amax(2).topk(min(self.candidates, size), dim=1).indices
        rows = torch.arange(len(cells), device=cells.device)
        top = gain[rows[:, None], lines].flatten(1).topk(min(self.candidates, lines.shape[1] * size), dim=1)
        wheres, whences = lines.gather(1, top.indices // size), top.indices % size
        best, where, whence = torch.full_like(gain[:, 0, 0], -torch.inf), wheres[:, 0], whences[:, 0]
        for k in range(wheres.shape[1]):
            tried = cells.clone()
            tried[rows, :, wheres[:, k]] = other[rows, :, whences[:, k]]
            lead = margin(self._head.logits(tried), target).masked_fill(top.values[:, k].isinf(), -torch.inf)
            better = lead > best
            where, whence = torch.where(better, wheres[:, k], where), torch.where(better, whences[:, k], whence)
            best = torch.maximum(lead, best)
        return where, whence


class _Head:
    """The classifier cut in two at a layer: `features` is what comes out of it, `logits` what follows from that."""

    def __init__(self, classifier: Classifier, name: str) -> None:
        self.classifier = classifier
        self.layer = spatial_layer(classifier, name, CVE.name, self._carries_all)

    def features(self, image: Tensor) -> Tensor:
        """Return (N, D, h, w)."""
        caught: list[Tensor] = []
        handle = self.layer.module.register_forward_hook(lambda *call: caught.append(call[2].clone()))
        try:
            with torch.no_grad():
                self.classifier.logits(image)
        finally:
            handle.remove()
        return self.layer.cells(caught[-1]).float()

    def logits(self, cells: Tensor) -> Tensor:
        """Return (N, K) of flat cells (N, D, h w), as if the layer had returned them."""
        return self._logits(self.layer, cells)

    def _logits(self, layer: SpatialLayer, cells: Tensor) -> Tensor:
        grid = cells.view(len(cells), -1, *layer.grid)

        def put(_: nn.Module, __: object, output: Tensor) -> Tensor:
            full = layer.output(grid, output.expand(len(grid), *output.shape[1:])).to(output.dtype)
            return full.clone()  # what follows may work in place

        # what comes before the layer runs on one image only
        first = self.classifier.module.register_forward_pre_hook(lambda _, inputs: (inputs[0][:1],))
        second = layer.module.register_forward_hook(put)
        blank = torch.zeros(1, *self.classifier.image_shape, device=cells.device).expand(len(grid), -1, -1, -1)
        try:
            return self.classifier.logits(blank).float()
        finally:
            first.remove()
            second.remove()

    def _carries_all(self, layer: SpatialLayer) -> bool:
        """Whether the decision depends on the image through this layer's cells alone."""
        draw = torch.Generator().manual_seed(0)
        image = torch.rand(3, *self.classifier.image_shape, generator=draw).to(self.classifier.device)
        self.layer = layer
        cells = self.features(image)
        try:
            again = self._logits(layer, cells.flatten(2))
        except RuntimeError:  # a shortcut around the layer holds one image, not three
            return False
        with torch.no_grad():
            expected = self.classifier.logits(image).float()
        return again.shape == expected.shape and torch.allclose(again, expected, rtol=1e-3, atol=1e-4)


def _weight(order: Tensor) -> Tensor:
    """Return (M, cells) 1 for the first edit, falling in equal steps towards 0 after the last."""
    count = (order >= 0).sum(1, keepdim=True).clamp_min(1)
    return torch.where(order >= 0, 1 - order / count, torch.zeros_like(order, dtype=torch.float32))


def _cell_of(grid: tuple[int, int], image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for every row its cell and the cells' first rows, and the same for columns."""
    (rows, columns), (height, width) = grid, image.shape[-2:]
    y, x = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    first_row = (torch.arange(rows, device=image.device) * height + rows - 1) // rows
    first_column = (torch.arange(columns, device=image.device) * width + columns - 1) // columns
    return y * rows // height, first_row, x * columns // width, first_column


def _spread(cells: Tensor, image: Tensor) -> Tensor:
    """Return (M, 1, H, W): every pixel the value of its cell."""
    row, _, column, _ = _cell_of((cells.shape[2], cells.shape[3]), image)
    return cells[:, :, row][:, :, :, column]


def _pasted(image: Tensor, distractor: Tensor, source: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the image with the pixels of edited cells taken from the distractor's cells."""
    (height, width), columns = image.shape[-2:], grid[1]
    row, first_row, column, first_column = _cell_of(grid, image)
    chosen = source[:, row[:, None] * columns + column[None]]  # (M, H, W)
    safe = chosen.clamp_min(0)
    y = (first_row[safe // columns] + (torch.arange(height, device=image.device) - first_row[row])[None, :, None])
    x = (first_column[safe % columns] + (torch.arange(width, device=image.device) - first_column[column])[None, None])
    flat = (y.clamp_max(height - 1) * width + x.clamp_max(width - 1)).flatten(1)[:, None].expand(-1, image.shape[1], -1)
    pasted = distractor.flatten(2).gather(2, flat).view_as(image)
    return torch.where((chosen >= 0)[:, None], pasted, image)
