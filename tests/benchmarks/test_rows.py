"""The rows of a table: trained, cached, merged, failing alone."""

import dataclasses
import json
import shutil

import pytest
import torch
from torch import nn

import benchmarks.__main__ as command
import benchmarks.runner as runner
import benchmarks.training as training
from benchmarks.runner import first_of_each
from benchmarks.table import Paper, Table, Training, Untrained, facts
from benchmarks.tables import TABLES
from benchmarks.tables.syce_digits import TABLE as SYCE
from obverse.data.base import MemoryDataset, Sample
from obverse.metrics.judges import JudgeSettings

TINY = Training(method="classifier", settings={"architecture": "LeNet"}, steps=2, batch_size=8, validate_every=2)


def table(**rows) -> Table:
    return Table(name="tiny", about="A test.", data="lesions", size=16, counts={"train": 16, "validation": 8, "test": 12},
                 classifier=TINY, rows=rows, metrics=("l1", "transfer"))  # fmt: skip


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("OBVERSE_BENCHMARKS", str(tmp_path / "cache"))
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    return tmp_path


def test_facts_of_a_training_are_as_they_were_before_models():
    assert facts(SYCE.rows["SyCE"]) == {
        "method": "syce", "settings": SYCE.rows["SyCE"].settings, "steps": 4000, "batch_size": 64, "validate_every": 200,
        "max_minutes": 45,
    }  # fmt: skip


def test_the_folder_of_a_cached_classifier_has_not_moved():
    class Digits:
        name, image_shape = "mnist:3,8", (1, 28, 28)

        def __len__(self):
            return 9586

    assert training._folder("classifier", SYCE.classifier, Digits(), 0, "").name == "mnist-3,8-classifier-c35af92ad77f"


def test_a_model_is_part_of_the_facts():
    inner = Training(method="gan", steps=3)
    assert facts(Training(method="c3lt", steps=3, model=inner))["model"] == facts(inner)


def test_a_row_that_learns_from_samples_sees_no_image(monkeypatch):
    seen = {}
    monkeypatch.setattr(training, "fit", lambda job, data, **rest: seen.update(data=data))
    for samples in (False, True):
        row = Training(method="c3lt", steps=3, samples=samples)
        training._fit(None, row, "images", None, training.cache() / "nowhere", 0)
        assert seen["data"] is (None if samples else "images")
        assert ("samples" in facts(row)) == samples  # what was cached before stays where it is


def test_rows_of_every_kind_and_one_that_fails(folders):
    kinds = {
        "does nothing": Untrained(method="identity"),
        "attack": Untrained(method="pgd", settings={"steps": 2}, test_count=3),
        "noise": Untrained(method="adversarial_noise", explainer="attack", settings={"steps": 2}),
        "learned": Training(method="cxplain", settings={"cell": 8}, steps=2, batch_size=4, validate_every=2),
        "broken": Untrained(method="pgd", settings={"epsilon": 7.0}),
        "misdeclared": Untrained(method="cxplain"),
    }
    result = runner.run(table(**kinds))
    rows = {row["row"]: row for row in result["rows"]}
    assert list(rows) == list(kinds)
    value = {
        name: {f["metric"]: f["value"] for f in row["figures"] if f["direction"] == "all"} for name, row in rows.items()
    }
    assert value["does nothing"]["l1"] == 0 and value["attack"]["l1"] > 0
    assert value["noise"]["l1"] == pytest.approx(value["attack"]["l1"], rel=0.5)
    assert rows["attack"]["images"] == 6 and rows["attack"]["notes"] == ["the first 3 test images of each class"]
    assert rows["noise"]["images"] == 12
    sizes = rows["learned"]["parameters"]
    assert sizes and min(sizes.values()) > 0 and f"parameters: {next(iter(sizes))} " in runner.text(result)
    assert "parameters" not in rows["attack"]
    assert rows["learned"]["steps"] == 2 and "counterfactual" in rows["learned"]["skipped"]["L1 on [0, 1]"]
    assert rows["broken"]["failed"].startswith("ValueError: epsilon")
    assert rows["misdeclared"]["failed"].startswith("TypeError: misdeclared: cxplain learns")
    assert json.loads((folders / "results" / "tiny.json").read_text())["rows"] == json.loads(json.dumps(result["rows"]))
    assert "failed: ValueError: epsilon" in runner.text(result)


