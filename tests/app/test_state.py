"""The workbench: what is opened, kept and refused."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from obverse.app import state
from obverse.app.state import BUNDLED, Workbench
from obverse.app.survey import FILTERS, SORTS, Survey, first_rows, survey
from tiny import explanation_of


def test_the_bundled_run_is_small_and_knows_its_scores(bench):
    weights = sum(path.stat().st_size for path in BUNDLED.rglob("*.safetensors"))
    assert 0 < weights <= 3_000_000
    assert bench.data.image_shape == (1, 64, 64) and bench.data.split == "test"
    report = bench.reports["lesions"]
    assert report.row("validity").value > 0.9
    assert any("target" in name for name in report.curves), "COUT's curve is missing"
    assert report.settings["explainer"]["classifier"] == bench.classifier.fingerprint


def test_answers_are_kept_and_their_names_cannot_be_guessed(bench, monkeypatch):
    picture = bench.picture(7)
    first = bench.answer("lesions", picture, None)
    monkeypatch.setattr(bench.explainer("lesions"), "answer", lambda *_: pytest.fail("asked again"))
    assert bench.answer("lesions", bench.picture(7), None) is first and bench.find(first.key) is first
    monkeypatch.undo()
    other = Workbench((BUNDLED,))
    assert other.answer("lesions", other.picture(7), None).key != first.key
    assert bench.answer("lesions", picture, 0).key != bench.answer("lesions", picture, 1).key


def test_what_is_kept_has_a_limit(monkeypatch):
    small = Workbench((BUNDLED,))
    one = small.answer("lesions", small.picture(0), None)
    monkeypatch.setattr(state, "MOST_KEPT", 2 * one.size)
    kept = [one, *(small.answer("lesions", small.picture(row), None) for row in range(1, 4))]
    assert [small.find(answer.key) is not None for answer in kept] == [False, False, True, True]


def test_the_walk_ends_at_the_explanation(bench):
    answer = bench.answer("lesions", bench.picture(2), None)
    assert torch.equal(answer.walk.frames[0, -1], answer.explanation.counterfactual[0])
    assert answer.walk.frames.shape == (1, state.FRAMES, 1, 64, 64) and answer.walk.faded
    assert answer.card.name == "image 2" and answer.card.walk["last"] == state.FRAMES - 1
    assert bench.answer("gradcam", bench.picture(2), None).walk is None


def test_what_is_made_of_an_upload_is_forgotten_after_an_hour(monkeypatch):
    small = Workbench((BUNDLED,))
    own = small.own("scan.png", torch.rand(1, 1, 64, 64), ())
    answers = [small.answer("lesions", picture, None) for picture in (own, small.picture(0))]
    pages = [small.report("lesions", rows, None) for rows in (own, [0])]
    assert all(small.find(one.key) for one in answers) and all(small.wrote(key) for key in pages)
    now = state.time.monotonic()
    monkeypatch.setattr(state.time, "monotonic", lambda: now + state.HOUR + 60)
    assert [small.find(one.key) is not None for one in answers] == [False, True]
    assert [small.wrote(key) is not None for key in pages] == [False, True]


def test_an_answer_without_a_way_takes_room_too(bench):
    answer = bench.answer("gradcam", bench.picture(2), None)
    assert answer.walk is None and answer.size >= 4 * answer.explanation.attribution.numel()


def test_wrong_names_and_runs_are_refused(bench, tmp_path):
    with pytest.raises(ValueError, match="explainer: expected one of lesions, nearest, gradcam, gradient, got 'lime'"):
        bench.explainer("lime")
    with pytest.raises(ValueError, match="baseline: expected some of raw_image"):
        Workbench((BUNDLED,), baselines=("lime",))
    with pytest.raises(ValueError, match="got the same name twice"):
        Workbench((BUNDLED, BUNDLED))
    with pytest.raises(FileNotFoundError):
        Workbench((tmp_path / "nothing",))


def test_explainers_of_two_classifiers_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    from obverse.classifier import Classifier

    shutil.copytree(BUNDLED, tmp_path / "other")
    weights = tmp_path / "other" / "classifier" / "weights.safetensors"
    tensors = load_file(weights)
    name = next(key for key in tensors if key.endswith("weight"))
    tensors[name] = tensors[name] + 0.01
    save_file(tensors, weights)
    module = Classifier.load(BUNDLED / "classifier").module
    module.load_state_dict(tensors)
    changed = Classifier(module, ["healthy", "diseased"], (1, 64, 64), device="cpu")
    for path, key in ((tmp_path / "other/classifier/classifier.json", "fingerprint"),
                      (tmp_path / "other/best/settings.json", "classifier")):  # fmt: skip
        content = json.loads(path.read_text())
        content[key] = changed.fingerprint
        path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="other explains another classifier than lesions"):
        Workbench((BUNDLED, tmp_path / "other"))


def test_reports_named_are_shown_beside(tmp_path):
    shutil.copy(BUNDLED / "report.json", tmp_path / "elsewhere.json")
    assert list(Workbench((BUNDLED,), reports=(tmp_path / "elsewhere.json",)).reports) == ["lesions", "elsewhere"]


def test_reports_of_two_runs_are_both_shown(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(BUNDLED / "report.json", tmp_path / name)
    files = (tmp_path / "a" / "report.json", tmp_path / "b" / "report.json")
    assert list(Workbench((BUNDLED,), reports=files).reports) == ["lesions", "a", "b"]
    shutil.copy(BUNDLED / "report.json", tmp_path / "lesions.json")
    with pytest.raises(ValueError, match=r"reports: .*lesions.json and .*report.json would both be 'lesions'; rename one"):
        Workbench((BUNDLED,), reports=(tmp_path / "lesions.json",))


def test_other_images_are_opened_at_the_classifiers_size(tmp_path):
    for name in ("healthy", "diseased"):
        (tmp_path / "test" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("L", (100, 80), 40 * index).save(tmp_path / "test" / name / f"{index}.png")
    other = Workbench((BUNDLED,), data=f"folder:{tmp_path}")
    assert len(other.data) == 4 and other.data.image_shape == (1, 64, 64)
    assert other.answer("lesions", other.picture(0), None).explanation is not None


def test_a_report_of_a_selection(bench):
    name, page = bench.wrote(bench.report("lesions", [9, 4, 11], None, "wrong decisions"))
    assert name == "obverse-lesions.html" and page.count("<article") == 3
    assert re.findall(r"<span>(image \d+):", page) == [
        "image 9",
        "image 4",
        "image 11",
    ]  # as in Explore, in their order
    assert "cyce on 3 images of lesions test" in page and "a selection of 3 of 400 images (wrong decisions)" in page
    assert "the images: image 9, image 4, image 11" in page and "drawn with a fixed seed" not in page
    assert 'alt="the image of image 9"' in page
    with pytest.raises(ValueError, match="report: expected at least one image, got none; choose another filter"):
        bench.report("lesions", [], None)
    own = bench.own("scan.png", bench.picture(3).sample.image, ("read with care",))
    _, page = bench.wrote(
        bench.report("lesions", own, 1 - int(bench.answer("lesions", own, None).explanation.source))
    )
    assert page.count("<article") == 1 and "read with care" in page


def test_scoring_in_the_app_replaces_the_report(bench):
    before = bench.reports["lesions"]
    try:
        assert bench.evaluate("lesions", most=20).counts["images"] == 20
        assert bench.reports["lesions"].counts["images"] == 20
    finally:
        bench.reports["lesions"] = before


def by_hand() -> Survey:
    image = torch.zeros(4, 1, 2, 2)
    before = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.55, 0.45], [0.2, 0.8]])
    after = torch.tensor([[0.3, 0.7], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    source = before.argmax(1)
    answers = explanation_of(image, image, before=before, after=after, source=source, target=1 - source)
    return Survey(
        total=4, explanation=answers, label=torch.tensor([0, 0, 0, 1]), change=torch.tensor([0.1, 0.4, 0.2, 0.3])
    )


@pytest.mark.parametrize(
    ("sort", "rows"),
    [(SORTS[0], [0, 1, 2, 3]), (SORTS[1], [0, 2, 3, 1]), (SORTS[2], [2, 1, 3, 0]), (SORTS[3], [2, 1, 0, 3]),
     (SORTS[4], [1, 3, 2, 0])],
)  # fmt: skip
def test_sorting(sort, rows):
    assert by_hand().rows(sort, FILTERS[0]) == rows


def test_the_first_rows_in_the_order_of_the_data_need_no_explanation(bench, monkeypatch):
    monkeypatch.setattr("obverse.app.survey.survey", lambda *_, **__: by_hand())
    assert first_rows(bench, "lesions", SORTS[0], FILTERS[0], 50) == list(range(50))
    assert first_rows(bench, "lesions", SORTS[4], FILTERS[0], 3) == [1, 3, 2]
    assert first_rows(bench, "lesions", SORTS[0], FILTERS[2], 3) == [2]


def test_filters():
    # reached posteriors of the target: 0.7, 0.6, 0.2, 0.7: the third answer is not valid
    assert by_hand().rows(SORTS[0], FILTERS[1]) == [1]
    assert by_hand().rows(SORTS[0], FILTERS[2]) == [2]


def test_a_survey_keeps_no_maps(bench):
    found = survey(bench, "lesions").explanation
    assert found.difference is None and found.stable is None and found.attribution.numel() == 0


def test_a_survey_is_made_once_and_agrees_with_the_explainer(bench, monkeypatch):
    monkeypatch.setattr("obverse.app.survey.MOST_IMAGES", 40)
    told = []
    bench.surveys.pop(("lesions", None), None)
    try:
        found = survey(bench, "lesions", lambda share, what: told.append((share, what)))
        assert len(found) == 40 and found.total == len(bench.data) and told[0] == (0.0, "explaining 40 images")
        answer = bench.explainer("lesions").explain(bench.data[:40].image)
        assert torch.equal(found.explanation.valid, answer.valid)
        assert torch.allclose(found.change, answer.difference.abs().flatten(1).mean(1))
        assert torch.equal(found.wrong, bench.data.labels()[:40] != answer.source)
        assert survey(bench, "lesions") is found
    finally:
        bench.surveys.pop(("lesions", None), None)


def test_a_survey_asks_for_the_class_that_is_chosen_and_keeps_its_time(bench, monkeypatch):
    sizes, plain = [], bench.explainer("lesions").explain
    monkeypatch.setattr("obverse.app.survey.MOST_IMAGES", 12)
    monkeypatch.setattr(bench.explainer("lesions"), "explain", lambda image, *to: sizes.append(len(image)) or plain(image, *to))
    found = survey(bench, "lesions", target=1)
    assert found.explanation.target.tolist() == [1] * 12 and sizes == [4, 8]
    assert survey(bench, "lesions", target=1) is found and bench.surveys["lesions", 1] is found
    clock = iter(range(0, 1000, 8))  # a batch takes eight seconds
    monkeypatch.setattr("obverse.app.survey.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr("obverse.app.survey.MOST_IMAGES", 40)
    assert len(survey(bench, "lesions", target=0)) == 4 + 6 + 2  # of twenty seconds twelve are left, then four, then none
    for target in (0, 1):
        bench.surveys.pop(("lesions", target))
