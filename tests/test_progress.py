"""Where the output is no terminal a run says something at validations, and now and then between."""

import torch

import obverse.progress as progress
from obverse.progress import Progress


def test_a_line_at_validations_and_one_when_time_has_passed(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    loss = {"critic/real": torch.tensor(0.5)}
    with Progress(0, 10, 8, shown=True) as bar:
        for step in range(1, 11):
            now[0] += 25.0
            bar.advance(loss)
            if step == 5:
                bar.validated(step, loss, 0.25)
    said = capsys.readouterr().err.splitlines()
    # 60 s after the start, after the validation at 125 s, and not at the last step, where `fit` validates
    assert [line.split("  ")[0] for line in said] == ["step 3/10", "step 5/10", "step 8/10"]
    assert said[1] == "step 5/10  validation 0.2500  0 images/s  2.1 min left  critic/real 0.5"


def test_a_run_that_is_not_to_be_shown_says_nothing(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(0, 2, 8, shown=False) as bar:
        now[0] += 1000.0
        bar.advance({})
        bar.validated(1, {}, 0.5)
    assert capsys.readouterr().err == ""
