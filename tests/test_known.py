"""What is well represented follows from held-out residuals, and is saved with the weights."""

import pytest
import torch

from obverse.known import Known


def test_before_calibration_nothing_is_said():
    assert Known().represented(torch.tensor([0.0, 9.0])) is None


def test_the_limit_is_the_quantile_of_held_out_residuals():
    known = Known()
    residual = torch.arange(11) / 10
    assert known.calibrate(residual) == pytest.approx(0.9)
    assert known.represented(torch.tensor([0.89, 0.91])).tolist() == [True, False]
    assert known.calibrate(residual, 0.5) == pytest.approx(0.5)


def test_counts_are_buffers_of_whole_numbers_and_all_is_in_the_state():
    known = Known({"drawn": 2, "accepted": 3})
    known.drawn += torch.tensor([4, 5])
    known.calibrate(torch.ones(3))
    other = Known({"drawn": 2, "accepted": 3})
    other.load_state_dict(known.state_dict())
    assert other.drawn.tolist() == [4, 5] and other.accepted.tolist() == [0, 0, 0] and float(other.limit) == 1
