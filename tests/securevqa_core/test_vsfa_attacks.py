"""VSFA and MDTVSFA yield to gradients, and less behind what a gradient cannot foresee."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from media import bundled_clip
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core import zoo
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.defences import defended
from securevqa_core.models.vsfa import Vsfa
from securevqa_core.randomness import fresh_draws

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWS = fresh_draws(np.random.default_rng(1), 2)
SMALL = replace(zoo.spec("vsfa").sampling, segment_frames=4, segment_side=64)


@pytest.fixture(scope="module")
def model() -> Vsfa:
    return zoo.build("vsfa")


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    return read_frames(bundled_clip("bikes"), FramesRequest(max_frames=8, max_height=96)).pixels


def _float(clip: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(clip.astype(np.float32))


@pytest.mark.parametrize("defences", [[], ["guardian=2"], ["resize=2"], ["jpeg=60"]])
def test_gradients_reach_every_frame_that_is_read_whatever_defends_it(
    defences: list[str], model: Vsfa, clip: NDArray[np.uint8]
) -> None:
    score, slope = defended(model, SMALL, defences).gradient(_float(clip), DRAWS[:1])
    assert np.isfinite(score)
    assert torch.isfinite(slope).all()
    reached = (slope != 0).float().mean(dim=(1, 2, 3))
    assert (reached[::2] > 0.9).all()
    assert (reached[1::2] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vsfa", "mdtvsfa"])
def test_a_gradient_step_moves_the_score_further_than_random_signs(
    name: str, clip: NDArray[np.uint8]
) -> None:
    scorer = FrameScorer(zoo.build(name), SMALL)
    clean, slope = scorer.gradient(_float(clip), DRAWS[:1])
    rng = np.random.default_rng(0)

    def moved(signs: NDArray[np.float32]) -> float:
        frames = np.clip(clip + 2 * signs, 0, 255).astype(np.uint8)
        return float(scorer.measure(frames, DRAWS[:1]).mean()) - clean

    by_chance = [abs(moved(rng.choice((-1, 1), clip.shape))) for _ in range(4)]
    assert moved(slope.sign().numpy()) > 2 * max(by_chance)
    assert moved(-slope.sign().numpy()) < -2 * max(by_chance)


def _pushed_down(
    clip: NDArray[np.uint8], scorer: FrameScorer, *, steps: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return frames after sign steps within 1 level, each against draws of its own."""
    clean = clip.astype(np.float32)
    frames = clean
    for _ in range(steps):
        slope = scorer.gradient(torch.from_numpy(frames.round()), fresh_draws(rng, 1))[1].sign().numpy()
        frames = np.clip(frames - slope / 2, np.maximum(clean - 1, 0), np.minimum(clean + 1, 255))
    return frames.round().astype(np.uint8)


@pytest.mark.slow
def test_a_small_attack_fells_vsfa_and_falls_short_behind_guardian_maps_without_failing(
    model: Vsfa, clip: NDArray[np.uint8]
) -> None:
    rng = np.random.default_rng(0)
    plain, guarded = (defended(model, SMALL, defences) for defences in ([], ["guardian=3"]))
    signs = rng.choice((-1, 1), clip.shape)

    def fall(scorer: FrameScorer, frames: NDArray[np.uint8]) -> float:
        draws = 4 if scorer.is_random else 1
        before, after = (scorer.measure(one, fresh_draws(rng, draws)).mean() for one in (clip, frames))
        return float(before - after)

    noise = abs(fall(plain, np.clip(clip + signs, 0, 255).astype(np.uint8)))
    undefended, behind = (
        fall(scorer, _pushed_down(clip, scorer, steps=3, rng=rng)) for scorer in (plain, guarded)
    )
    assert undefended > 20 * noise
    assert noise < behind < 0.75 * undefended
