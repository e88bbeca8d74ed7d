"""medXGAN on brain MRI with and without a tumour, 64 px, the data of its own MRI experiments (tables 1 and 2)."""

from benchmarks.table import Paper, Table, Training, Untrained
from benchmarks.tables.knob_brain import RESNET, TURNED

MEDXGAN = Training(
    method="medxgan",
    settings={
        "start": "encoder",
        "anatomy": 96,
        "pathology": 16,
        "generator_rate": 1e-3,
        "critic_rate": 1e-3,
        "rebuild": 3.0,
        "momentum": [0.5, 0.99],
        "decay": 0.5,
        "augment": TURNED,
        "image_weight": 60.0,
        "refine_steps": 100,
    },
    steps=5500,
    batch_size=64,
    validate_every=500,
    max_minutes=105,
    after={"refine_steps": 50, "search_rate": 0.02, "search_steps": 500},
)

TABLE = Table(
    name="medxgan-brain",
    about="Brain MRI, tumour or none: is the negative realisation decided negative, and does the map hold the evidence?",
    data="brain-mri:tumour",
    size=64,
    classifier=RESNET,
    second_classifier=RESNET,
    rows={
        "medXGAN": MEDXGAN,
        "Grad-CAM": Untrained(method="gradcam"),
        "integrated gradients": Untrained(method="integrated_gradients"),
    },
    metrics=(
        "validity",
        "transfer",
        "posterior_gain",
        "residual",
        "represented",
        "kernel_distance",
        "frechet",
        "confidence_drop",
        "map_area",
        "seconds",
    ),
    paper=(
        Paper(paper="medxgan", table="table_2_confidence_drop", row="medXGAN", column="mri+", metric="confidence drop",
              direction="tumour -> none"),
        Paper(paper="medxgan", table="table_2_confidence_drop", row="GradCAM", column="mri+", metric="confidence drop",
              ours="Grad-CAM", direction="tumour -> none"),
    ),
    notes=(
        "z1 has 96 numbers and z2 16 (paper 1000 and 100), so that repeated searches can end at the same latents.",
        "An encoder learns beside the generator and starts the search; the paper has none. The search holds z1 to the absent "
        "class (see the method), which the paper's does not.",
        "Trained on one of two cores.",
        "Confidence drops are at equal mask area; the paper's masks differed in area, so its figures do not compare.",
        "What the generator makes of noise, its latent walks and repeated searches: medxgan-latents.",
    ),
)  # fmt: skip
