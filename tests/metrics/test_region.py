import pytest
import torch
from skimage.metrics import structural_similarity

from obverse.data.base import Sample
from obverse.explanation import NotApplicable
from obverse.metrics.proximity import L2, ChangedShare, Ssim, ssim
from obverse.metrics.region import MaskedSsim, NonResemblance, mean_within
from obverse.metrics.twin import LesionLeft
from tiny import Nothing, Truth, corner_classifier, corner_data, explanation_of

CLASSIFIER = corner_classifier()


def case(channels=1):
    image, other = torch.rand(2, 3, channels, 16, 14, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 1, 16, 14)
    mask[:, :, 3:8, 2:9] = 1
    return image, 0.7 * image + 0.3 * other, mask


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_scikit_image(channels):
    image, other, mask = case(channels)
    found = Ssim()(explanation_of(image, other), Sample(image=image), CLASSIFIER)
    removed = MaskedSsim()(explanation_of(image, other), Sample(image=image, mask=mask), CLASSIFIER)
    for row in range(3):
        for value, keep in ((found[row], torch.ones(1)), (removed[row], 1 - mask[row])):
            expected = structural_similarity((image[row] * keep).numpy(), (other[row] * keep).numpy(), data_range=1.0,
                                             channel_axis=0, gaussian_weights=True, sigma=1.5,
                                             use_sample_covariance=False)  # fmt: skip
            assert float(value) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_equal_and_small_images():
    image, _, _ = case()
    assert ssim(image, image).tolist() == pytest.approx([1.0] * 3)
    flat = torch.zeros(2, 1, 12, 12)
    assert ssim(flat, flat).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(NotApplicable, match="image: SSIM's window needs sides of at least 11, got \\(4, 4\\)"):
        ssim(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_l2_and_changed_share_by_hand():
    image = torch.zeros(1, 1, 2, 2)
    answer = explanation_of(image, torch.tensor([[[[0.6, 0.8], [0.04, 0.0]]]]))
    sample = Sample(image=image)
    assert float(L2()(answer, sample, CLASSIFIER)) == pytest.approx(((0.36 + 0.64 + 0.0016) / 4) ** 0.5)
    assert float(ChangedShare()(answer, sample, CLASSIFIER)) == 0.5
    assert float(ChangedShare(step=0.01)(answer, sample, CLASSIFIER)) == 0.75
    colour = torch.zeros(1, 3, 1, 2)
    changed = colour.clone()
    changed[0, 2, 0, 1] = 1  # one channel is enough
    assert float(ChangedShare()(explanation_of(colour, changed), Sample(image=colour), CLASSIFIER)) == 0.5


def test_non_resemblance_equals_the_printed_equation():
    image, other, mask = case()
    answer, sample = explanation_of(image, other), Sample(image=image, mask=mask)
    for row in range(3):
        inside, outside = [], []
        for y in range(16):
            for x in range(14):
                change = float(other[row, 0, y, x] - image[row, 0, y, x])
                (inside if mask[row, 0, y, x] == 1 else outside).append(change)
        for region, changes in (("inside", inside), ("outside", outside)):
            printed = NonResemblance(region, "signed")(answer, sample, CLASSIFIER)[row]
            assert float(printed) == pytest.approx(1 - sum(changes) / len(changes), abs=1e-5)
            absolute = NonResemblance(region)(answer, sample, CLASSIFIER)[row]
            assert float(absolute) == pytest.approx(sum(map(abs, changes)) / len(changes), abs=1e-5)


def test_regions_that_are_empty_or_everything():
    image = torch.rand(2, 1, 4, 4)
    sample = Sample(image=image, mask=torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]))
    answer = explanation_of(image, image)
    assert NonResemblance("inside").applies(answer, sample).tolist() == [False, True]
    assert NonResemblance("outside").applies(answer, sample).tolist() == [False, False]
    assert mean_within(image, torch.zeros(2, 1, 4, 4)).tolist() == [0.0, 0.0]
    with pytest.raises(NotApplicable, match="mask: the data has no masks"):
        NonResemblance().applies(answer, Sample(image=image))


def test_lesion_left_is_1_untouched_0_gone_and_negative_overdone():
    data, classifier = corner_data(), corner_classifier()
    sample = data[:]
    for explainer, expected in ((Truth(classifier, data), 0.0), (Nothing(classifier), 1.0)):
        answer = explainer.explain(sample.image)
        rows = LesionLeft().applies(answer, sample)
        assert rows.tolist() == (sample.label == 1).tolist()
        found = LesionLeft()(answer.select(rows), sample.select(rows), classifier)
        assert found.tolist() == pytest.approx([expected] * len(found), abs=1e-5)
    image = torch.tensor([[[[0.9, 0.4]]]])
    twin, mask = torch.tensor([[[[0.5, 0.4]]]]), torch.tensor([[[[1.0, 0.0]]]])
    overdone = explanation_of(image, torch.tensor([[[[0.3, 0.0]]]]))
    value = LesionLeft()(overdone, Sample(image=image, twin=twin, mask=mask), classifier)
    assert float(value) == pytest.approx(-0.5)
    with pytest.raises(NotApplicable, match="mask: the data has no masks"):
        LesionLeft().applies(overdone, Sample(image=image, twin=twin))
