"""SyCE and CyCE on the digits 3 and 8, with the paper's weights."""

from benchmarks.table import Paper, Table, Training

DIGITS = {"rotation": 5.0, "zoom": [0.8, 1.0], "vertical_flip": 0.5}
LENET = Training(
    method="classifier", steps=2400, batch_size=64, validate_every=400,
    settings={"architecture": "LeNet", "augment": DIGITS | {"zoom": [0.75, 1.0]}},
)  # fmt: skip
RATES = {"generator_rate": 3e-4, "critic_rate": 3e-4, "augment": DIGITS}

TABLE = Table(
    name="syce-digits",
    about="Digits 3 against 8: do the counterfactuals change the decision, does a second classifier agree, how much changes?",
    data="mnist:3,8",
    classifier=LENET,
    second_classifier=LENET,
    rows={
        "SyCE": Training(method="syce", settings=RATES, steps=4000, batch_size=64, max_minutes=45),
        "CyCE": Training(method="cyce", settings=RATES, steps=4000, batch_size=64, max_minutes=45),
    },
    metrics=(
        "validity",
        "acc_a",
        "acc_s",
        "posterior_gain",
        "transfer",
        "transfer_acc_a",
        "l1",
        "l1_paper",
        "changed_share",
        "seconds",
    ),
    paper=(
        Paper(paper="syce", table="table_1_adversarial_accuracy", row="SyCE", column="digits-", metric="acc_a"),
        Paper(paper="syce", table="table_1_adversarial_accuracy", row="CyCE", column="digits-", metric="acc_a"),
        Paper(paper="syce", table="table_S2_stable_accuracy", row="SyCE", column="digits+", metric="acc_s"),
    ),
    notes=(
        "All 1984 threes and eights of the standard test file; the paper's 1003 test images cannot be rebuilt.",
        "Weights of the losses as in the paper; learning rates 3e-4 for both players (paper: 1e-4 and 2e-4).",
        "The second classifier is a LeNet trained from another seed; both see the augmentation of the released code.",
    ),
)