def test_only_some_rows_keep_the_others(monkeypatch):
    both = table(one=Untrained(method="identity"), two=Untrained(method="random_map"))
    first = runner.run(both, only=["one"])
    assert [row["row"] for row in first["rows"]] == ["one"]
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: pytest.fail("figures are cached"))
    again = runner.run(both, only=["one"])
    assert again["rows"] == first["rows"]
    monkeypatch.undo()


def test_merged_rows_stand_in_the_tables_order(folders, monkeypatch):
    both = table(one=Untrained(method="identity"), two=Untrained(method="random_map"))
    runner.run(both, only=["two"])
    merged = runner.run(both, only=["one"])
    assert [row["row"] for row in merged["rows"]] == ["one", "two"]


def test_rows_that_are_declared_otherwise_now_are_not_kept(folders):
    one, two = Untrained(method="identity"), Untrained(method="pgd", settings={"steps": 2})
    runner.run(table(one=one, two=two))
    for changed in (
        table(one=one, two=dataclasses.replace(two, settings={"steps": 3})),
        table(one=one),
        dataclasses.replace(table(one=dataclasses.replace(one, test_count=4), two=two), test_count=4),
    ):
        assert [row["row"] for row in runner.run(changed, only=["one"])["rows"]] == ["one"]
        runner.run(table(one=one, two=two))


def test_what_is_no_table_has_no_rows(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "speed", "--again"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--rows, --again: for tables, and speed is none; leave them out" in capsys.readouterr().err


def test_two_processes_on_one_table_keep_each_others_rows(folders, monkeypatch):
    both = table(one=Untrained(method="identity"), two=Untrained(method="random_map"))
    evaluate = runner.evaluate

    def meanwhile(explainer, *data, **options):
        if explainer.name == "identity":
            runner.run(both, only=["two"])  # as another process would
        return evaluate(explainer, *data, **options)

    monkeypatch.setattr(runner, "evaluate", meanwhile)
    found = runner.run(both, only=["one"])
    assert [row["row"] for row in found["rows"]] == ["one", "two"]
    assert json.loads((folders / "results" / "tiny.json").read_text())["rows"] == json.loads(json.dumps(found["rows"]))
    assert all(row["hardware"]["cores"] for row in found["rows"])


def test_a_row_that_fails_leaves_a_good_one_of_the_file(folders, monkeypatch, capsys):
    one = table(one=Untrained(method="identity"))
    good = runner.run(one)["rows"]
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: (_ for _ in ()).throw(MemoryError("too large")))
    again = runner.run(one, again=True)
    assert again["rows"] == good and again["failed_again"] == {"one, seed 0": "MemoryError: too large"}
    assert "failed, its figures are from before: MemoryError: too large" in runner.text(again)
    monkeypatch.setattr(command, "TABLES", {"tiny": one})
    monkeypatch.setattr("sys.argv", ["benchmarks", "tiny", "--again"])
    assert command.main() == 1 and "MemoryError" in capsys.readouterr().err


def test_figures_are_kept_even_if_no_report_can_be_written(folders, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    one = table(one=Untrained(method="identity"))
    monkeypatch.setattr("obverse.report.base.Report.save", full)
    assert runner.run(one)["rows"][0]["failed"] == "OSError: no space left"
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: pytest.fail("figures are cached"))
    assert runner.run(one)["rows"][0]["figures"]


def test_figures_of_other_code_are_not_taken(folders, monkeypatch):
    one = table(one=Untrained(method="identity"))
    runner.run(one)
    calls, evaluate = [], runner.evaluate
    monkeypatch.setattr(runner, "evaluate", lambda *data, **options: calls.append(1) or evaluate(*data, **options))
    runner.run(one)
    assert not calls and len(runner.sources()) == 12
    monkeypatch.setattr(runner, "sources", lambda: "changed")
    runner.run(one)
    assert calls == [1]


def test_named_rows_of_another_classifier_are_left_out(folders, classifier):
    path = folders / "results" / "searches.json"
    assert runner.named(path, classifier) == {}
    mine = {"seconds": 1, "explains": classifier.fingerprint[:12]}
    path.parent.mkdir()
    path.write_text(json.dumps({"rows": {"mine": mine, "old": {"seconds": 2}, "other": {"explains": "0" * 12}}}))
    assert runner.named(path, classifier) == {"mine": mine}


