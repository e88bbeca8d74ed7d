import pytest
import torch

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.validity import (
    AccA,
    AccS,
    PosteriorGain,
    Transfer,
    TransferAccA,
    TransferValidity,
    Validity,
    check_second,
)
from tiny import Negative, Nothing, Truth, corner_classifier, corner_data, explanation_of

IMAGE = torch.full((4, 1, 12, 12), 0.25)
BEFORE = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
AFTER = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [0.1, 0.2, 0.7]])


def by_hand():
    return explanation_of(IMAGE, IMAGE, classes=("a", "b", "c"), source=torch.tensor([0, 0, 1, 0]),
                          target=torch.tensor([1, 1, 0, 1]), before=BEFORE, after=AFTER)  # fmt: skip


def test_validity_acc_a_and_gain_worked_by_hand():
    answer, sample, classifier = by_hand(), Sample(image=IMAGE), corner_classifier()
    # decided after: b, a, c, c; asked: b, b, a, b; before: a, a, b, a
    assert Validity()(answer, sample, classifier).tolist() == [1, 0, 0, 0]
    assert AccA()(answer, sample, classifier).tolist() == [0, 1, 0, 0]
    gain = PosteriorGain()(answer, sample, classifier)
    assert torch.allclose(gain, torch.tensor([0.6, 0.3, -0.1, -0.1]))


def test_acc_a_is_the_rest_of_validity_for_two_classes():
    data, classifier = corner_data(), corner_classifier()
    answer = Negative(classifier).explain(data[:].image)
    valid, kept = Validity()(answer, data[:], classifier), AccA()(answer, data[:], classifier)
    assert torch.equal(valid, 1 - kept)
    assert 0 < float(valid.mean()) < 1


def test_acc_s_asks_the_classifier_about_the_stable_image():
    data, classifier = corner_data(), corner_classifier()
    answer = Truth(classifier, data).explain(data[:].image)
    assert AccS()(answer, data[:], classifier).tolist() == [1.0] * len(data)
    other = explanation_of(data[:].image, data[:].image, stable=1 - data[:].image, source=answer.source,
                           target=answer.target)  # fmt: skip
    expected = [float(classifier.decide(1 - row[None])[0] == s) for row, s in zip(data[:].image, answer.source)]
    assert AccS()(other, data[:], classifier).tolist() == expected


def test_transfer_counts_flips_of_images_on_which_both_agree():
    data, classifier, second = corner_data(), corner_classifier(), corner_classifier(0.7)
    explanation = Negative(classifier).explain(data[:].image)
    transfer, acc_a, validity = Transfer(second), TransferAccA(second), TransferValidity(second)
    rows = transfer.applies(explanation, data[:])
    for row in range(len(data)):  # the definition, one image at a time
        image, answer = explanation.image[row][None], explanation.counterfactual[row][None]
        agree = int(second.decide(image)) == int(explanation.source[row])
        assert bool(rows[row]) == (agree and bool(explanation.valid[row]))
        kept = float(int(second.decide(answer)) == int(explanation.source[row]))
        assert float(acc_a(explanation, data[:], classifier)[row]) == kept
        asked = float(int(second.decide(answer)) == int(explanation.target[row]))
        assert float(validity(explanation, data[:], classifier)[row]) == asked
    chosen = explanation.select(rows)
    expected = [float(int(second.decide(a[None])) == int(t)) for a, t in zip(chosen.counterfactual, chosen.target)]
    assert transfer(chosen, data[:].select(rows), classifier).tolist() == expected


def test_an_answer_equal_to_the_image_is_never_valid():
    data, classifier = corner_data(), corner_classifier()
    answer = Nothing(classifier).explain(data[:].image)
    assert float(Validity()(answer, data[:], classifier).sum()) == 0
    assert float(PosteriorGain()(answer, data[:], classifier).abs().max()) < 1e-6


def test_what_is_missing_is_named():
    answer, sample, classifier = explanation_of(IMAGE, None), Sample(image=IMAGE), corner_classifier()
    with pytest.raises(NotApplicable, match="counterfactual: the method makes no counterfactual"):
        Validity()(answer, sample, classifier)
    with pytest.raises(NotApplicable, match="stable: the method makes no stable image"):
        AccS()(answer, sample, classifier)
    with pytest.raises(NotApplicable, match="second_classifier: pass second_classifier="):
        TransferAccA()(explanation_of(IMAGE, IMAGE), sample, classifier)


def test_a_second_classifier_has_the_same_classes_and_other_weights():
    first = corner_classifier()
    with pytest.raises(ValueError, match="trained independently, got the classifier under explanation"):
        check_second(corner_classifier(), first)
    other = type(first)(first.module, ["lesion", "healthy"], first.image_shape, device="cpu")
    with pytest.raises(ValueError, match=r"second_classifier: expected classes \('healthy', 'lesion'\)"):
        check_second(other, first)
