import pytest
import torch

from obverse.data.base import Sample
from obverse.evaluation import evaluate
from obverse.explanation import NotApplicable
from obverse.metrics.base import Context
from obverse.metrics.distances import frechet
from obverse.metrics.judges import Autoencoders, Embedding, JudgeSettings, fitted, judge
from obverse.metrics.manifold import IM1, IM2
from obverse.metrics.realism import FrechetDistance, JensenShannon, KernelDistance
from obverse.training import fit
from tiny import Nothing, Truth, corner_classifier, corner_data, explanation_of

QUICK = JudgeSettings(latent=4, width=4, steps=3, batch_size=16)


def context(tmp_path, count=120):
    data = corner_data(count)
    return Context(explainer=Truth(corner_classifier(), data), data=data, reference=corner_data(200, seed=9),
                   judges=tmp_path)  # fmt: skip


def test_frechet_on_the_classifiers_features_is_that_of_the_two_sets(tmp_path):
    about = context(tmp_path)
    data, classifier = about.data, about.classifier
    report = evaluate(about.explainer, data, reference=about.reference, metrics=[FrechetDistance()])
    answer = about.explainer.explain(data[:].image)
    reference = about.reference[:].image
    decided = classifier.decide(reference)
    for name, source, target in (("healthy -> lesion", 0, 1), ("lesion -> healthy", 1, 0)):
        rows = answer.source == source
        expected = frechet(classifier.features(answer.counterfactual[rows]).flatten(1),
                           classifier.features(reference[decided == target]))  # fmt: skip
        row = report.row("frechet", name)
        assert row.value == pytest.approx(expected, rel=1e-4) and row.n == 60
        assert row.low <= row.value <= row.high
        assert row.beside["floor between real images"] > 0
        assert row.beside["real to real, other class"] > 2 * row.value


def test_answers_of_a_class_with_too_few_are_left_out_and_counted():
    rows = [*range(0, 120, 2), *range(1, 21, 2)]  # corner_data alternates: 60 of one class, 10 of the other
    few, reference = corner_data(120).subset(rows), corner_data(200, seed=9)
    both = evaluate(Nothing(corner_classifier()), few, reference=reference, metrics=[FrechetDistance()]).row("frechet")
    assert both.beside["answers left out, too few of their class"] == 10


def test_the_answer_that_changes_nothing_is_as_far_as_the_classes_are(tmp_path):
    data = corner_data(120)
    report = evaluate(
        Nothing(corner_classifier()), data, reference=corner_data(200, seed=9), metrics=[FrechetDistance()]
    )
    row = report.row("frechet", "lesion -> healthy")
    assert row.value == pytest.approx(row.beside["real to real, other class"], rel=0.2)
    both, other = report.row("frechet"), report.row("frechet", "healthy -> lesion")
    # not the distance of the pooled sets, which would be next to nothing
    assert both.value == pytest.approx((row.n * row.value + other.n * other.value) / (row.n + other.n))
    assert both.low <= both.value <= both.high and both.beside["floor between real images"] < 0.2 * both.value


def test_sure_answers_are_counted_apart(tmp_path):
    about = context(tmp_path)
    metric = FrechetDistance(sure=True).prepare(about)
    answer = about.explainer.explain(about.data[:].image)
    features = metric.features(answer, about.data[:], about.classifier)
    posterior = answer.posterior_after.gather(1, answer.target[:, None])[:, 0]
    assert torch.equal(metric.kept(features), posterior >= 0.9)
    assert metric.label.endswith("posterior at least 0.9")


def test_too_few_answers_are_refused():
    data, reference = corner_data(24), corner_data(200, seed=9)
    report = evaluate(
        Nothing(corner_classifier()), data, reference=reference, metrics=[FrechetDistance(), KernelDistance()]
    )
    message = "answers: a distance of sets needs at least 50 answers and real images of a class, got 12 and 100"
    assert report.skipped["Frechet distance, classifier features"].startswith(message)
    assert "Kernel" not in report.failures
    report = evaluate(Nothing(corner_classifier()), data, metrics=["frechet"])
    assert report.skipped["Frechet distance, classifier features"].startswith("reference: pass reference=")


