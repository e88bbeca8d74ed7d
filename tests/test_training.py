"""fit equals a hand-written loop, resumes exactly, stops on request, and says what is wrong."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import obverse.training
from obverse import checkpoint
from obverse.batches import Batches, Step
from obverse.data.base import MemoryDataset, Sample
from obverse.models.vae import VAE
from obverse.runs import device_name
from obverse.training import Trainable, fit, history_of, stop_requests, use_bf16
from tiny_core import SHAPE, Toy, bright_data

TESTS = Path(__file__).parent
QUIET = {"progress": False, "precision": "float32", "batch_size": 8}


def weights(trainable) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in trainable.networks.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def every_network_moved(before: dict, after: dict) -> bool:
    return all(not torch.equal(before[key], after[key]) for key in before)


# ---------------------------------------------------------------------- the loop itself


def rows_by_hand(labels, batch_size, seed, index):
    """The rows of step `index`, restated: each group in a fresh random order an epoch, equal numbers of each."""
    groups = sorted(set(labels.tolist()) - {-1})
    each, rows = batch_size // len(groups), []
    for number, group in enumerate(groups):
        members = [i for i, label in enumerate(labels.tolist()) if label == group]
        for position in range(index * each, (index + 1) * each):
            epoch, place = divmod(position, len(members))
            generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) * 1_009 + number)
            rows.append(members[torch.randperm(len(members), generator=generator)[place]])
    return rows


def loop_by_hand(toy, data, steps, seed):
    """The alternating GAN loop as one would write it without the engine."""
    nets = toy.networks.to(memory_format=torch.channels_last)
    generator, critic, rarely, pool = (nets[name] for name in ("generator", "critic", "rarely", "pool"))
    players = toy.players()
    softplus = nn.functional.softplus
    for index in range(steps):
        nets.train()
        rows = rows_by_hand(data.labels(), 8, seed, index)
        real = data[rows].image.contiguous(memory_format=torch.channels_last)
        draws = torch.randn(2, 4, *SHAPE, generator=torch.Generator().manual_seed(seed * 1_000_003 + index))
        with torch.no_grad():
            fake = generator(real + 0.1 * draws.view(8, *SHAPE))
        shown = torch.cat([fake, pool.images.clone()])
        pool.images.copy_(torch.cat([fake, pool.images])[:4])
        pool.count += 1
        loss = softplus(-critic(real)).mean() + softplus(critic(shown)).mean()
        players["critic"].zero_grad()
        loss.backward()
        players["critic"].step()
        if index % 2 == 0:
            for parameter in critic.parameters():
                parameter.requires_grad_(False)
            again = generator(real)
            loss = softplus(-critic(again)).mean() + 0.5 * (again - real).abs().mean()
            if index % 10 == 0:
                loss = loss + (rarely(real.mean((1, 2, 3)).view(-1, 1)) - 1).square().mean()
            players["generator"].zero_grad()
            loss.backward()
            players["generator"].step()
            for parameter in critic.parameters():
                parameter.requires_grad_(True)


@pytest.mark.parametrize("kind", ["adam", "sgd", "adamw"])
def test_forty_steps_equal_a_hand_written_loop_bit_for_bit(kind, data):
    by_engine, by_hand = Toy(kind), Toy(kind)
    start = weights(by_engine)
    fit(by_engine, data, steps=40, average=0, validate_every=40, seed=3, **QUIET)
    loop_by_hand(by_hand, data, 40, 3)
    assert every_network_moved(start, weights(by_engine))
    assert same(weights(by_engine), weights(by_hand))


def test_averages_are_the_restated_running_average(data):
    class Recorded(Toy):
        seen = ()

        def train_step(self, batch, step):
            self.seen = [*self.seen, weights(self)]
            yield from super().train_step(batch, step)

    toy = Recorded()
    fit(toy, data, steps=9, average=0.6, seed=1, **QUIET)
    last = Toy()
    fit(last, data, steps=9, average=0, seed=1, **QUIET)
    after = [*toy.seen[1:], weights(last)]  # the weights after each of the nine steps
    for name in ("critic.0.weight", "generator.1.running_mean", "generator.1.running_var"):
        expected = toy.seen[0][name].clone()
        for index, state in enumerate(after, start=1):
            keep = min(0.6, (1 + index) / (10 + index))
            expected = keep * expected + (1 - keep) * state[name]
        torch.testing.assert_close(weights(toy)[name], expected)
        assert not torch.equal(weights(toy)[name], after[-1][name])
    for name in ("generator.1.num_batches_tracked", "pool.images"):  # other buffers are of the moment
        assert torch.equal(weights(toy)[name], after[-1][name])


def test_the_rate_multiplies_every_learning_rate(data):
    rates = []

    class Watched(Toy):
        def players(self):
            self.made = super().players()
            return self.made

        def train_step(self, batch, step):
            rates.append([group["lr"] for player in self.made.values() for group in player.param_groups])
            yield from super().train_step(batch, step)

    fit(Watched(falls=True), data, steps=5, **QUIET)
    for index, found in enumerate(rates):
        assert found == pytest.approx([1e-2 * (1 - index / 100)] * 2)


def test_bf16_moves_see_the_updated_weights(data, monkeypatch):
    seen = []

    class Low(Trainable):
        def __init__(self):
            self.networks = nn.ModuleDict({"line": nn.Linear(256, 1)})
            nn.init.zeros_(self.networks["line"].weight)

        device = torch.device("cpu")

        def players(self):
            return {"line": torch.optim.SGD(self.networks.parameters(), 0.5)}

        def train_step(self, batch, step):
            for _ in range(2):
                out = self.networks["line"](batch.image.flatten(1))
                seen.append((out.dtype, float(out.detach().mean())))
                yield "line", {"square": (out.float() - 1).square().mean()}

        def validate(self, data):
            return 0.0

        def describe(self):
            return {"method": "low"}

    fit(Low(), data, steps=1, **{**QUIET, "precision": "bf16"})
    assert seen[0][0] == torch.bfloat16
    assert seen[0][1] != seen[1][1]  # the cache of the cast weights did not outlive the move
    assert torch.is_autocast_enabled("cpu") is False
    for full, expected in ((False, torch.bfloat16), (True, torch.float32)):
        seen.clear()
        monkeypatch.setattr(obverse.training, "use_bf16", lambda device: True)
        monkeypatch.setattr(Low, "full_precision", full)
        fit(Low(), data, steps=1, **{**QUIET, "precision": "auto"})
        assert seen[0][0] == expected


def test_bf16_is_used_only_where_it_is_fast(monkeypatch):
    for name, amx, avx, fast in (
        ("Intel", True, True, True), ("Intel", False, True, False), ("AMD", False, True, True), ("AMD", False, False, False)
    ):  # fmt: skip
        has = {"cpu_name": f"{name} something", "amx_bf16": amx, "avx512_bf16": avx}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert use_bf16(torch.device("cpu")) is fast
        assert not use_bf16(torch.device("cuda"))


# ---------------------------------------------------------------------- data order and noise


def test_groups_are_balanced_sorted_and_minus_one_is_left_out():
    labels = torch.tensor([1] * 5 + [0] * 11 + [-1] * 3 + [2] * 2)
    image = (torch.arange(21).view(-1, 1, 1, 1) / 255).float().expand(21, *SHAPE).contiguous()
    data = MemoryDataset(Sample(image=image), ["a", "b", "c"])

    class Grouped(Toy):
        def groups(self, data):
            return labels

    batches = Batches(Grouped(), data, 6, 0, 0, 1, torch.device("cpu"))
    for index in range(30):
        rows = (batches(index).image[:, 0, 0, 0] * 255).round().long()
        assert labels[rows].tolist() == [0, 0, 1, 1, 2, 2]
        assert rows.tolist() == rows_by_hand(labels, 6, 0, index)


@pytest.mark.parametrize("count, batch_size", [(10, 4), (3, 8), (7, 7)])
def test_every_image_is_seen_equally_often(count, batch_size):
    data = MemoryDataset(Sample(image=torch.rand(count, *SHAPE), path=tuple(str(i) for i in range(count))), ["a"])
    batches = Batches(Toy(groups=False), data, batch_size, 1, 0, 1, torch.device("cpu"))
    seen = [int(name) for index in range(count) for name in batches(index).path]  # batch_size whole epochs
    for epoch in range(batch_size):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    if count > 3:
        assert seen[:count] != seen[count : 2 * count]  # each epoch has an order of its own


def test_processes_share_a_batch_without_overlap(data):
    toy, cpu = Toy(), torch.device("cpu")
    named = MemoryDataset(Sample(image=data.sample.image, label=data.labels(), path=tuple(map(str, range(32)))), "ab")
    whole = Batches(toy, named, 8, 2, 0, 1, cpu)
    parts = [Batches(toy, named, 8, 2, rank, 2, cpu) for rank in range(2)]
    for index in range(12):
        one, (first, second) = whole(index), [part(index) for part in parts]
        assert one.path == first.path[:2] + second.path[:2] + first.path[2:] + second.path[2:]
        assert one.label.tolist() == [0] * 4 + [1] * 4


def test_noise_is_a_function_of_seed_and_step():
    like = torch.empty(8, 3)
    assert torch.equal(Step(5, 9, 2, 8).normal(like), Step(5, 100, 2, 8).normal(like))
    assert not torch.equal(Step(5, 9, 2, 8).normal(like), Step(6, 9, 2, 8).normal(like))
    assert not torch.equal(Step(5, 9, 2, 8).normal(like), Step(5, 9, 3, 8).normal(like))
    step = Step(5, 9, 2, 8)
    assert not torch.equal(step.normal(like), step.normal(like))
    uniform = Step(0, 1, 0, 8).uniform(torch.empty(8, 500))
    assert 0 <= float(uniform.min()) < 0.01 and 0.99 < float(uniform.max()) < 1


def test_noise_leaves_the_global_random_state():
    before = torch.get_rng_state()
    Step(0, 1, 0, 4).normal(torch.empty(4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_processes_slice_the_noise_of_the_whole_batch(draw):
    whole = getattr(Step(3, 9, 1, 8, blocks=2), draw)(torch.empty(8, 5))
    halves = [getattr(Step(3, 9, 1, 4, blocks=2, rank=rank, world=2), draw)(torch.empty(4, 5)) for rank in range(2)]
    assert torch.equal(whole, torch.cat([halves[0][:2], halves[1][:2], halves[0][2:], halves[1][2:]]))
    # one group of the batch
    whole = getattr(Step(3, 9, 1, 8, blocks=2), draw)(torch.empty(4, 5))
    halves = [getattr(Step(3, 9, 1, 4, blocks=2, rank=rank, world=2), draw)(torch.empty(2, 5)) for rank in range(2)]
    assert torch.equal(whole, torch.cat(halves))


def test_training_from_samples_alone_needs_no_data():
    class Sampler(Toy):
        from_samples = True

        def train_step(self, batch, step):
            assert len(batch) == 0
            noise = step.normal(torch.empty(step.rows, 1))
            yield "generator", {"rare": (self.networks["rarely"](noise) - 1).square().mean()}

    toy = Sampler()
    before = weights(toy)
    history = fit(toy, None, steps=3, **QUIET)
    assert history.steps == 3 and history.best_score is None
    assert not torch.equal(before["rarely.weight"], weights(toy)["rarely.weight"])


def test_what_needs_images_is_not_trained_without():
    with pytest.raises(ValueError, match="data: Toy is trained on images, got None; pass a data set"):
        fit(Toy(), None, steps=1, **QUIET)


# ---------------------------------------------------------------------- run folder, resuming


@pytest.mark.parametrize("kind", ["adam", "sgd", "adamw"])
def test_seventeen_and_twenty_three_steps_equal_forty(kind, data, tmp_path):
    other = bright_data(8, 1)
    settings = {**QUIET, "validation": other, "validate_every": 10, "average": 0.9, "seed": 4}
    straight = Toy(kind, falls=True)
    whole = fit(straight, data, steps=40, run_dir=tmp_path / "straight", **settings)

    class Interrupted(Toy):
        def train_step(self, batch, step):
            if step.index == 16:
                os.kill(os.getpid(), signal.SIGINT)
            yield from super().train_step(batch, step)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 17 of 40; go on .*--resume"):
        fit(Interrupted(kind, falls=True), data, steps=40, run_dir=tmp_path / "parts", **settings)
    resumed = Toy(kind, falls=True)
    parts = fit(resumed, data, steps=40, run_dir=tmp_path / "parts", existing="resume", **settings)
    assert len(resumed.worlds) == 23
    assert (parts.steps, parts.curve, parts.best_step, parts.best_score, parts.stopped_by) == (
        whole.steps, whole.curve, whole.best_step, whole.best_score, whole.stopped_by)  # fmt: skip
    assert len(whole.curve) == 4
    assert same(weights(straight), weights(resumed))
    for name in ("checkpoint/state", "best/networks"):
        one, other = (checkpoint.load_tensors(tmp_path / run / f"{name}.safetensors") for run in ("straight", "parts"))
        assert same(one, other), name
    states = [checkpoint.read_json(tmp_path / run / "checkpoint" / "state.json") for run in ("straight", "parts")]
    assert {**states[0], "seconds": 0} == {**states[1], "seconds": 0}


def test_a_finished_run_resumed_gives_the_same_answer(data, tmp_path):
    settings = {**QUIET, "validation": bright_data(8, 1), "validate_every": 5, "run_dir": tmp_path / "run"}
    first, again = Toy(), Toy()
    one = fit(first, data, steps=20, **settings)
    other = fit(again, data, steps=20, existing="resume", **settings)
    assert again.worlds == [] and one == other
    assert history_of(tmp_path / "run") == one and one.device == device_name(torch.device("cpu")) != ""
    assert same(weights(first), weights(again))
    state = tmp_path / "run" / "checkpoint" / "state.json"
    state.write_text(json.dumps({key: value for key, value in json.loads(state.read_text()).items() if key != "device"}))
    assert history_of(tmp_path / "run").device == "unknown"  # of a run before this was noted


def test_the_folder_of_a_run_cut_short_says_so(data, tmp_path):
    class Stopped(Toy):
        def train_step(self, batch, step):
            if step.index == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield from super().train_step(batch, step)

    with pytest.raises(KeyboardInterrupt):
        fit(Stopped(), data, steps=5, run_dir=tmp_path / "run", **QUIET)
    assert history_of(tmp_path / "run").stopped_by == "max_minutes or a request to stop"


def test_a_resumed_run_logs_no_step_twice(data, tmp_path):
    settings = {**QUIET, "validation": bright_data(8, 1), "validate_every": 5, "run_dir": tmp_path / "run"}
    fit(Toy(), data, steps=10, **settings)
    log = tmp_path / "run" / "metrics.jsonl"
    with log.open("a") as file:  # as a run leaves it that was killed between its log and its checkpoint, while writing
        file.write(log.read_text().splitlines()[-1].replace('"step": 10', '"step": 15') + '\n{"step": 20, "sec')
    fit(Toy(), data, steps=20, existing="resume", **settings)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [5, 10, 15, 20]


def test_a_run_can_be_made_longer(data, tmp_path):
    settings = {**QUIET, "validate_every": 10, "run_dir": tmp_path / "run", "average": 0}
    fit(Toy(), data, steps=10, **settings)
    longer, straight = Toy(), Toy()
    assert fit(longer, data, steps=20, existing="resume", **settings).steps == 20
    fit(straight, data, steps=20, **{**settings, "run_dir": None})
    assert same(weights(longer), weights(straight))


def test_the_best_averaged_weights_are_kept(data, tmp_path):
    scores = iter([0.5, 0.2, 0.9, 0.3])
    kept = []

    class Scored(Toy):
        def validate(self, data):
            kept.append(weights(self))
            return next(scores)

    toy = Scored()
    run = {**QUIET, "run_dir": tmp_path / "run"}
    history = fit(toy, data, validation=data, steps=40, validate_every=10, average=0.9, **run)
    assert history.best_step == 20 and history.best_score == 0.2
    assert history.curve == ((10, 0.5), (20, 0.2), (30, 0.9), (40, 0.3))
    assert same(weights(toy), kept[1])
    assert same(checkpoint.load_tensors(tmp_path / "run" / "best" / "networks.safetensors"), kept[1])
    last = checkpoint.load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors")
    assert torch.equal(last["average.critic.0.weight"], kept[3]["critic.0.weight"])  # the averaged ones were scored
    assert not torch.equal(last["networks.critic.0.weight"], kept[3]["critic.0.weight"])
    assert toy.networks.training is False


def test_without_validation_the_last_average_is_kept(data):
    averaged, plain = Toy(statistics=False), Toy(statistics=False)
    history = fit(averaged, data, steps=15, validate_every=4, average=0.9, **QUIET)
    fit(plain, data, steps=15, validate_every=4, average=0, **QUIET)
    assert history.best_step == 15 and history.best_score is None and history.curve == ()
    assert not torch.equal(weights(averaged)["critic.0.weight"], weights(plain)["critic.0.weight"])


def test_the_run_folder_is_written(data, tmp_path):
    class Drawn(Toy):
        def pictures(self, data):
            return torch.linspace(0, 1, 12).view(1, 3, 4)

    fit(Drawn(), data, validation=data, steps=10, validate_every=5, run_dir=tmp_path / "run", **QUIET)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10]
    assert set(rows[0]) == {"step", "seconds", "validation", "critic/real", "critic/fake", "generator/realism",
                            "generator/same"}  # fmt: skip
    assert all(isinstance(row["validation"], float) and row["seconds"] >= 0 for row in rows)
    from PIL import Image

    with Image.open(tmp_path / "run" / "samples" / "step_000005.png") as picture:
        assert picture.size == (4, 3) and picture.getpixel((3, 2)) == 255 and picture.getpixel((0, 0)) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["what"]["method"] == "toy" and config["fit"]["batch_size"] == 8 and config["versions"]["torch"]
    assert json.loads((tmp_path / "run" / "best" / "settings.json").read_text())["method"] == "toy"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best", "checkpoint", "config.json", "metrics.jsonl", "samples"]  # fmt: skip


def test_without_a_run_folder_nothing_is_written(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(Toy(), data, steps=4, validate_every=2, **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_refused_resumed_or_overwritten(data, tmp_path):
    settings = {**QUIET, "steps": 6, "validate_every": 3, "run_dir": tmp_path / "run"}
    fit(Toy(), data, **settings)
    first = checkpoint.load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors")
    with pytest.raises(ValueError, match=r"run_dir: .*run holds a run already; .*--resume.*--overwrite"):
        fit(Toy(), data, **settings)
    assert same(first, checkpoint.load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors"))
    toy = Toy("sgd")
    fit(toy, data, existing="overwrite", **{**settings, "steps": 3})
    assert len(toy.worlds) == 3
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert checkpoint.read_json(tmp_path / "run" / "checkpoint" / "state.json")["step"] == 3


def test_what_belongs_beside_a_run_is_written_before_its_first_step_and_forgotten_with_it(data, tmp_path):
    class Stops(Toy):
        def train_step(self, batch, step):
            if step.index == 2:
                raise RuntimeError("power cut")
            yield from super().train_step(batch, step)

    def opened(folder):
        for name in ("classifier", "model"):
            (folder / name).mkdir()
        (folder / "run.json").write_text("{}")

    settings = {**QUIET, "steps": 4, "validate_every": 1, "run_dir": tmp_path / "run"}
    with pytest.raises(RuntimeError, match="power cut"):
        fit(Stops(), data, opened=opened, **settings)
    beside = {"classifier", "model", "run.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} >= beside | {"best"}
    fit(Toy(), data, existing="resume", **settings)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= beside
    fit(Toy(), data, existing="overwrite", **settings)
    assert not {path.name for path in (tmp_path / "run").iterdir()} & beside


def test_a_folder_with_other_files_is_never_touched(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for existing in ("refuse", "resume", "overwrite"):
        with pytest.raises(ValueError, match=r"holds no run but thesis.tex; choose an empty or a new folder"):
            fit(Toy(), data, steps=2, run_dir=tmp_path, existing=existing, **QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("changed, message", [
    ({"method": "other"}, r"holds a run of another method \(\"toy\", got \"other\"\)"),
    ({"classifier": "f00"}, r"holds a run of another classifier \(\"none\", got \"f00\"\)"),
    ({"kind": "sgd"}, r"holds a run of other kind \(\"adam\", got \"sgd\"\).*existing='overwrite'"),
])  # fmt: skip
def test_a_run_of_something_else_is_not_resumed(data, tmp_path, changed, message):
    settings = {**QUIET, "steps": 2, "run_dir": tmp_path / "run"}
    fit(Toy(), data, **settings)

    class Other(Toy):
        def describe(self):
            return super().describe() | changed

    with pytest.raises(ValueError, match=message):
        fit(Other(), data, existing="resume", **settings)


@pytest.mark.parametrize("changed", [{"batch_size": 4}, {"average": 0.5}, {"precision": "auto"}, {"seed": 9}])
def test_a_resumed_run_keeps_its_settings(data, tmp_path, changed):
    settings = {**QUIET, "steps": 2, "run_dir": tmp_path / "run"}
    fit(Toy(), data, **settings)
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name}: the run in .* a resumed run keeps its settings"):
        fit(Toy(), data, existing="resume", **{**settings, **changed})


def test_a_run_on_other_data_is_not_resumed(data, tmp_path):
    settings = {**QUIET, "steps": 2, "run_dir": tmp_path / "run"}
    fit(Toy(), data, **settings)
    with pytest.raises(ValueError, match=r"data: the run in .*'count': 32.*'count': 16"):
        fit(Toy(), bright_data(16), existing="resume", **settings)


# ---------------------------------------------------------------------- disks that fill up, processes that die


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_previous_checkpoint(data, tmp_path, monkeypatch):
    settings = {**QUIET, "validate_every": 5, "run_dir": tmp_path / "run", "average": 0}
    fit(Toy(), data, steps=5, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_disk)
        with pytest.raises(OSError, match=r"No space left on device.*the previous version in .* survives; make room"):
            fit(Toy(), data, steps=10, existing="resume", **settings)
    assert checkpoint.read_json(tmp_path / "run" / "checkpoint" / "state.json")["step"] == 5
    assert not list((tmp_path / "run").glob(".*.new"))
    resumed, straight = Toy(), Toy()
    fit(resumed, data, steps=10, existing="resume", **settings)
    fit(straight, data, steps=10, **{**settings, "run_dir": None})
    assert len(resumed.worlds) == 5 and same(weights(resumed), weights(straight))


def test_a_crash_between_the_two_renames_is_mended(data, tmp_path, monkeypatch):
    settings = {**QUIET, "validate_every": 5, "run_dir": tmp_path / "run", "average": 0}
    fit(Toy(), data, steps=5, **settings)
    renamed, replace = [], os.replace

    def dies(one, other):
        if Path(other).name == "checkpoint":
            raise SystemExit("killed")  # the old one is moved away, the new one not yet in its place
        renamed.append(Path(other).name)
        replace(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(SystemExit):
            fit(Toy(), data, steps=10, existing="resume", **settings)
    assert ".checkpoint.old" in renamed and not (tmp_path / "run" / "checkpoint").exists()
    resumed, straight = Toy(), Toy()
    fit(resumed, data, steps=12, existing="resume", **settings)
    fit(straight, data, steps=12, **{**settings, "run_dir": None})
    assert len(resumed.worlds) == 2 and same(weights(resumed), weights(straight))


def test_overwriting_forgets_what_a_crash_left(data, tmp_path):
    settings = {**QUIET, "steps": 2, "run_dir": tmp_path / "run"}
    fit(Toy(), data, **settings)
    os.replace(tmp_path / "run" / "checkpoint", checkpoint.beside(tmp_path / "run" / "checkpoint")[1])
    toy = Toy()
    fit(toy, data, existing="overwrite", **settings)
    assert len(toy.worlds) == 2


# ---------------------------------------------------------------------- stopping


def test_max_minutes_ends_the_run_as_if_its_steps_were_done(data, tmp_path):
    class Slow(Toy):
        def train_step(self, batch, step):
            time.sleep(0.02)
            yield from super().train_step(batch, step)

    history = fit(Slow(), data, validation=data, steps=10_000, max_minutes=0.1 / 60, run_dir=tmp_path / "run", **QUIET)
    assert history.stopped_by == "max_minutes" and 1 <= history.steps <= 6
    assert history.seconds >= 0.1
    assert history.curve[-1][0] == history.steps == history.best_step
    assert checkpoint.read_json(tmp_path / "run" / "checkpoint" / "state.json")["step"] == history.steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_to_stop_are_heard_and_handlers_put_back(number):
    before = signal.getsignal(number)
    with stop_requests() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.wait(1)
    assert signal.getsignal(number) == before


def test_a_second_interruption_does_not_wait():
    before = signal.getsignal(signal.SIGINT)  # a job in the background may have been told to ignore it
    with pytest.raises(KeyboardInterrupt, match="stopped at once"), stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(data):
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(Toy(), data, steps=2, **QUIET)))
    thread.start()
    thread.join()
    assert found[0].steps == 2


def test_without_a_run_folder_an_interruption_says_so(data):
    class Interrupted(Toy):
        def train_step(self, batch, step):
            os.kill(os.getpid(), signal.SIGINT)
            yield from super().train_step(batch, step)

    with pytest.raises(KeyboardInterrupt, match=r"after step 1 of 5; nothing was saved, since there is no run_dir"):
        fit(Interrupted(), data, steps=5, **QUIET)


CHILD = """
import sys, time
sys.path[:0] = {path!r}
from obverse.training import fit
from tiny_core import Toy, bright_data

