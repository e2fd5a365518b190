"""A flicker is no motion, and what nobody sees counts for little, where weights say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from securevqa_core import weights, zoo
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.models.motion_pathway import motion_statistics
from securevqa_core.models.sensitivity import SENSITIVITY, Sensitivity
from securevqa_core.models.statistics import fragment_statistics
from securevqa_core.scoring import normalise

STEADY = Sensitivity(level_share=1.0)
QUIET = Sensitivity(quiet=4.0)
CHANGES = slice(12, 17)  # of the statistics of fragments
Statistics = Callable[[Tensor, Sensitivity], Tensor]


def of_motion(frames: Tensor, sensitivity: Sensitivity) -> Tensor:
    return motion_statistics(normalise(frames), sensitivity=sensitivity)


def of_changes(frames: Tensor, sensitivity: Sensitivity) -> Tensor:
    return fragment_statistics(normalise(frames), grid_size=2, sensitivity=sensitivity)[:, CHANGES]


def moving(step: int) -> Tensor:
    """Return (1, 8, 64, 64, 3) uint8 frames: a window on a picture of middling contrast, moved by `step`."""
    picture = torch.rand(64, 64 + 8 * step, 3, generator=torch.Generator().manual_seed(0)) * 120 + 60
    return torch.stack([picture[:, step * t : step * t + 64] for t in range(8)])[None].to(torch.uint8)


def flickering(frames: Tensor, levels: int, *, places: int) -> Tensor:
    """Brighten every other of `places` side by side, darken the rest, and turn that round each frame."""
    turns = (1 - 2 * (torch.arange(8) % 2))[:, None, None, None]
    sides = (1 - 2 * (torch.arange(64) * places // 64 % 2))[:, None]
    return (frames.int() + levels * turns * sides).to(torch.uint8)


@pytest.mark.parametrize(("statistics", "places"), [(of_changes, 2), (of_motion, 1)])
def test_a_flicker_says_nothing_where_the_level_of_places_is_left_out(
    statistics: Statistics, places: int
) -> None:
    still, flicker = moving(0), flickering(moving(0), 5, places=places)
    assert (statistics(flicker, Sensitivity()) - statistics(still, Sensitivity())).abs().max() > 1
    change = (statistics(flicker, STEADY) - statistics(still, STEADY)).abs()
    assert change.mean() < 0.01


@pytest.mark.parametrize("statistics", [of_motion, of_changes])
def test_two_levels_of_noise_move_quiet_statistics_less_than_half_as_far(statistics: Statistics) -> None:
    still = moving(0)
    drawn = torch.randint(0, 2, still.shape, generator=torch.Generator().manual_seed(1)) * 4 - 2
    noisy = (still.int() + drawn).to(torch.uint8)
    by_noise = {s: (statistics(noisy, s) - statistics(still, s)).abs().mean() for s in (Sensitivity(), QUIET)}
    by_motion = {
        s: (statistics(moving(1), s) - statistics(still, s)).abs().mean() for s in (Sensitivity(), QUIET)
    }
    assert by_noise[QUIET] / by_motion[QUIET] < 0.5 * by_noise[Sensitivity()] / by_motion[Sensitivity()]


def test_weights_hold_it_and_statistics_answer_to_it() -> None:
    before = weights.seeded("secure-vqa-compact")
    after = weights.bounded(before, level_share=1.0, quiet=4.0)
    changed = [key for key, value in before.tensors.items() if not torch.equal(value, after.tensors[key])]
    assert [key.rpartition(".")[2] for key in changed] == [SENSITIVITY] * 2
    assert after.card[SENSITIVITY] == {"level_share": 1.0, "quiet": 4.0}
    x = normalise(moving(1)[:, :, :56, :56].repeat(1, 1, 4, 4, 1))
    one, other = (
        weights.build(checkpoint).fragments_backbone.statistics(x) for checkpoint in (before, after)
    )
    assert not torch.equal(one, other)


def test_what_is_not_said_stays_as_it_is() -> None:
    steady = weights.bounded(weights.seeded("secure-vqa-compact"), level_share=1.0)
    both = weights.bounded(steady, quiet=4.0)
    of_both = [value for key, value in both.tensors.items() if key.endswith(f".{SENSITIVITY}")]
    assert [Sensitivity.of(one) for one in of_both] == [Sensitivity(level_share=1.0, quiet=4.0)] * 2
    assert both.card[SENSITIVITY] == {"quiet": 4.0}


@pytest.mark.parametrize("values", [{"level_share": 1.5}, {"quiet": -1.0}])
def test_what_means_nothing_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        Sensitivity(**values)


def test_a_model_without_statistics_has_none() -> None:
    assert not any(SENSITIVITY in key for key in zoo.build("fast-vqa-m").state_dict())
    with pytest.raises(CheckpointError, match="fast-vqa-m sees no statistics"):
        weights.bounded(weights.seeded("fast-vqa-m"), quiet=4.0)
