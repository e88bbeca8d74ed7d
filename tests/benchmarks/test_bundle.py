"""The bundled run is replaced as a whole, once it has been scored, or not at all."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import bundle


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "run"
    for name in ("best/networks.safetensors", "classifier/weights.safetensors", "config.json", "run.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    opened = SimpleNamespace(explainer=None, data=None, validation=None, train=None)
    monkeypatch.setattr(bundle.JudgeOptions, "open", lambda _, where: opened)
    monkeypatch.setattr(bundle, "history_of", lambda _: None)
    monkeypatch.setattr(bundle, "evaluate", lambda *_, **__: SimpleNamespace(save=lambda path: path.write_text("scores")))
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_was_there_is_replaced(run, tmp_path):
    out = tmp_path / "package" / "lesions"
    for _ in range(2):
        bundle.bundle(run, out)
        assert names(out.parent) == [f"lesions/{name}" for name in (
            "best/networks.safetensors", "classifier/weights.safetensors", "config.json", "report.json", "run.json"
        )]  # fmt: skip
        (out / "best" / "left.txt").write_text("over")


def test_what_fails_leaves_what_was_there(run, tmp_path, monkeypatch):
    out = tmp_path / "package" / "lesions"
    bundle.bundle(run, out)
    before = names(out.parent)
    monkeypatch.setattr(bundle, "evaluate", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no figures")))
    with pytest.raises(RuntimeError, match="no figures"):
        bundle.bundle(run, out)
    assert names(out.parent) == before


@pytest.mark.parametrize("name", ["best", "classifier", "config.json", "run.json"])
def test_a_run_that_lacks_something_is_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"run: .*run/{name} is missing; pass the folder of a run"):
        bundle.bundle(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_weights_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST_WEIGHTS", 10)
    with pytest.raises(ValueError, match=r"run: expected at most 10 bytes of weights, .* has 55; train a smaller one"):
        bundle.bundle(run, tmp_path / "out")