def test_a_finished_run_is_taken_although_the_method_has_new_settings(folders):
    tiny = table(learned=Training(method="cxplain", settings={"cell": 8}, steps=2, batch_size=4, validate_every=2))
    before = runner.run(tiny)
    (run,) = [path for path in (folders / "cache").iterdir() if "cxplain" in path.name]
    config = json.loads((run / "config.json").read_text())
    config["what"]["hyperparameters"].pop("sigma")  # as if it had come later
    (run / "config.json").write_text(json.dumps(config))
    after = runner.run(tiny, again=True)
    assert "failed" not in after["rows"][0]
    assert after["rows"][0]["steps"] == before["rows"][0]["steps"]


def test_a_committed_classifier_is_taken_as_it_is(folders, monkeypatch):
    monkeypatch.setattr(training, "COMMITTED", folders / "committed")
    splits = {name: runner.obverse.data.open("lesions", split=name, size=16, count=12) for name in ("train", "validation")}
    first, history = training.train_classifier(TINY, splits["train"], splits["validation"], 0)
    (run,) = (folders / "cache").iterdir()
    kept = folders / "committed" / run.name
    (kept / "checkpoint").mkdir(parents=True)
    shutil.copytree(run / "best", kept / "best")
    for name in ("config.json", "checkpoint/state.json"):
        shutil.copy(run / name, kept / name)
    shutil.rmtree(folders / "cache")
    monkeypatch.setattr(training, "fit", None)  # it must not be needed
    again, same = training.train_classifier(TINY, splits["train"], splits["validation"], 0)
    assert again.fingerprint == first.fingerprint and same == history


@pytest.mark.parametrize("folder", training.COMMITTED.iterdir(), ids=lambda folder: folder.name)
def test_what_is_committed_is_a_finished_run_of_a_table(folder):
    assert {path.name for path in folder.iterdir()} == {"best", "config.json", "checkpoint"}
    assert (folder / "best" / "networks.safetensors").exists()
    history = training.history_of(folder)
    assert history.stopped_by == "steps"
    shapes = {one.steps for table in TABLES.values() for one in (table.classifier, table.second_classifier) if one}
    assert history.steps in shapes


def test_a_row_is_ready_once_all_that_it_learns_is_there():
    learned = Training(method="cxplain", settings={"cell": 8}, steps=2, batch_size=4, validate_every=2)
    vae = Training(method="vae", steps=2, batch_size=4, validate_every=2)
    rows = {"learned": learned, "longer": dataclasses.replace(learned, steps=4), "attack": Untrained(method="pgd"),
            "noise": Untrained(method="adversarial_noise", explainer="attack"),
            "of learned": Untrained(method="adversarial_noise", explainer="learned"),
            "walk": Untrained(method="xgem", model=vae)}  # fmt: skip
    splits = {name: runner.obverse.data.open("lesions", split=name, size=16, count=12) for name in ("train", "validation")}
    classifier, _ = training.train_classifier(TINY, splits["train"], splits["validation"], 0)
    shop = training.Workshop(rows, classifier, splits)
    assert [name for name in rows if shop.ready(name, 0)] == ["attack", "noise"]
    shop.make("learned", 0)
    assert [name for name in rows if shop.ready(name, 0)] == ["learned", "attack", "noise", "of learned"]
    shop.model(vae)
    assert shop.ready("walk", 0) and not shop.ready("longer", 0)


def test_a_quick_table_writes_nothing(folders):
    result = runner.run(table(one=Untrained(method="identity")), quick=True)
    assert result["rows"][0]["images"] == 8
    assert not (folders / "results").exists()


def test_parts_that_nothing_fills_are_named():
    shop = training.Workshop({"cut": Untrained(method="reconstruction")}, None, {})
    with pytest.raises(ValueError, match="rows: expected one of cut, got 'cat'"):
        shop.make("cat", 0)


@pytest.mark.parametrize(("name", "epsilon"), [("baselines-digits", 64), ("baselines-fashion", 72), ("c3lt-mnist-49", 64),
                                                ("c3lt-fashion-46", 72)])  # fmt: skip
def test_pgd_is_the_published_one_in_the_ball_of_its_table(name, epsilon, classifier):
    shop = training.Workshop(TABLES[name].rows, classifier, {})
    published, stopped = (shop.make(row, 0)[0] for row in ("PGD", "PGD, stopped at 0.6"))
    assert (published.epsilon, published.confidence, published.patience) == (epsilon / 255, 1.0, 1000)
    assert (stopped.epsilon, stopped.confidence, stopped.patience) == (epsilon / 255, 0.6, 50)


def test_the_first_of_each_class_in_their_order(data):
    few = first_of_each(data, 3)
    labels = data.labels()
    expected = sorted(row for k in (0, 1) for row in (labels == k).nonzero().flatten()[:3].tolist())
    assert torch.equal(few[slice(None)].image, data[torch.tensor(expected)].image)


