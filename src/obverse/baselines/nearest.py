"""The nearest real image of the target class: realistic and valid by construction, but of something else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from obverse.baselines.common import Gallery, Space
from obverse.data.base import Dataset
from obverse.explainer import Answer, Explainer, Query


@dataclass(eq=False, kw_only=True)
class Nearest(Explainer):
    """The reference image decided as the target that is nearest (Euclidean) in the classifier's feature space.

    Args:
        reference: images of every class, usually the training split.
        space: "features" is what enters the last linear layer; "pixels" needs nothing of the classifier; "auto" takes
            features where there are some.

    Raises:
        ValueError: images of another shape; when explaining: a target that is decided for none of them.
        NotApplicable: features of a classifier that shows none.
    """

    name: ClassVar[str] = "nearest"
    needs_gradient: ClassVar[bool] = False

    reference: Dataset = field(kw_only=False, repr=False)
    space: Space = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gallery = Gallery(self.classifier, self.reference, self.space)

    def answer(self, query: Query) -> Answer:
        """Return the nearest image itself."""
        return Answer(counterfactual=self._gallery.images(self._gallery.nearest(query.image, query.target)))

    def describe(self) -> dict[str, Any]:
        """Return the settings, the space that was used and which images were searched."""
        where = f"{self.reference.name} {self.reference.split}".strip()
        return super().describe() | {"reference": where, "searched in": self._gallery.space}