class Slow(Toy):
    def train_step(self, batch, step):
        if step.index == 3:
            print("going", flush=True)
        time.sleep(0.05)
        yield from super().train_step(batch, step)

fit(Slow(), bright_data(32), steps=2000, batch_size=8, validate_every=1000, run_dir=sys.argv[1], precision="float32",
    progress=False, average=0)
"""


@pytest.mark.process
def test_sigterm_saves_and_the_run_goes_on(data, tmp_path):
    code = CHILD.format(path=[str(TESTS.parent / "src"), str(TESTS)])
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stdout.readline() == "going\n"
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode != 0 and "KeyboardInterrupt: stopped after step" in said
    step = checkpoint.read_json(tmp_path / "run" / "checkpoint" / "state.json")["step"]
    assert 4 <= step < 500
    settings = {**QUIET, "steps": step + 3, "average": 0}
    resumed, straight = Toy(), Toy()
    fit(resumed, data, run_dir=tmp_path / "run", existing="resume", **settings)
    fit(straight, data, **settings)
    assert len(resumed.worlds) == 3 and same(weights(resumed), weights(straight))


# ---------------------------------------------------------------------- two processes

PAIR = """
import os, sys
import torch
sys.path[:0] = {path!r}
from safetensors.torch import save_file
from obverse.training import fit
from tiny_core import Toy, bright_data