def test_an_autoencoder_comes_from_the_judges(monkeypatch):
    monkeypatch.setattr(training, "JudgeSettings", lambda: JudgeSettings(steps=2, batch_size=8, width=4))
    found = runner.run(table(again=Untrained(method="reconstruction")))["rows"][0]
    assert "failed" not in found and found["figures"][0]["value"] > 0


def test_a_printed_figure_is_in_our_unit():
    paper = Paper(paper="cx-gan", table="table_1_synthetic_localization", row="CAM", column="dice_percent+", metric="dice",
                  scale=0.01)  # fmt: skip
    assert paper.value() == pytest.approx(0.188)


def printed(metric: str, value: float, direction: str = "all") -> dict:
    return {"row": "one", "ours": "", "metric": metric, "direction": direction, "value": value}


def test_a_printed_figure_stands_beside_ours_and_not_beside_its_control():
    row = {"row": "one", "seed": 0, "figures": [
        {"metric": "confidence_drop", "label": label, "direction": direction, "value": 0.5, "low": 0.1, "high": None, "n": 3}
        for direction in ("all", "3 -> 8") for label in ("confidence drop", "confidence drop, random (control)")
    ]}  # fmt: skip
    def papers(*figures):
        lines = runner.text({"rows": [row], "paper": figures, "failed_again": {}}).splitlines()[2:]
        return [line.split("|")[8].strip() for line in lines]

    assert papers() == ["", "", "", ""]
    assert papers(printed("confidence_drop", 0.97)) == ["0.97", "", "", ""]
    assert papers(printed("confidence drop, random (control)", 0.2)) == ["", "0.2", "", ""]
    two = [printed("confidence drop", 0.97), printed("confidence drop", 0.91), printed("confidence_drop", 0.83, "3 -> 8")]
    assert papers(*two) == ["0.97; 0.91", "", "0.83", ""]
    assert papers(printed("confidence drop", 1.0), printed("confidence_drop", 2.0)) == ["1; 2", "", "", ""]


def test_the_confidence_drops_of_medxgan_are_those_of_its_map():
    assert {paper.metric for paper in TABLES["medxgan-brain"].paper} == {"confidence drop"}


def test_accuracies_worked_by_hand():
    class Fixed:
        def posteriors(self, data):
            return torch.tensor([[0.9, 0.1]] * 4 + [[0.2, 0.8]])

    data = MemoryDataset(Sample(image=torch.zeros(5, 1, 4, 4), label=torch.tensor([0, 0, 0, 1, 1])), ["free", "defect"])
    assert runner.accuracies(Fixed(), data) == {
        "test_accuracy": 0.8, "balanced_test_accuracy": 0.75, "test_recall": {"free": 1.0, "defect": 0.5},
    }  # fmt: skip


def test_a_table_says_how_good_its_classifiers_are():
    found = runner.run(table(one=Untrained(method="identity")))["classifier"]
    assert found["balanced_test_accuracy"] == pytest.approx(sum(found["test_recall"].values()) / 2)


def test_weights_tell_two_trainings_apart(classifier):
    from obverse.baselines.cxplain import CXPlain

    one, other = CXPlain(classifier, seed=0), CXPlain(classifier, seed=1)
    assert training.weights(one) == training.weights(CXPlain(classifier, seed=0)) != training.weights(other)
    assert isinstance(one.networks, nn.ModuleDict)


def test_weights_of_parts_count_too(classifier, data):
    from obverse.baselines.attribution import IntegratedGradients
    from obverse.baselines.controls import AdversarialNoise, Reconstruction
    from obverse.baselines.cxplain import CXPlain
    from obverse.methods.xgem import XGEM
    from obverse.models.vae import VAE

    def parts(seed):
        torch.manual_seed(seed)
        inner = CXPlain(classifier, seed=seed)
        return {
            "noise": AdversarialNoise(classifier, inner),
            "gradients": IntegratedGradients(classifier, inner, baseline="counterfactual"),
            "reconstruction": Reconstruction(classifier, nn.Conv2d(1, 1, 1)),
            "walk": XGEM(classifier, VAE(classifier.image_shape, width=2, latent_size=2, seed=seed)),
        }

    one, again, other = parts(0), parts(0), parts(1)
    for name in one:
        assert training.weights(one[name]) == training.weights(again[name]) != training.weights(other[name]), name
