"""All ten digits, every class to every other with one conditional network (SyCE supplement B)."""

from benchmarks.table import Table, Training
from benchmarks.tables.syce_digits import RATES

LENET = Training(method="classifier", settings={"architecture": "LeNet"}, steps=2000, batch_size=64, validate_every=200)
# no flips: a mirrored 7 is no digit, and a 6 upside down is nearly a 9
SETTINGS = RATES | {"augment": {"rotation": 5.0, "zoom": [0.8, 1.0]}}

TABLE = Table(
    name="ten-digits",
    about="Ten digits, 90 pairs, one generator and one critic: are counterfactuals valid whatever the target?",
    data="mnist",
    classifier=LENET,
    second_classifier=LENET,
    rows={
        "Conditional SyCE": Training(
            method="conditional_syce", settings=SETTINGS, steps=3200, batch_size=60, validate_every=400, max_minutes=24
        ),
        "Conditional CyCE": Training(
            method="conditional_cyce", settings=SETTINGS, steps=3200, batch_size=60, validate_every=400, max_minutes=24
        ),
    },
    metrics=("validity", "acc_a", "acc_s", "transfer", "all_pairs", "l1", "changed_share", "seconds"),
    notes=(
        "The paper proposes this form and measures nothing.",
        "All pairs: 50 test images of each decision, each to nine targets. The other figures ask for the runner-up.",
        "The weights of the losses are the paper's for two digits.",
        "The second classifier is a LeNet trained from another seed.",
    ),
)
