"""Baselines on the command line: those that are trained, and those that take an autoencoder."""

import json

import pytest

from commands.test_fit_models import data_of, run, runs  # noqa: F401
from obverse import methods
from obverse.baselines import BASELINES, baseline
from obverse.commands.compare import CompareOptions
from obverse.commands.runs import JudgeOptions
from obverse.explainer import LearnedExplainer
from obverse.methods import LEARNED
from obverse.metrics.judges import JudgeSettings
from obverse.opened import make_baseline

SMALL = {"cxplain": ("--cell", 8, "--width", 4), "mgen": ("--width", 4), "explaingan": ("--width", 4, "--latent-size", 4)}


@pytest.fixture
def judges(monkeypatch):
    monkeypatch.setattr("obverse.opened.JudgeSettings", lambda: JudgeSettings(steps=2, batch_size=8, width=4))


@pytest.fixture(scope="module")
def learned(runs):  # noqa: F811
    for name, settings in SMALL.items():
        words = ("--classifier", runs / "net", "--run-dir", runs / name, "--steps", 1, *settings)
        assert run("fit", name, *data_of(runs), *words) == 0
    return runs


def test_the_learned_ones_are_those_that_learn():
    assert list(LEARNED) == [name for name in BASELINES if issubclass(baseline(name), LearnedExplainer)]


@pytest.mark.parametrize("name", SMALL)
def test_a_learned_baseline_is_trained_and_opened_again(learned, name):
    explainer = methods.load(learned / name)
    opened = JudgeOptions().open(learned / name)
    assert explainer.name == opened.explainer.name == name and isinstance(explainer, LearnedExplainer)
    assert opened.explainer.explain(opened.data[:2].image).method == name


@pytest.mark.process
def test_learned_baselines_are_compared_and_evaluated_like_methods(learned, tmp_path, capsys):
    figures = ("--metrics", "map_area", "--out", tmp_path / "both")
    assert run("compare", learned / "cxplain", learned / "mgen", *figures) == 0
    assert json.loads((tmp_path / "both" / "comparison.json").read_text())["names"] == ["cxplain", "mgen"]
    assert run("evaluate", learned / "explaingan", "--metrics", "validity", "--out", tmp_path / "report.json") == 0
    code = run("audit", learned / "cxplain", "--images", 4, "--retrain-steps", 1, "--batch-size", 8)
    assert code in (0, 1) and "randomised weights" in capsys.readouterr().out


def test_what_needs_no_training_is_refused_by_fit(capsys):
    assert run("fit", "pgd", "--help") == 2
    assert "pgd needs no training; put it beside a run with obverse compare RUN --baseline pgd" in capsys.readouterr().err
    assert run("fit", "pgdd") == 2
    assert "unknown method 'pgdd'; expected classifier, syce" in capsys.readouterr().err
    assert run("fit", "--help") == 0
    assert "baselines that are trained: cxplain, explaingan, mgen" in capsys.readouterr().out


def test_refusals_name_only_what_would_be_accepted(learned, tmp_path):
    opened = JudgeOptions().open(learned / "explaingan")
    with pytest.raises(ValueError, match="got 'mgen', which is trained first; train it with `obverse fit mgen`") as error:
        make_baseline("mgen", opened)
    named = str(error.value).split("expected one of ")[1].split(", got")[0].split(", ")
    assert {"identity", "pgd", "cem", "nearest", "adversarial_noise"} <= set(named)
    assert not set(named) & {*LEARNED, "reconstruction", "latent_gradients"}
    for name in named:
        assert make_baseline(name, opened).name == name
    with pytest.raises(ValueError, match=r"got 'reconstruction', which needs an autoencoder; .* as --judges"):
        make_baseline("reconstruction", opened)
    with pytest.raises(ValueError, match=r"pgd, .*got 'mgen'") as error:
        make_baseline("mgen", opened, tmp_path)
    assert "reconstruction" in str(error.value)


def test_baselines_take_settings_after_their_name(learned):
    opened = JudgeOptions().open(learned / "explaingan")
    assert make_baseline("pgd:epsilon=0.2,steps=7", opened).steps == 7
    assert make_baseline("pgd:published", opened).confidence == 1
    assert make_baseline("pgd:published,epsilon=0.1", opened).epsilon == 0.1
    assert make_baseline("cem:published,change=any", opened).change == "any"
    gradients = make_baseline("integrated_gradients:baseline=counterfactual", opened)
    assert gradients.explainer is opened.explainer
    for text, message in (
        ("pgd:steps", "baseline: pgd has these presets: published, got steps; write settings as pgd:NAME=VALUE"),
        ("gradient:published", "baseline: gradient has these presets: none, got published"),
        ("pgd:size=3", "baseline: pgd has the settings .*epsilon.*, got size; pass one of them"),
        ("pgd:epsilon=-1", "epsilon"),
        ("pgd:steps=abc", "steps: expected a whole number for pgd, got 'abc'; pass e.g. steps="),
        ("pgd:published,steps=1.5", "steps: expected a whole number for pgd, got 1.5; pass e.g. steps="),
    ):
        with pytest.raises(ValueError, match=message):
            make_baseline(text, opened)


def test_the_help_of_compare_names_every_baseline_that_can_be_had_by_name():
    text = CompareOptions.__doc__ or ""
    assert all(f" {name}" in text for name in BASELINES if name not in LEARNED)


@pytest.mark.process
def test_cem_and_reconstruction_take_the_autoencoder_of_the_judges(learned, tmp_path, capsys, judges):
    opened = JudgeOptions().open(learned / "explaingan")
    cem, again = (make_baseline(name, opened, tmp_path / "judges") for name in ("cem", "reconstruction"))
    assert cem.autoencoder is not None and len(list((tmp_path / "judges").iterdir())) == 1
    image = opened.data[:2].image
    assert not again.explain(image).counterfactual.equal(image)
    figures = ("--metrics", "l1", "--out", tmp_path / "c", "--judges", tmp_path / "judges")
    assert run("compare", learned / "explaingan", "--baseline", "reconstruction", *figures) == 0
    capsys.readouterr()
    where = ("--baseline", "cem", "--images", 2)
    run("audit", learned / "explaingan", *where)
    assert "cem: runs without its autoencoder term; pass --judges" in capsys.readouterr().err
    run("audit", learned / "explaingan", *where, "--judges", tmp_path / "judges")
    assert "autoencoder term" not in capsys.readouterr().err
