"""The command line: exit codes, help, and the whole way from images to a report."""

import contextlib
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from obverse.classifier import Classifier
from obverse.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of bright and dark grey pictures of 16 px."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (root / name).mkdir()
        for index in range(40):
            pixels = np.clip(level + random.normal(0, 12, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A classifier and an explainer, trained for a few steps through the command line."""
    runs = tmp_path_factory.mktemp("runs")
    data = ("--data", f"folder:{folder}", "--validate-every", 10, "--batch-size", 8)
    for name, seed in (("net", 0), ("second", 1)):
        assert (
            run("fit", "classifier", *data, "--run-dir", runs / name, "--steps", 30, "--width", 4, "--seed", seed) == 0
        )
    small = ("--width", 4, "--critic-width", 4, "--critic-levels", 2, "--identity", 1.0, "--rotation", 5)
    assert (
        run("fit", "cyce", *data, "--classifier", runs / "net", "--run-dir", runs / "cyce", "--steps", 4, *small) == 0
    )
    return runs


def test_help_and_usage(capsys):
    assert run("--help") == 0
    assert "obverse COMMAND" in capsys.readouterr().out
    assert run() == 2
    assert run("fit", "--help") == 0
    assert "syce" in capsys.readouterr().out
    assert run("--version") == 0


def test_unknown_words_are_usage_errors(capsys):
    assert run("explan") == 2
    assert (
        "unknown command 'explan'; expected one of demo, fit, explain, evaluate, compare, audit"
        in capsys.readouterr().err
    )
    assert run("fit", "sice") == 2
    assert "unknown method 'sice'; expected classifier, syce, cyce" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        run("fit", "syce", "--stepps", 3)
    assert stop.value.code == 2


def test_help_of_a_method_lists_every_hyperparameter_with_its_meaning(capsys):
    with pytest.raises(SystemExit) as stop:
        run("fit", "syce", "--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "--symmetry FLOAT",
        "lambda of the distance to the stable image, eq. 11",
        "--cycle FLOAT",
        "(default: 2.0)",
    ):
        assert words in text


@pytest.mark.process
def test_the_whole_way(trained, folder, tmp_path, capsys):
    image = folder / "dark" / "0.png"
    assert run("explain", trained / "cyce", image, "--target", "light", "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())
    assert (tmp_path / "out" / "0.png").exists()
    assert "dark" in capsys.readouterr().out
    assert run("explain", trained / "cyce", image, "--set", "width=9") == 1
    assert "expected a setting of cyce that counts after training (none), got 'width'" in capsys.readouterr().err
    assert run("explain", trained / "cyce", image, "--set", "width") == 1
    assert "set: expected NAME=VALUE, got 'width'; pass e.g. refine_steps=30" in capsys.readouterr().err
    assert run("explain", trained / "cyce", image, "--posterior", 0.3) == 1
    assert "posterior: expected a target whose posterior it is, and one answer; pass --target" in capsys.readouterr().err
    assert run("explain", trained / "cyce", image, "--posterior", 0.3, "--target", "light") == 1
    assert "at: cyce has no knob" in capsys.readouterr().err
    second = ("--second-classifier", trained / "second", "--metrics", "validity", "transfer", "l1")
    assert run("evaluate", trained / "cyce", "--split", "test", "--out", tmp_path / "report.html", *second) == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert "report: " in capsys.readouterr().out
    assert run("evaluate", trained / "cyce", "--second-classifier", trained / "net") == 1
    assert "expected one trained independently" in capsys.readouterr().err
    assert run("evaluate", trained / "cyce", "--metrics", "beauty") == 1
    assert "beauty" in capsys.readouterr().err


@pytest.mark.process
def test_compare_and_audit(trained, tmp_path, capsys, monkeypatch):
    figures = ("--metrics", "validity", "l1")
    assert run("compare", trained / "cyce", "--baseline", "identity", "nearest", *figures, "--out", tmp_path / "c") == 0
    assert "compared with cyce" in capsys.readouterr().out
    names = set(json.loads((tmp_path / "c" / "comparison.json").read_text())["names"])
    assert names == {"cyce", "identity", "nearest"} and (tmp_path / "c" / "identity.html").exists()
    assert "Compared with cyce" in (tmp_path / "c" / "comparison.html").read_text()
    assert run("compare", trained / "cyce", "--baseline", "cxplain") == 1
    assert "which is trained first; train it with `obverse fit cxplain`" in capsys.readouterr().err
    assert run("compare", trained / "cyce", trained / "cyce") == 1
    assert "got the same name twice" in capsys.readouterr().err
    shutil.copytree(trained / "cyce", tmp_path / "identity")
    assert run("compare", tmp_path / "identity", "--baseline", "identity") == 1
    assert "runs: 'identity' names a baseline too; rename that folder" in " ".join(capsys.readouterr().err.split())
    shutil.rmtree(tmp_path / "identity" / "checkpoint")
    monkeypatch.chdir(tmp_path / "identity")  # named by a dot, and without what only a run that goes on needs
    assert run("compare", ".") == 1
    assert "runs: expected something to compare . with, got nothing" in " ".join(capsys.readouterr().err.split())
    assert run("compare", ".", "--baseline", "nearest", *figures, "--out", tmp_path / "d") == 0
    assert (tmp_path / "d" / "identity.html").exists()
    code = run("audit", trained / "cyce", "--baseline", "identity", "--images", 8, "--out", tmp_path / "audit.json")
    found = json.loads((tmp_path / "audit.json").read_text())
    assert code == 1 and found["passed"] is False  # a map that never changes does not depend on the weights
    assert "second_classifier" in found["checks"][3]["words"]
    capsys.readouterr()
    second = run("audit", trained / "cyce", "--images", 8, "--second-classifier", trained / "second", "--out",
                 tmp_path / "second.json")  # fmt: skip
    told = json.loads((tmp_path / "second.json").read_text())
    assert second == (0 if told["passed"] else 1) and "second classifier" in told["checks"][3]["words"]
    capsys.readouterr()
    run("audit", trained / "cyce", "--images", 8)
    assert "pass --retrain-steps N" in capsys.readouterr().out
    retrain = ("--retrain-steps", 2, "--batch-size", 4)
    run("audit", trained / "cyce", "--images", 8, *retrain, "--out", tmp_path / "again.json")
    words = json.loads((tmp_path / "again.json").read_text())["checks"][0]["words"]
    assert "another training for the trained one" in words
    noise = ("--baseline", "adversarial_noise")  # whose part learns
    run("audit", trained / "cyce", *noise, "--images", 8, *retrain, "--out", tmp_path / "noise.json")
    words = json.loads((tmp_path / "noise.json").read_text())["checks"][0]["words"]
    assert "another training for the trained one" in words


def test_a_run_is_not_overwritten_unless_asked(trained, folder, capsys):
    words = (
        "fit",
        "classifier",
        "--data",
        f"folder:{folder}",
        "--run-dir",
        trained / "net",
        "--batch-size",
        8,
        "--width",
        4,
    )
    assert run(*words) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert run(*words, "--resume", "--overwrite") == 1
    assert "expected one of the two" in capsys.readouterr().err
    assert run(*words, "--resume", "--steps", 30, "--validate-every", 10) == 0


def test_what_lies_in_the_run_folder_is_not_lost(trained, folder, tmp_path, capsys):
    words = ("--data", f"folder:{folder}", "--batch-size", 8, "--width", 4, "--steps", 1)
    explain = ("--classifier", trained / "net", "--critic-width", 4)
    project = tmp_path / "project"
    shutil.copytree(trained / "second" / "classifier", project / "classifier")
    assert run("fit", "classifier", *words, "--run-dir", project) == 1
    assert "is there already and no run beside it; choose another run_dir" in " ".join(capsys.readouterr().err.split())
    assert run("fit", "cyce", *words, *explain, "--run-dir", project) == 1
    assert "holds another classifier than the one to explain" in " ".join(capsys.readouterr().err.split())
    shutil.rmtree(project)
    shutil.copytree(trained / "net" / "classifier", project / "classifier")
    (project / "samples").mkdir()
    (project / "samples" / "patient.png").write_bytes(b"mine")
    assert run("fit", "cyce", *words, *explain, "--run-dir", project) == 1
    assert "holds no run but samples; choose an empty or a new folder" in " ".join(capsys.readouterr().err.split())
    assert (project / "samples" / "patient.png").read_bytes() == b"mine"
    assert run("fit", "cyce", *words, *explain, "--against-rest", "dark", "--label", "light", "--run-dir", tmp_path / "x") == 1
    assert "against_rest, label: expected one of the two" in capsys.readouterr().err


def test_a_preset_gives_defaults_that_options_replace(trained, folder, tmp_path, capsys):
    words = ("fit", "cyce", "--data", f"folder:{folder}", "--classifier", trained / "net", "--batch-size", 8, "--width", 4,
             "--critic-width", 4, "--steps", 2, "--validate-every", 2)  # fmt: skip
    assert run(*words, "--run-dir", tmp_path / "a", "--preset", "tumour-resnet50") == 0
    assert run(*words, "--run-dir", tmp_path / "b", "--preset=tumour-resnet50", "--cycle", 3, "--depth", 2) == 0
    made = [json.loads((tmp_path / name / "config.json").read_text())["what"]["hyperparameters"] for name in "ab"]
    assert [(one["cycle"], one["depth"], one["realism"]) for one in made] == [(20.0, 3, 0.05), (3.0, 2, 0.05)]
    assert run(*words, "--run-dir", tmp_path / "c", "--preset", "hands") == 1
    assert "preset: expected one of pneumonia-resnet50" in capsys.readouterr().err
    assert run(*words, "--run-dir", tmp_path / "c", "--preset") == 1
    assert "preset: expected a name behind --preset" in capsys.readouterr().err
    assert run("fit", "mgen", *words[2:], "--run-dir", tmp_path / "c", "--preset", "tumour-resnet50") == 1
    assert "preset: mgen has none, got 'tumour-resnet50'; leave it out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("fit", "cyce", "--help")
    assert "tumour-densenet121" in capsys.readouterr().out


def test_other_images_are_judged_whole_at_the_classifiers_size(trained, folder, tmp_path, capsys):
    from obverse.commands.runs import JudgeOptions

    for name in ("dark", "light"):
        (tmp_path / "test" / name).mkdir(parents=True)
        for index in range(3):
            with Image.open(folder / name / f"{index}.png") as picture:
                picture.resize((20, 24)).save(tmp_path / "test" / name / f"{index}.png")
    plain = JudgeOptions().open(trained / "cyce")
    opened = JudgeOptions(data=f"folder:{tmp_path}").open(trained / "cyce")
    assert len(opened.data) == 6 and opened.data.image_shape == (1, 16, 16)
    assert (len(opened.train), len(opened.validation)) == (len(plain.train), len(plain.validation)) and len(plain.data) == 12
    assert len(JudgeOptions(split="validation").open(trained / "cyce").data) == len(plain.validation)
    moved = tmp_path / "moved"
    shutil.copytree(trained / "cyce", moved)
    facts = json.loads((moved / "run.json").read_text())
    facts["data"]["data"] = f"folder:{tmp_path / 'gone'}"
    (moved / "run.json").write_text(json.dumps(facts))
    with pytest.raises(FileNotFoundError, match="gone, which does not exist"):
        JudgeOptions().open(moved)
    assert len(JudgeOptions(data=f"folder:{folder}").open(moved).data) == 12
    assert "training and validation images come from folder:" in capsys.readouterr().err


def test_a_run_that_stops_can_be_opened_with_its_own_classifier(folder, trained, tmp_path, monkeypatch):
    from obverse.methods import load
    from obverse.methods.syce import CyCE

    words = ("fit", "cyce", "--data", f"folder:{folder}", "--run-dir", tmp_path / "r", "--steps", 3, "--validate-every", 1,
             "--batch-size", 8, "--width", 4, "--critic-width", 4, "--critic-levels", 2)  # fmt: skip
    step = CyCE.train_step

    def stops(self, batch, now):
        if now.index == 2:
            raise KeyboardInterrupt("stopped")
        yield from step(self, batch, now)

    monkeypatch.setattr(CyCE, "train_step", stops)
    with contextlib.suppress(KeyboardInterrupt):
        run(*words, "--classifier", trained / "net")
    assert load(tmp_path / "r").classifier.fingerprint == Classifier.load(trained / "net" / "classifier").fingerprint
    assert run("evaluate", tmp_path / "r", "--out", tmp_path / "report.json", "--metrics", "validity") == 0


def test_a_classifier_of_three_classes_goes_on_to_one_explainer_for_all(folder, tmp_path, capsys):
    images = tmp_path / "my images"
    shutil.copytree(folder, images)
    shutil.copytree(images / "dark", images / "middle")
    data = ("--data", f"folder:{images}", "--size", 16)
    small = ("--steps", 2, "--width", 4, "--batch-size", 8)  # 8 is no multiple of 3
    assert run("fit", "classifier", *data, *small, "--run-dir", tmp_path / "net") == 0
    follow = capsys.readouterr().out.split("next: obverse ")[1].strip()
    assert follow == f"fit conditional_syce --data 'folder:{images}' --size 16 --classifier {tmp_path / 'net'} --run-dir ..."


def test_failures_say_what_to_do(trained, tmp_path, capsys):
    assert run("explain", tmp_path / "nothing", tmp_path / "x.png") == 1
    assert "nothing" in (said := capsys.readouterr().err) and "missing; the folder was not written by obverse" in said
    bare = tmp_path / "bare"
    shutil.copytree(trained / "cyce" / "best", bare / "best")
    shutil.copy(trained / "cyce" / "config.json", bare)
    assert run("evaluate", bare) == 1
    assert "bare holds none; pass it, obverse.load(folder, classifier), or name the folder of a fin" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run("evaluate", trained / "cyce", "--out", tmp_path / "report.pdf") == 1
    assert "path: expected a name ending in .html, .json or .csv, got 'report.pdf'" in capsys.readouterr().err
    (tmp_path / "file").write_text("no folder")
    assert run("evaluate", trained / "cyce", "--out", tmp_path / "file" / "report.html") == 1
    assert "file cannot be written to" in " ".join(capsys.readouterr().err.split())
    assert run("explain", trained / "cyce", tmp_path / "x.png") == 1
    assert "expected a picture file" in capsys.readouterr().err
    (tmp_path / "text.png").write_text("not a picture")
    assert run("explain", trained / "cyce", tmp_path / "text.png") == 1
    assert "text.png" in capsys.readouterr().err
    assert run("fit", "syce", "--data", "lesions", "--classifier", tmp_path / "none", "--run-dir", tmp_path / "r") == 1
    assert "train one with `obverse fit classifier`" in capsys.readouterr().err
    assert run("fit", "classifier", "--data", "dogs", "--run-dir", tmp_path / "r") == 1
    assert "spec: expected one of lesions" in capsys.readouterr().err


@pytest.mark.process
def test_help_is_quick():
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "obverse", "--help"], capture_output=True, text=True, check=True)
    assert "obverse COMMAND" in done.stdout
    assert (
        time.perf_counter() - began < 5
    )  # 0.1 s of work; the benchmark `speed` measures it, a busy machine may be slow
