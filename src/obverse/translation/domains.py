"""Which of two domains each training image is in: by its label, or by what the classifier decides."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset

Domains = Literal["label", "decision"]
MULTI_CLASS = "conditional_syce"
"""The method for more than two classes, named in refusals."""


def check_two_classes(classifier: Classifier, name: str) -> None:
    """Raise unless the classifier chooses between two classes.

    Raises:
        ValueError: of more classes; names the views and the method that can.
    """
    classes = classifier.classes
    if len(classes) != 2:
        raise ValueError(f"classifier: {name} translates between 2 classes, got {len(classes)} ({', '.join(classes)}); "
                         f"take a view, classifier.against_rest({classes[0]!r}), or use {MULTI_CLASS}")  # fmt: skip


def decisions(data: Dataset, classifier: Classifier, name: str) -> Tensor:
    """Return (N,) what the classifier decides for each training image, every class at least once.

    Args:
        data: training images.
        classifier: decides.
        name: of the method, for the message.

    Raises:
        ValueError: a class that is never decided, or images of more classes than the two that the classifier chooses between.
    """
    check_known(data, classifier, name)
    found = classifier.posteriors(data).argmax(1)
    counts = torch.bincount(found, minlength=len(classifier.classes)).tolist()
    if min(counts) == 0:
        never = classifier.classes[counts.index(0)]
        raise ValueError(f"data: the classifier never decides {never!r} on these {len(data)} images; {name} needs images of "
                         "every decision: pass other images or check the classifier")  # fmt: skip
    return found


def check_known(data: Dataset, classifier: Classifier, name: str) -> None:
    """Raise where a classifier of two classes would sort images of further classes into them.

    Raises:
        ValueError: images of more classes than the two that the classifier chooses between.
    """
    others = [known for known in data.classes if known not in classifier.classes]
    if len(classifier.classes) == 2 and not classifier.view and others and set(classifier.classes) <= set(data.classes):
        raise ValueError(f"data: {name} translates between {' and '.join(classifier.classes)}, got images of "
                         f"{len(data.classes)} classes ({', '.join(data.classes)}); open those two of them, or train a "
                         f"classifier of all and use {MULTI_CLASS} or a view, classifier.against_rest(name)")  # fmt: skip


def domain_of_each(data: Dataset, classifier: Classifier, by: Domains, name: str) -> Tensor:
    """Return (N,) 0 or 1, the domain of each training image, as the classifier numbers its classes.

    Args:
        data: training images.
        classifier: of two classes; it is asked only for `by="decision"`.
        by: "label" compares two groups of images, "decision" what the classifier does with them.
        name: of the method, for the messages.

    Raises:
        ValueError: no labels, labels of other classes than the classifier's, or an empty domain.
    """
    if by == "decision":
        return decisions(data, classifier, name)
    found = _labels(data, classifier, name)
    counts = torch.bincount(found, minlength=2).tolist()
    if min(counts) == 0:
        raise ValueError(f"data: no image is labelled {classifier.classes[counts.index(0)]!r} among these {len(data)} images; "
                         f"{name} needs images of both domains: pass other images, or domains='decision'")  # fmt: skip
    return found


def _labels(data: Dataset, classifier: Classifier, name: str) -> Tensor:
    if len(data.classes) > 2:
        raise ValueError(f"data: {name} compares 2 groups of images, got {len(data.classes)} classes "
                         f"({', '.join(data.classes)}); open two of them, use {MULTI_CLASS} for all pairs, or "
                         "domains='decision' with classifier.against_rest(name)")  # fmt: skip
    labels = data.labels()
    if labels is None:
        raise ValueError(f"data: {name} compares two labelled groups of images, got images without labels; pass labels, "
                         "or domains='decision' to take what the classifier decides")  # fmt: skip
    if unknown := [known for known in data.classes if known not in classifier.classes]:
        raise ValueError(f"data: expected labels of the classifier's classes ({', '.join(classifier.classes)}), got "
                         f"{', '.join(unknown)}; name them alike, or use domains='decision'")  # fmt: skip
    number = torch.tensor([classifier.classes.index(known) for known in data.classes])
    return number[labels.cpu()]