torch.set_num_threads(1)
toy = Toy({kind!r}, dtype=torch.float64, statistics=False)
fit(toy, bright_data(32), validation=bright_data(8, 1), steps=12, batch_size=8, validate_every=6, run_dir=sys.argv[1],
    precision="float32", progress=False, average=0.5, seed=3)
rank = os.environ["RANK"]
assert set(toy.worlds) == {{2}}, toy.worlds
save_file({{k: v.contiguous() for k, v in toy.networks.state_dict().items()}}, f"{{sys.argv[1]}}_{{rank}}.safetensors")
torch.distributed.destroy_process_group()
"""


@pytest.mark.process
@pytest.mark.parametrize("kind", ["adam"])
def test_two_processes_at_half_batch_equal_one(kind, data, tmp_path):
    script = tmp_path / "pair.py"
    script.write_text(PAIR.format(path=[str(TESTS.parent / "src"), str(TESTS)], kind=kind))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script),
         str(tmp_path / "run")], capture_output=True, text=True, env=environment, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one = Toy(kind, dtype=torch.float64, statistics=False)
    before = weights(one)
    whole = fit(one, data, validation=bright_data(8, 1), steps=12, validate_every=6, average=0.5, seed=3, **QUIET)
    assert every_network_moved(
        {k: v for k, v in before.items() if "pool" not in k}, {k: v for k, v in weights(one).items() if "pool" not in k}
    )
    for rank in range(2):
        for key, value in checkpoint.load_tensors(tmp_path / f"run_{rank}.safetensors").items():
            torch.testing.assert_close(value, weights(one)[key], rtol=0, atol=1e-10, msg=f"{key} of {rank}")
    curve = checkpoint.read_json(tmp_path / "run" / "checkpoint" / "state.json")["curve"]
    assert curve == [[step, pytest.approx(score, abs=1e-10)] for step, score in whole.curve]
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2  # one process writes


# ---------------------------------------------------------------------- what goes wrong


class Broken(Toy):
    """A toy whose step is replaced."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def train_step(self, batch, step):
        yield from self.step(self.networks, batch, step)


