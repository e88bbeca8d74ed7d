"""The command `obverse serve`: help, and what it refuses before anything is opened."""

import importlib.util
import os
import subprocess
import sys

import pytest

from obverse.app.state import BUNDLED
from obverse.cli import main


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("RUN...", "--baseline", "--reports", "--host STR", "(default: 127.0.0.1)", "--port"):
        assert words in text, words


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["serve"]) == 1
    assert "serve: needs the extra `app`; pip install -e '.[app]' in obverse's folder" in capsys.readouterr().err


@pytest.mark.process
def test_gradio_is_opened_without_a_notebook_and_without_rewriting_its_stubs():
    pytest.importorskip("gradio")
    code = (
        "import inspect, pathlib, sys; import obverse.app.server as server\n"
        "before, real, read = inspect.getfile, pathlib.Path.read_text, []\n"
        "def read_text(path, *options, **others): read.append(path.name); return real(path, *options, **others)\n"
        "pathlib.Path.read_text = read_text\n"
        "server._import_gradio(); import gradio\n"
        "print([name for name in read if name.endswith('.pyi')], inspect.getfile is before, sys.modules['IPython'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.split("\n")[0] == "[] True None"


def test_what_is_no_run_is_refused(tmp_path, capsys):
    pytest.importorskip("gradio")
    assert main(["serve", str(tmp_path / "nothing")]) == 1
    assert "is missing" in capsys.readouterr().err
    assert main(["serve", str(BUNDLED), "--baseline", "lime"]) == 1
    assert "baseline: expected some of" in capsys.readouterr().err
