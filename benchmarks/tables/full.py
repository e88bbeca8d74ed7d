"""Every metric that applies, on two trained explainers of digits and one of lesions, beside doing nothing."""

from benchmarks.table import Table, Training, Untrained
from benchmarks.tables.baselines_lesions import TABLE as LESIONS
from benchmarks.tables.syce_digits import TABLE as DIGITS
from obverse.commands.demo import EXPLAINER_STEPS, SETTINGS

NOTES = ("All metrics with their judges; the floors beside each figure are of real images.",)

TABLES = (
    Table(
        name="full-digits",
        about="Digits 3 and 8: all figures of SyCE, CyCE and of doing nothing.",
        data=DIGITS.data,
        classifier=DIGITS.classifier,
        second_classifier=DIGITS.second_classifier,
        rows={**DIGITS.rows, "nothing": Untrained(method="identity")},
        notes=NOTES,
    ),
    Table(
        name="full-lesions",
        about="Generated lesions of 64 px: all figures of the demo's explainer, of the raw image and of doing nothing.",
        data=LESIONS.data,
        size=LESIONS.size,
        counts=LESIONS.counts,
        classifier=LESIONS.classifier,
        second_classifier=LESIONS.second_classifier,
        rows={
            "CyCE, as in the demo": Training(
                method="cyce", settings=SETTINGS, steps=EXPLAINER_STEPS, batch_size=16, validate_every=50
            ),
            "nothing": Untrained(method="identity"),
            "raw image": Untrained(method="raw_image"),
        },
        notes=NOTES,
    ),
)
