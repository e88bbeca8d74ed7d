"""Folders are written whole or not at all, and read with clear errors."""

import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from obverse import checkpoint
from obverse.checkpoint import beside, load_tensors, read_json, save_folder, saved, settle, standing, write_json


def test_what_is_written_is_read(tmp_path):
    shared = torch.arange(24.0).view(1, 2, 3, 4)
    tensors = {
        "image": shared.contiguous(memory_format=torch.channels_last),
        "same": shared,
        "again": shared,  # safetensors refuses shared memory
        "column": torch.arange(6).view(2, 3)[:, 1],
        "flag": torch.tensor(True),
        "low": torch.ones(3, dtype=torch.bfloat16),
        "weight": torch.nn.Parameter(torch.ones(2)),
    }
    save_folder(tmp_path / "deep" / "run", {"weights": tensors, "other": {}}, {"settings": {"a": [1, "ü"]}})
    found = load_tensors(tmp_path / "deep" / "run" / "weights.safetensors")
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert torch.equal(found[key], value.detach()) and found[key].dtype == value.dtype
    assert load_tensors(tmp_path / "deep" / "run" / "other.safetensors") == {}
    assert read_json(tmp_path / "deep" / "run" / "settings.json") == {"a": [1, "ü"]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]


def test_others_may_read_the_weights(tmp_path):
    save_folder(tmp_path / "run", {"weights": {"a": torch.ones(1)}}, {})
    mode = (tmp_path / "run" / "weights.safetensors").stat().st_mode
    assert stat.S_IMODE(mode) == 0o644


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for value in (0, 1):
        save_folder(tmp_path / "run", {"weights": {"a": torch.full((1,), float(value))}}, {"settings": {"value": value}})
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"weights.safetensors", "settings.json"}
    assert load_tensors(tmp_path / "run" / "weights.safetensors")["a"] == 1
    assert read_json(tmp_path / "run" / "settings.json")["value"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("before, message", [
    (True, "the previous version in .*run survives"), (False, "nothing was saved"),
])  # fmt: skip
def test_a_full_disk(tmp_path, monkeypatch, before, message):
    if before:
        save_folder(tmp_path / "run", {"weights": {"a": torch.zeros(1)}}, {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=rf"run could not be written \(.*No space left.*\); {message}.*; make room or"):
        save_folder(tmp_path / "run", {"weights": {"a": torch.ones(1)}}, {})
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if before else [])
    if before:
        assert load_tensors(tmp_path / "run" / "weights.safetensors")["a"].item() == 0


@pytest.mark.parametrize("complete, value", [(True, 2), (False, 1)])
def test_a_crash_between_the_two_renames_is_settled(tmp_path, complete, value):
    new, old = beside(tmp_path / "run")
    save_folder(old, {"weights": {"a": torch.ones(1)}}, {})
    if complete:
        save_folder(new, {"weights": {"a": 2 * torch.ones(1)}}, {})
    assert standing(tmp_path / "run") == (new if complete else old)  # a reader moves nothing: the writer may be alive
    assert load_tensors(tmp_path / "run" / "weights.safetensors")["a"].item() == value and not (tmp_path / "run").exists()
    settle(tmp_path / "run")
    assert (tmp_path / "run").is_dir() and load_tensors(tmp_path / "run" / "weights.safetensors")["a"].item() == value


def test_a_new_folder_beside_a_present_one_is_not_trusted(tmp_path):
    save_folder(tmp_path / "run", {"weights": {"a": torch.ones(1)}}, {})
    new, _ = beside(tmp_path / "run")
    new.mkdir()
    (new / "weights.safetensors").write_bytes(b"half of")
    settle(tmp_path / "run")
    assert load_tensors(tmp_path / "run" / "weights.safetensors")["a"].item() == 1


def test_other_files_in_the_folder_are_never_lost(tmp_path):
    mine = tmp_path / "models"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"expected a folder of its own, or none yet, got one with thesis.txt"):
        save_folder(mine, {"weights": {"a": torch.ones(1)}}, {})
    assert (mine / "thesis.txt").read_text() == "years of work"
    for name in ("run.old", "run.new"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        save_folder(tmp_path / "run", {"weights": {"a": torch.ones(1)}}, {})
    assert (tmp_path / "run.old").is_dir() and (tmp_path / "run.new").is_dir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for value in (2, 3):
        save_folder(tmp_path / "link", {"weights": {"a": value * torch.ones(1)}}, {})
    assert (tmp_path / "link").is_symlink() and load_tensors(tmp_path / "run" / "weights.safetensors")["a"].item() == 3


def test_whoever_reads_while_another_writes_finds_one_version_or_the_other(tmp_path):
    def write():
        for value in range(60):
            save_folder(tmp_path / "best", {"weights": {"a": torch.full((1,), float(value))}}, {"settings": {"method": "m"}})

    save_folder(tmp_path / "best", {"weights": {"a": torch.zeros(1)}}, {"settings": {"method": "m"}})
    with ThreadPoolExecutor(1) as pool:
        writing, reads = pool.submit(write), 0
        while not writing.done():
            folder, settings = saved(tmp_path)
            assert settings == {"method": "m"} and folder.name == "best"
            assert 0 <= load_tensors(folder / "weights.safetensors")["a"].item() < 60
            reads += 1
        writing.result()
    assert reads > 10


@pytest.mark.parametrize("read, name", [(read_json, "settings.json"), (load_tensors, "weights.safetensors")])
def test_a_folder_replaced_between_the_look_and_the_reading_is_read_again(tmp_path, monkeypatch, read, name):
    save_folder(tmp_path / "run", {"weights": {"a": torch.ones(1)}}, {"settings": {"a": 1.0}})
    places = iter([beside(tmp_path / "run")[0], tmp_path / "run"])  # where it stood a moment ago, and where it is now
    monkeypatch.setattr(checkpoint, "standing", lambda folder: next(places))
    assert float(read(tmp_path / "run" / name)["a"]) == 1


def test_nothing_there_is_settled_as_nothing(tmp_path):
    settle(tmp_path / "run")
    assert not standing(tmp_path / "run").exists()


def test_one_json_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    write_json(tmp_path / "a" / "config.json", {"x": 1})
    replace = os.replace

    def dies(one, other):
        raise SystemExit

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(SystemExit):
        write_json(tmp_path / "a" / "config.json", {"x": 2})
    assert read_json(tmp_path / "a" / "config.json") == {"x": 1}
    monkeypatch.setattr(os, "replace", replace)
    write_json(tmp_path / "a" / "config.json", {"x": 3})
    assert read_json(tmp_path / "a" / "config.json") == {"x": 3}


@pytest.mark.parametrize("read", [load_tensors, read_json])
def test_missing_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"nothing\.x is missing; the folder was not written by obverse or is"):
        read(tmp_path / "nothing.x")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"\xff" * 100])
def test_damaged_tensors(tmp_path, content):
    path: Path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a safetensors file, got .*; it is damaged or of another kind"):
        load_tensors(path)


@pytest.mark.parametrize("content, message", [
    (b"{", "expected JSON, got"), (b"\xff\xfe", "expected JSON, got"),
    (json.dumps([1]).encode(), "expected a JSON object, got list"),
])  # fmt: skip
def test_damaged_json(tmp_path, content, message):
    path: Path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_what_was_trained_lies_in_a_folder_of_its_own_or_in_the_best_of_a_run(tmp_path):
    run = tmp_path / "run"
    save_folder(run, {}, {"settings": {"method": "whole"}})
    assert saved(run) == (run, {"method": "whole"})
    save_folder(run / "best", {}, {"settings": {"method": "best"}})
    assert saved(str(run)) == (run / "best", {"method": "best"})
    (run / "best").rename(beside(run / "best")[1])  # a crash between two renames
    assert saved(run) == (run / "best", {"method": "best"})
    with pytest.raises(FileNotFoundError, match=r"settings\.json is missing"):
        saved(tmp_path / "nothing")
