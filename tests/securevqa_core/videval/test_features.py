"""Every one of VIDEVAL's features is what its definition, written out with SciPy, says of the same frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import videval_definition as definition
from numpy.typing import NDArray
from scipy import ndimage

from securevqa_core.models.videval import planes as videval_planes
from securevqa_core.models.videval.colour import full_chroma
from securevqa_core.models.videval.features import (
    FEATURES,
    FRAME_FEATURES,
    SECOND_FEATURES,
    frame_features,
    pooled,
    second_features,
)

HEIGHT, WIDTH, FRAMES = 98, 162, 5


def _moving_frames(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Texture that moves two pixels a frame, squares that move otherwise, and colour; no two places alike."""
    rng = np.random.default_rng(seed)
    wide = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH + 40)), 1.2) * 80 + 125
    tint = ndimage.gaussian_filter(rng.normal(size=(2, HEIGHT // 2, WIDTH // 2)), (0, 3, 3)) * 300 + 128
    luma, chroma = [], []
    for frame in range(FRAMES + 2):
        y = wide[:, 2 * frame : 2 * frame + WIDTH].copy()
        y[20:40, 30 + 3 * frame : 50 + 3 * frame] += 60
        y[60:80, 90 - 2 * frame : 115 - 2 * frame] -= 60
        luma.append(y + rng.normal(scale=1, size=y.shape))
        chroma.append(tint)
    levels = [
        np.clip(np.round(part), 16, 235).astype(np.uint8) for part in (np.array(luma), np.array(chroma))
    ]
    return levels[0], levels[1][:, 0], levels[1][:, 1]


def _ours(dtype: torch.dtype, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    luma, *chroma = (
        videval_planes.stacked(torch.from_numpy(part).to(dtype)) for part in _moving_frames(seed)
    )
    halves = videval_planes.halved(luma)
    full = [luma[1:-1], *(full_chroma(part[1:-1], HEIGHT, WIDTH) for part in chroma)]
    frames = frame_features(full, halves[:-2], halves[2:])
    return frames.double().numpy(), second_features(full).double().numpy()


def _defined(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    luma, *chroma = (part.astype(float) for part in _moving_frames(seed))
    frames, seconds = [], []
    for frame in range(1, FRAMES + 1):
        full = [luma[frame], *(definition.imresize(part[frame], 2)[:HEIGHT, :WIDTH] for part in chroma)]
        frames.append(definition.frame_features(full, luma[frame - 1], luma[frame + 1]))
        seconds.append(definition.second_features(full))
    return np.array(frames), np.array(seconds)


@pytest.fixture(scope="module")
def defined() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _defined(seed=3)


# In single precision a point between two places alike may be found in the other.
@pytest.mark.parametrize(
    ("dtype", "relative", "of_motion"), [(torch.float64, 1e-6, 1e-6), (torch.float32, 2e-3, 0.05)]
)
def test_features_of_frames_are_those_of_their_definitions(
    defined, dtype: torch.dtype, relative: float, of_motion: float
) -> None:
    found = _ours(dtype, seed=3)
    for ours, theirs, names in zip(found, defined, (FRAME_FEATURES, SECOND_FEATURES), strict=True):
        assert ours.shape == (FRAMES, len(names))
        for column, (source, _) in enumerate(names):
            allowed = of_motion if source.startswith("TLVQM low") else relative
            size = np.abs(theirs[:, column]).max()
            np.testing.assert_allclose(
                ours[:, column], theirs[:, column], rtol=allowed, atol=allowed * size, err_msg=source
            )


def test_every_feature_of_the_made_up_frames_says_something(defined) -> None:
    for values in defined:
        assert np.isfinite(values).all()
        assert (np.abs(values).max(axis=0) > 0).all()


def test_features_are_the_published_sixty_by_name() -> None:
    assert len(FEATURES) == 60
    by_pooling = [sum(one.pooling == way for one in FEATURES) for way in ("mean", "deviation", "second")]
    assert by_pooling == [35, 19, 6]
    families = {one.source.rpartition(" ")[0] for one in FEATURES}
    assert families == {
        *("BRISQUE", "GM-LOG", "HIGRADE", "FRIQUEE luma", "FRIQUEE chroma", "FRIQUEE LMS"),
        *("TLVQM low", "TLVQM high"),
    }  # fmt: skip


def test_pooling_averages_blocks_and_leaves_out_what_is_undefined() -> None:
    rng = np.random.default_rng(0)
    frames, seconds = rng.normal(size=(9, 50)), rng.normal(size=(2, 6))
    frames[3, 1] = np.nan
    frames[:, 0] = np.nan
    blocks = (np.arange(5), np.arange(4, 9))
    found = pooled(torch.from_numpy(frames), torch.from_numpy(seconds), blocks).numpy()
    of_blocks = [frames[rows] for rows in blocks]
    assert found[0] == pytest.approx(np.mean([np.nanmean(one[:, 1]) for one in of_blocks]))
    assert np.isnan(found[35])  # the first frame feature's deviation
    assert found[36] == pytest.approx(np.mean([one[:, 4].std(ddof=1) for one in of_blocks]))
    assert found[54:] == pytest.approx(seconds.mean(axis=0))


def test_a_frame_without_colour_leaves_its_statistics_of_colour_undefined_and_no_others() -> None:
    luma = videval_planes.stacked(torch.from_numpy(_moving_frames(1)[0]).float())
    halves = videval_planes.halved(luma)
    grey = torch.full_like(luma[1:-1], 128.0)
    found = frame_features([luma[1:-1], grey, grey], halves[:-2], halves[2:])
    undefined = {FRAME_FEATURES[column][0] for column in np.flatnonzero(found.isnan().any(dim=0).numpy())}
    assert undefined
    assert all(source.startswith("FRIQUEE") for source in undefined)


@pytest.mark.parametrize("scale", [0.5, 480 / 540, 2.0])
def test_resizing_is_that_of_the_definition(scale: float) -> None:
    picture = np.random.default_rng(2).uniform(0, 255, size=(47, 66))
    found = videval_planes.resized(videval_planes.stacked(torch.from_numpy(picture[None])), scale)[0]
    np.testing.assert_allclose(found.numpy(), definition.imresize(picture, scale), atol=1e-9)