def loss_of(networks):
    return networks["rarely"].weight.sum()


def test_a_loss_that_is_not_finite_is_named(data):
    def step(networks, batch, step):
        yield "critic", {"fine": networks["critic"](batch.image).mean()}
        bad = math.nan if step.index == 2 else 1.0
        yield "generator", {"fine": loss_of(networks), "rotten": bad * loss_of(networks)}

    with pytest.raises(FloatingPointError, match=r"step 2: player 'generator': loss 'rotten' is not finite; lower the"):
        fit(Broken(step), data, steps=5, **QUIET)


def test_the_weights_before_a_loss_that_is_not_finite_stay(data):
    toy = Broken(lambda networks, batch, step: iter([("generator", {"rotten": loss_of(networks) * math.inf})]))
    before = weights(toy)
    with pytest.raises(FloatingPointError):
        fit(toy, data, steps=5, **QUIET)
    assert same(before, weights(toy))


def test_a_validation_score_that_is_not_finite_is_an_error(data):
    class Lost(Toy):
        def validate(self, data):
            return math.nan

    with pytest.raises(FloatingPointError, match=r"step 2: the validation score is nan; check Lost\.validate"):
        fit(Lost(), data, validation=data, steps=5, validate_every=2, **QUIET)


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_a_yield_inside_a_with_block_is_refused(data, block):
    def step(networks, batch, step):
        loss = loss_of(networks)
        with block():
            yield "generator", {"loss": loss}

    with pytest.raises(RuntimeError, match=r"train_step yielded inside a with block of torch.no_grad, inference_mode"):
        fit(Broken(step), data, steps=2, **QUIET)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    assert depth == 1


