"""How well images of one class are taken to the other, for methods that have more to say of one than of the other."""

from __future__ import annotations

from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer


def validity_and_change(explainer: LearnedExplainer, data: Dataset, source: int) -> float:
    """Return 1 - validity + mean L1 over the images that are decided as one class; lower is better.

    Args:
        explainer: of two classes.
        data: held-out images.
        source: the class.

    Raises:
        ValueError: no image is decided so.
    """
    valid, distance, count = 0.0, 0.0, 0
    for batch in data.batches(256, explainer.device):
        image = batch.image[explainer.classifier.decide(batch.image) == source]
        if len(image) == 0:
            continue
        rows = explainer.explain(image)
        valid += float(rows.valid.sum())
        distance += float(rows.attribution.flatten(1).mean(1).sum())
        count += len(rows)
    if count == 0:
        name = explainer.classifier.classes[source]
        raise ValueError(f"validation: expected images that the classifier decides {name!r}, got none among {len(data)}; "
                         "check diseased and the images")  # fmt: skip
    return 1 - valid / count + distance / count
