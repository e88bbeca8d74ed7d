"""Where several answers to one image are: counted on images made by hand."""

import torch

from benchmarks.answers import brightened, placed
from obverse.explanation import Explanation


def test_brightness_is_summed_by_quarter_and_places_are_counted(monkeypatch):
    image = torch.full((4, 1, 8, 8), 0.5)
    made = image.clone()
    made[1, :, 1, 1] = 0.9
    made[2, :, 6, 6] = 1.0
    made[3, :, 1, 1], made[3, :, 7, 7] = 0.8, 0.7
    made[:, :, 0, 7] = 1.0  # another quarter
    made[1, :, 6, 6] = 0.1  # darker does not count
    answers = Explanation.__new__(Explanation)
    object.__setattr__(answers, "image", image)
    object.__setattr__(answers, "counterfactual", made)
    found = brightened(answers)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, 0.5], [0.3, 0.2]]))
    assert placed(found / 0.5).int().tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
