"""The figures of merit, by name, in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence

from obverse.metrics.base import ImageMetric, Metric, Probe, SetMetric
from obverse.settings import named

METRICS: dict[str, str] = {
    "validity": "obverse.metrics.validity:Validity",
    "acc_a": "obverse.metrics.validity:AccA",
    "acc_s": "obverse.metrics.validity:AccS",
    "posterior_gain": "obverse.metrics.validity:PosteriorGain",
    "transfer": "obverse.metrics.validity:Transfer",
    "transfer_acc_a": "obverse.metrics.validity:TransferAccA",
    "transfer_validity": "obverse.metrics.validity:TransferValidity",
    "all_pairs": "obverse.metrics.pairs:AllPairs",
    "generated_accuracy": "obverse.metrics.calibration:GeneratedAccuracy",
    "generated_auc": "obverse.metrics.calibration:GeneratedAuc",
    "knob_calibration": "obverse.metrics.calibration:KnobCalibration",
    "l1": "obverse.metrics.proximity:L1",
    "l1_paper": "obverse.metrics.proximity:L1Paper",
    "l2": "obverse.metrics.proximity:L2",
    "changed_share": "obverse.metrics.proximity:ChangedShare",
    "ssim": "obverse.metrics.proximity:Ssim",
    "residual": "obverse.metrics.proximity:Residual",
    "represented": "obverse.metrics.proximity:Represented",
    "masked_ssim": "obverse.metrics.region:MaskedSsim",
    "non_resemblance": "obverse.metrics.region:NonResemblance",
    "cout": "obverse.metrics.drive:Cout",
    "aupc_target": "obverse.metrics.drive:AupcTarget",
    "aupc_source": "obverse.metrics.drive:AupcSource",
    "deletion": "obverse.metrics.deletion:Deletion",
    "insertion": "obverse.metrics.deletion:Insertion",
    "pixel_deletion": "obverse.metrics.deletion:PixelDeletion",
    "confidence_drop": "obverse.metrics.deletion:ConfidenceDrop",
    "frechet": "obverse.metrics.realism:FrechetDistance",
    "kernel_distance": "obverse.metrics.realism:KernelDistance",
    "jensen_shannon": "obverse.metrics.realism:JensenShannon",
    "im1": "obverse.metrics.manifold:IM1",
    "im2": "obverse.metrics.manifold:IM2",
    "iou": "obverse.metrics.overlap:IoU",
    "dice": "obverse.metrics.overlap:Dice",
    "average_precision": "obverse.metrics.localisation:AveragePrecision",
    "ncc": "obverse.metrics.localisation:NCC",
    "pointing_game": "obverse.metrics.localisation:PointingGame",
    "twin_distance": "obverse.metrics.twin:TwinDistance",
    "true_difference": "obverse.metrics.twin:TrueDifference",
    "lesion_left": "obverse.metrics.twin:LesionLeft",
    "latent_closeness": "obverse.metrics.identity:LatentCloseness",
    "first_neighbour": "obverse.metrics.identity:FirstNeighbour",
    "verification": "obverse.metrics.identity:Verification",
    "confounding": "obverse.metrics.confounding:Confounding",
    "repeat_agreement": "obverse.metrics.stability:RepeatAgreement",
    "latent_change": "obverse.metrics.stability:LatentChange",
    "map_area": "obverse.metrics.stability:MapArea",
    "seconds": "obverse.metrics.cost:Seconds",
    "peak_memory": "obverse.metrics.cost:PeakMemory",
}
"""Name to "module:class"; classes are imported when asked for."""

QUICK = ("validity", "acc_a", "acc_s", "posterior_gain", "transfer", "transfer_acc_a", "l1", "l1_paper", "iou", "dice",
         "average_precision", "ncc", "twin_distance", "true_difference", "lesion_left", "seconds")  # fmt: skip
"""Metrics that cost little more than the explanations themselves."""

__all__ = ["METRICS", "QUICK", "ImageMetric", "Metric", "Probe", "SetMetric", "instances", "metric"]


def metric(name: str) -> type[Metric]:
    """Return the class of a metric.

    Raises:
        ValueError: an unknown name.
    """
    found: type[Metric] = named(METRICS, name, "metrics", "docs/metrics.md explains them")
    return found


def instances(chosen: Sequence[str | Metric] | None) -> list[Metric]:
    """Return the metrics to run: all of METRICS for None, a name's instances, or an instance as it is.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a metric.
    """
    found: list[Metric] = []
    for one in METRICS if chosen is None else chosen:
        if isinstance(one, str):
            found.extend(metric(one).instances())
        elif isinstance(one, Metric):
            found.append(one)
        else:
            raise TypeError(f"metrics: expected names or metrics, got {one!r}; pass e.g. ['validity', Dice()]")
    return found