def test_with_blocks_closed_before_the_yield_are_fine(data):
    def step(networks, batch, step):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            networks["generator"](batch.image)
        yield "generator", {"loss": loss_of(networks)}

    assert fit(Broken(step), data, steps=2, **QUIET).steps == 2


def test_an_unknown_player_is_named(data):
    def step(networks, batch, step):
        yield "referee", {"loss": loss_of(networks)}

    with pytest.raises(ValueError, match=r"yielded player 'referee', expected one of \['critic', 'generator'\]"):
        fit(Broken(step), data, steps=2, **QUIET)


@pytest.mark.parametrize("arguments, message", [
    ({"steps": 0}, "steps: expected at least 1, got 0"),
    ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ({"validate_every": -1}, "validate_every: expected at least 1, got -1"),
    ({"seed": 20240615123}, "seed: expected a whole number from 0 to 4294967295, got 20240615123; choose a smaller one"),
    ({"existing": "resumed"}, "existing: expected one of refuse, resume, overwrite, got 'resumed'; leave it out for refuse"),
    ({"precision": "fp16"}, "precision: expected one of auto, float32, bf16, got 'fp16'; leave it out for auto"),
    ({"average": 1.0}, r"average: expected a share in \[0, 1\), got 1; 0 switches averaging off"),
    ({"max_minutes": 0}, "max_minutes: expected more than 0, got 0; leave it out for no limit"),
    ({"batch_size": 1}, r"batch_size: expected at least 2 \(2 groups x 1 processes\), got 1; pass 2 or more"),
])  # fmt: skip
def test_impossible_arguments(data, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(Toy(), data, **{**QUIET, "steps": 2, **arguments})


def test_a_batch_is_rounded_down_to_equally_many_of_each_group(data, tmp_path):
    def step(networks, batch, step):
        seen.append((len(batch), batch.label.bincount().tolist(), step.rows))
        yield "generator", {"loss": loss_of(networks)}

    seen = []
    fit(Broken(step), data, steps=2, run_dir=tmp_path / "run", **{**QUIET, "batch_size": 7})
    assert seen == [(6, [3, 3], 6)] * 2
    assert checkpoint.read_json(tmp_path / "run" / "config.json")["fit"]["batch_size"] == 6


@pytest.mark.parametrize("name", ["data", "validation"])
def test_data_that_are_no_dataset_or_of_other_images(data, name):
    plain = torch.utils.data.TensorDataset(torch.rand(4, *data.image_shape))
    with pytest.raises(TypeError, match=f"{name}: expected an obverse Dataset, got TensorDataset; open one with obverse.data"):
        fit(Toy(), **{"data": data, name: plain}, steps=2, **QUIET)
    model = VAE((3, 16, 16), latent_size=2, width=2)
    like = MemoryDataset(Sample(image=torch.rand(4, 3, 16, 16)), ())
    with pytest.raises(ValueError, match=rf"{name}: expected images of shape \(3, 16, 16\) for VAE, got \(1, 16, 16\); open"):
        fit(model, **{"data": like, name: data}, steps=2, **QUIET)


def test_no_images_at_all(data):
    none = data.subset(torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="data: expected at least one image, got none; check the folder and the split"):
        fit(Toy(), none, steps=2, **QUIET)
    with pytest.raises(ValueError, match="validation: expected at least one image, got none"):
        fit(Toy(), data, validation=none, steps=2, **QUIET)


def test_images_that_all_are_left_out(data):
    class Choosy(Toy):
        def groups(self, data):
            return torch.full((len(data),), -1)

    with pytest.raises(ValueError, match="data: Choosy can use none of these 32 images; check the labels"):
        fit(Choosy(), data, steps=2, **QUIET)


# ---------------------------------------------------------------------- what is shown


def test_a_line_a_validation_where_there_is_no_terminal(data, capsys):
    fit(Toy(), data, validation=data, steps=4, validate_every=2, **{**QUIET, "progress": True})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("step 2/4  validation ") and "images/s" in lines[0] and "min left" in lines[0]
    assert "critic/real" in lines[0]


def test_a_bar_in_a_terminal(data, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(Toy(), data, steps=4, validate_every=2, **{**QUIET, "progress": True})
    said = capsys.readouterr().err
    assert "4/4" in said and "step 2/4" in said


def test_nothing_is_shown_when_asked_for_quiet(data, capsys):
    fit(Toy(), data, steps=4, validate_every=2, **QUIET)
    found = capsys.readouterr()
    assert found.err == found.out == ""
