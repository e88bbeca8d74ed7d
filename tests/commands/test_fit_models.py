"""obverse fit gan and vae, methods that walk in them, and what is left in their run folders."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from obverse import methods
from obverse.cli import main
from obverse.commands.runs import JudgeOptions
from obverse.models import load_model
from obverse.opened import make_baseline


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Class folders of bright and dark pictures of 16 px, and a classifier of them."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (root / name).mkdir()
        for index in range(30):
            pixels = np.clip(level + random.normal(0, 12, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    folder = tmp_path_factory.mktemp("runs")
    (folder / "data.txt").write_text(f"folder:{root}")
    data = ("--data", f"folder:{root}", "--validate-every", 10, "--batch-size", 8)
    assert run("fit", "classifier", *data, "--run-dir", folder / "net", "--steps", 20, "--width", 4) == 0
    small = ("--steps", 2, "--width", 4, "--latent-size", 4)
    assert run("fit", "gan", *data, "--run-dir", folder / "gan", "--classifier", folder / "net", *small) == 0
    assert run("fit", "vae", *data, "--run-dir", folder / "vae", *small) == 0
    return folder


def data_of(runs):
    return ("--data", (runs / "data.txt").read_text(), "--validate-every", 10, "--batch-size", 8)


def test_models_are_trained_and_their_error_is_kept(runs, capsys):
    for name in ("gan", "vae"):
        facts = json.loads((runs / name / "run.json").read_text())
        assert facts["reconstruction"]["count"] > 0 and 0 < facts["reconstruction"]["error"] < 1
        model = load_model(runs / name)
        assert model.name == name and model.image_shape == (1, 16, 16) and model.latent_size == 4
    net = methods.classifier_for(runs / "net", runs / "net")
    assert load_model(runs / "gan").describe()["classifier"] == net.fingerprint
    words = ("fit", "vae", *data_of(runs), "--run-dir", runs / "vae", "--steps", 2, "--width", 4, "--latent-size", 4)
    assert run(*words, "--resume") == 0
    said = capsys.readouterr().out
    assert "reconstruction error 0." in said and "next: obverse fit c3lt --data" in said
    assert "--adversarial 0" in said  # it has no critic


@pytest.mark.process
def test_a_method_keeps_a_copy_of_its_model(runs, capsys):
    words = ("--classifier", runs / "net", "--model", runs / "gan", "--steps", 2)
    assert run("fit", "c3lt", *data_of(runs), *words, "--run-dir", runs / "c3lt", "--c3lt-steps", 3) == 0
    explainer = methods.load(runs / "c3lt")
    assert explainer.model.fingerprint == load_model(runs / "gan").fingerprint and explainer.steps == 3
    capsys.readouterr()
    # this model makes no bright image, which only a run without images can mind
    assert run("fit", "c3lt", *data_of(runs), *words, "--run-dir", runs / "blind", "--samples-only") == 1
    assert "too few to train on samples alone" in capsys.readouterr().err
    assert json.loads((runs / "blind" / "config.json").read_text())["fit"]["data"] is None
    image = next(iter((runs.parent).glob("images*/dark/0.png")))
    words = ("explain", runs / "c3lt", image, "--out", runs / "out", "--set", "refine_steps=2", "confidence=0.8")
    assert run(*words) == 0
    assert "asked for 80.0%" in json.loads((runs / "out" / "result.json").read_text())["answers"][0]["words"]
    assert run(*words, "hidden=3") == 1
    assert "hidden: expected a setting of c3lt that counts after training (own_pixels, refine_steps, " in capsys.readouterr().err
    load_model(runs / "vae").save(runs / "c3lt" / "model")
    with pytest.raises(ValueError, match=r"was trained for another model \(fingerprint"):
        methods.load(runs / "c3lt")


@pytest.mark.process
def test_a_knob_is_asked_for_a_posterior(runs, capsys):
    words = ("--classifier", runs / "net", "--run-dir", runs / "epe", "--steps", 1, "--preset", "calibrated", "--thin", 1)
    with pytest.warns(UserWarning, match="fewer than 1 of"):
        assert run("fit", "exaggeration", *data_of(runs), *words, "--width", 2, "--critic-width", 2) == 0
    assert methods.load(runs / "epe").divergence == 10
    image = next(iter((runs.parent).glob("images*/dark/0.png")))
    asked = ("--target", "dark", "--posterior", 0.3, "--out", runs / "asked")
    assert run("explain", runs / "epe", image, *asked, "--set", "search=2", "beyond=1") == 0
    answer = json.loads((runs / "asked" / "result.json").read_text())["answers"][0]
    assert answer["requested"] == pytest.approx(0.3) and "asked for 30.0% 'dark', got " in answer["words"]
    assert answer["asked"] is True and answer["represented"] in (True, False)


@pytest.mark.process
def test_the_class_without_pathology_is_said(runs, capsys):
    small = ("--steps", 1, "--anatomy", 4, "--pathology", 2, "--width", 2, "--critic-width", 2)
    words = ("--classifier", runs / "net", *small)
    assert run("fit", "medxgan", *data_of(runs), *words, "--run-dir", runs / "medxgan") == 0
    assert "medxgan: z2 is 0 for 'dark'; if another class is the one without pathology" in capsys.readouterr().out
    assert run("fit", "medxgan", *data_of(runs), *words, "--run-dir", runs / "other", "--absent", "1") == 0
    assert methods.load(runs / "other").model.absent == 1


def test_a_search_needs_no_training_but_a_model(runs, capsys):
    assert run("fit", "xgem", "--help") == 2
    assert (
        "xgem needs no training; put it beside a run with obverse compare RUN --baseline xgem"
        in capsys.readouterr().err
    )
    small = ("--width", 4, "--critic-width", 4, "--critic-levels", 2)
    words = ("--classifier", runs / "net", "--run-dir", runs / "cyce", "--steps", 1, *small)
    assert run("fit", "cyce", *data_of(runs), *words) == 0
    with pytest.raises(
        ValueError, match=r"baseline: xgem searches in a generative model, got none; .* pass its run folder"
    ):
        make_baseline("xgem", JudgeOptions().open(runs / "cyce"))
    opened = JudgeOptions(model=runs / "vae").open(runs / "cyce")
    made = make_baseline("xgem", opened)
    assert made.model.fingerprint == load_model(runs / "vae").fingerprint
    assert made.explain(opened.data[:2].image, torch.tensor([0, 1])).method == "xgem"


def test_help_says_where_models_come_from(capsys):
    assert run("fit", "--help") == 0
    said = capsys.readouterr().out
    assert "generative models: gan, vae" in said and "--model, the run folder of one" in said
    with pytest.raises(SystemExit) as stop:
        run("fit", "gan", "--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("--latent-size INT", "weight of the mean absolute error of reconstructions", "--classifier"):
        assert words in text
