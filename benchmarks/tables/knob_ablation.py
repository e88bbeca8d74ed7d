"""The three losses of Progressive Exaggeration, each off and too strong (EPE table 6 and fig. 12), in short runs."""

from collections.abc import Mapping

from benchmarks.table import Table, Training
from benchmarks.tables import knob_digits


def short(weights: Mapping[str, float]) -> Training:
    """Return a short run with the paper's weights but for these."""
    return Training(
        method="exaggeration", settings=weights, steps=1000, batch_size=32, validate_every=250, max_minutes=20
    )


TABLE = Table(
    name="knob-ablation",
    about="Digits 3 and 8: what realism, class and reconstruction each contribute to the knob.",
    data="mnist:3,8",
    classifier=knob_digits.TABLE.classifier,
    second_classifier=knob_digits.TABLE.second_classifier,
    rows={
        "all three (1, 1, 100)": short({}),
        "without critic": short({"adversarial": 0.0}),
        "critic 10": short({"adversarial": 10.0}),
        "without class term": short({"divergence": 0.0}),
        "class term 10": short({"divergence": 10.0}),
        # the cycle goes with the reconstruction, as in the released code
        "without reconstruction": short({"reconstruction": 0.0, "cycle": 0.0}),
        "reconstruction 10": short({"reconstruction": 10.0, "cycle": 10.0}),
    },
    metrics=("knob_calibration", "validity", "transfer", "residual", "frechet", "latent_closeness"),
    notes=(
        "The paper's table 6 also has weights of 100 and 1; its faces of 128 px and its recogniser are not at hand.",
        "Expected after the paper: without critic worse Frechet and better closeness; without class term no calibration; "
        "without reconstruction neither closeness nor a small residual.",
        knob_digits.OLDER,
    ),
)
