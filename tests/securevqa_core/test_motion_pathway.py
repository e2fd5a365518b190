"""The fast pathway at small cost: its statistics say how a picture moves, whatever it shows."""

from __future__ import annotations

import numpy as np
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


@pytest.mark.parametrize("side", [28, 31])
def test_patches_are_those_of_a_grid_of_seven(side: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, side, side, 3), dtype=np.uint8)
    found = motion_statistics(normalise(torch.from_numpy(frames)))[0]
    luma = frames[0].astype(float) @ [0.299, 0.587, 0.114]
    change = np.diff(luma, axis=0)

    def patches(y: np.ndarray) -> np.ndarray:
        """Return (t, 49) means; where seven does not divide a side, patches overlap."""
        height, width = y.shape[1:]
        means = [
            y[:, i * height // 7 : -(-(i + 1) * height // 7), j * width // 7 : -(-(j + 1) * width // 7)]
            for i in range(7)
            for j in range(7)
        ]
        return np.stack([one.mean(axis=(1, 2)) for one in means], axis=1)

    size, again = (np.log(patches(np.abs(one)) + 0.3) for one in (change, np.diff(change, axis=0)))
    expected = {
        0: size[[0, 0, 1, 2]].mean(axis=1),
        12: size[[0, 0, 1, 2]].std(axis=1),
        6: np.concatenate([np.log([0.3, 0.3]), again.mean(axis=1)]),
        9: patches(luma).mean(axis=1) / 64 - 2,
        36: size[[0, 0, 1, 2]].min(axis=1),
    }
    for number, statistic in expected.items():
        np.testing.assert_allclose(found[number], statistic, rtol=1e-4, atol=1e-4)


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
