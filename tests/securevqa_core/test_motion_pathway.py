"""The fast pathway at small cost: its statistics say how a picture moves, whatever it shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.motion_pathway import NUM_MOTION_STATISTICS, MotionPathway, motion_statistics
from securevqa_core.scoring import normalise

STILL = 2  # index of the share that stands still, mean over patches
RNG = torch.Generator().manual_seed(0)
PICTURE = torch.randint(0, 256, (1, 40, 72, 3), generator=RNG, dtype=torch.uint8)


def sliding(starts: list[int]) -> Tensor:
    """Return a segment (1, 3, t, 40, 56): a window on a picture, at the given columns."""
    frames = torch.stack([PICTURE[0, :, start : start + 56] for start in starts])
    return normalise(frames[None])


def test_a_picture_that_stands_still_is_told_from_one_that_moves_frame_by_frame() -> None:
    still = motion_statistics(sliding([0, 1, 1, 1, 2, 3]))[0, STILL]
    assert torch.equal(still > 0.9, torch.tensor([False, False, True, True, False, False]))


def test_the_first_frame_has_the_motion_of_the_second() -> None:
    found = motion_statistics(sliding([0, 3, 3, 4]))
    assert torch.equal(found[0, STILL, 0], found[0, STILL, 1])


def test_a_break_in_one_place_shows_in_the_largest_value_of_its_frame() -> None:
    whole = sliding([0, 0, 0, 0, 0, 0])
    broken = whole.clone()
    broken[..., 3, :6, :8] = 0.0  # one patch of one frame
    largest = slice(NUM_MOTION_STATISTICS // 2, NUM_MOTION_STATISTICS // 2 + 1)
    rise = (motion_statistics(broken) - motion_statistics(whole))[0, largest][0]
    assert (rise > 2).tolist() == [False, False, False, True, True, False]


def test_statistics_and_what_is_made_of_them_are_the_forward_pass() -> None:
    model = MotionPathway().eval()
    x = sliding([0, 1, 2, 4, 5, 6, 7, 8])
    assert motion_statistics(x).shape == (1, NUM_MOTION_STATISTICS, 8)
    features = model(x)
    assert features.shape == (1, 256)
    torch.testing.assert_close(model.from_statistics(model.statistics(x)), features)


def test_the_input_gets_a_finite_gradient_also_where_nothing_moves() -> None:
    x = sliding([0, 0, 0, 1]).requires_grad_()
    MotionPathway().eval()(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(1, 3, 2, 56, 56), (1, 3, 4, 27, 56), (1, 1, 4, 56, 56)])
def test_what_is_too_short_too_small_or_no_colour_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=str(shape[-1])):
        motion_statistics(torch.zeros(shape))