def test_embedding_distances_and_judges_are_kept(tmp_path):
    about = context(tmp_path)
    metrics = [FrechetDistance("embedding", settings=QUICK), JensenShannon("embedding", settings=QUICK)]
    runs = [evaluate(about.explainer, about.data, reference=about.reference, judges=tmp_path / "kept", metrics=metrics)
            for _ in range(2)]  # fmt: skip
    (folder,) = (tmp_path / "kept").iterdir()
    assert folder.name.startswith("embedding-")
    for row, again in zip(runs[0].rows, runs[1].rows, strict=True):
        assert row.value == pytest.approx(again.value, rel=1e-3)
        assert "KL" in row.note and "PC1" in row.note
    js = runs[0].row("jensen_shannon", "healthy -> lesion")
    assert 0 <= js.value <= 1 and js.low is None
    without = evaluate(about.explainer, about.data, reference=about.reference, metrics=metrics)
    assert without.skipped["Frechet distance, embedding"].startswith("judges: pass judges=, a folder")


def test_another_classifier_or_data_set_has_other_judges(tmp_path):
    about = context(tmp_path)
    first = judge(Autoencoders, about, QUICK)
    assert judge(Autoencoders, about, QUICK) is first
    other = Context(
        explainer=Nothing(corner_classifier(0.7)), data=about.data, reference=about.reference, judges=tmp_path
    )
    judge(Autoencoders, other, QUICK)
    third = Context(explainer=about.explainer, data=about.data, reference=corner_data(200, seed=8), judges=tmp_path)
    judge(Autoencoders, third, QUICK)
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(NotApplicable, match="judges: pass judges="):
        judge(Embedding, Context(explainer=about.explainer, data=about.data, reference=about.reference), QUICK)
    with pytest.raises(NotApplicable, match="reference: pass reference="):
        judge(Embedding, Context(explainer=about.explainer, data=about.data, judges=tmp_path), QUICK)


def test_a_judge_of_an_older_architecture_is_not_taken(tmp_path, monkeypatch):
    about = context(tmp_path)
    judge(Embedding, about, QUICK)
    before = len(list(tmp_path.iterdir()))
    built = Embedding.build
    monkeypatch.setattr(Embedding, "build", lambda self: built(self) | {"more": torch.nn.Identity()})
    about.shared.clear()
    assert "more" in judge(Embedding, about, QUICK).networks
    assert len(list(tmp_path.iterdir())) == before + 1


def test_training_a_judge_leaves_the_random_state_and_learns(tmp_path):
    classifier = corner_classifier()
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    trained = Autoencoders(classifier, JudgeSettings(latent=8, width=8, steps=60, batch_size=32), 0)
    data = corner_data(64)
    before = float((trained.reconstruct(data[:].image, "all") - data[:].image).square().mean())
    fit(trained, data, steps=60, batch_size=32, validate_every=60, progress=False)
    assert torch.equal(torch.rand(2), expected)
    assert float((trained.reconstruct(data[:].image, "all") - data[:].image).square().mean()) < 0.8 * before


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 28, 28), (1, 33, 20)])
def test_judges_fit_any_image(shape):
    from obverse.metrics.judges import Decoder, Encoder

    image = torch.rand(2, *shape)
    latent = Encoder(shape, 5, 4)(image)
    assert latent.shape == (2, 5) and Decoder(shape, 5, 4)(latent).shape == image.shape


class Known:
    """Autoencoders whose answers are known."""

    def __init__(self, answers):
        self.answers, self.counts = answers, None

    def reconstruct(self, image, name):
        return self.answers[name].expand_as(image)


def test_im1_and_im2_by_hand():
    image = torch.zeros(1, 1, 1, 2)
    other = torch.tensor([[[[0.6, 0.8]]]])
    answer, sample = explanation_of(image, other), Sample(image=image)
    known = Known(
        {"class1": torch.tensor([0.6, 0.4]), "class0": torch.tensor([0.0, 0.0]), "all": torch.tensor([0.1, 0.4])}
    )
    # target: 0.4^2 = .16; source: .36 + .64 = 1; target to all: .25; sum of the image: 1.4
    assert float(IM1(judges=known)(answer, sample, corner_classifier())) == pytest.approx(0.16, rel=1e-5)
    assert float(IM2(judges=known)(answer, sample, corner_classifier())) == pytest.approx(0.25 / 1.4, rel=1e-5)
    dark = explanation_of(image, image)
    assert float(IM2(judges=known)(dark, sample, corner_classifier())) < 1e9  # finite for a black image
    with pytest.raises(NotApplicable, match="judges: pass judges="):
        IM1()(answer, sample, corner_classifier())


def test_a_judge_is_shown_one_of_each_decision_at_least(tmp_path):
    few = JudgeSettings(latent=4, width=4, steps=2, batch_size=1)
    assert judge(Autoencoders, context(tmp_path), few).counts.tolist() == [100, 100]


def test_a_class_that_was_hardly_seen_is_not_judged(tmp_path):
    about = context(tmp_path)
    made = judge(Autoencoders, about, QUICK)
    assert made.counts.tolist() == [100, 100]
    again = judge(Autoencoders, context(tmp_path), QUICK)
    assert again is not made and again.counts.tolist() == [100, 100]  # kept beside the weights
    answer, sample = about.explainer.explain(about.data[:].image), about.data[:]
    assert bool(IM1(judges=made).applies(answer, sample).all())
    made.counts = torch.tensor([100, 49])
    assert not bool(IM1(judges=made).applies(answer, sample).any())
    made.counts = None  # of before they were counted
    assert bool(IM2(judges=made).applies(answer, sample).all())


def test_a_decision_that_is_hardly_ever_made_does_not_fill_the_batches():
    class Often:
        classes = ("a", "b", "c")
        device = torch.device("cpu")
        image_shape = (1, 12, 12)

        def posteriors(self, data):
            return torch.eye(3)[torch.tensor([0] * 150 + [1] * 148 + [2] * 2)]

    groups = Autoencoders(Often(), QUICK, 0).groups(corner_data(300))
    assert groups.unique(return_counts=True)[0].tolist() == [-1, 0, 1] and int((groups == -1).sum()) == 2


def test_real_images_are_judged_as_of_their_own_class():
    image = torch.tensor([[[[0.6, 0.8]]]])
    answer, sample = explanation_of(image, None), Sample(image=image)  # decided 0
    known = Known(
        {"class0": torch.tensor([0.6, 0.4]), "class1": torch.tensor([0.0, 0.0]), "all": torch.tensor([0.1, 0.4])}
    )
    assert float(IM1("image", judges=known)(answer, sample, corner_classifier())) == pytest.approx(0.16, rel=1e-5)
    assert float(IM2("image", judges=known)(answer, sample, corner_classifier())) == pytest.approx(0.25 / 1.4, rel=1e-5)
    assert [one.label for one in IM1.instances()] == ["IM1", "IM1, real images (floor)"]
    assert "counterfactual" not in IM1("image").required


def test_inception_is_asked_for_by_its_weights(tmp_path, monkeypatch):
    about = context(tmp_path)
    metrics = [FrechetDistance("Inception")]
    without = evaluate(about.explainer, about.data, reference=about.reference, metrics=metrics)
    assert without.skipped["Frechet distance, Inception"].startswith("inception: pass inception=, a safetensors file")
    asked = []

    def load(path):
        asked.append(path)
        return torch.nn.Flatten(), "f" * 64

    monkeypatch.setattr("obverse.networks.inception.load_inception", load)
    report = evaluate(
        about.explainer, about.data, reference=about.reference, metrics=metrics, inception=tmp_path / "w.safetensors"
    )
    assert asked == [tmp_path / "w.safetensors"]
    assert report.row("frechet").note == "Inception-v3, 2048 numbers, weights ffffffffffff"


@pytest.mark.parametrize(("side", "batch"), [(28, 128), (32, 128), (64, 32), (128, 16), (512, 16)])
def test_judges_of_larger_images_see_fewer_at_a_time(side, batch):
    assert fitted(JudgeSettings(), (1, side, side)).batch_size == batch
    assert fitted(JudgeSettings(batch_size=8), (3, side, side)).batch_size == 8


def test_draws_of_few_answers_keep_the_figure_and_its_classes(tmp_path):
    about = context(tmp_path)
    metric = FrechetDistance().prepare(about)
    answer = about.explainer.explain(about.data[:].image)
    features = metric.features(answer, about.data[:], about.classifier)
    rows = torch.cat([(answer.target == 0).nonzero().flatten(), (answer.target == 1).nonzero().flatten()[:52]])
    part, source, target = features[rows], answer.source[rows], answer.target[rows]
    some = torch.cat([torch.arange(len(rows) - 52), torch.arange(len(rows) - 52, len(rows) - 10)])  # 42 of the second class
    dropped, same = metric.compute(part[some], source[some], target[some]), metric.resampled(part, source, target)
    kept = same.compute(part[some], source[some], target[some])
    first = target[some] == 0
    of_first = metric.distance(part[some][first][:, 1:], metric.learned().of(torch.tensor([0]), False))
    assert dropped == pytest.approx(of_first) and kept != pytest.approx(of_first)
    assert same.only == (0, 1)
