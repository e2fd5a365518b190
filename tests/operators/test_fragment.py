"""The intra branch sees spliced patches under a guardian map: never the pixels themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from operators.fragment import Fragment
from operators.schema import FRAGMENTED, ROW_KEY, SAMPLED, Row, pixels_of, row_table, rows_of
from securevqa_core.fragments import splice
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD, raw_scores
from securevqa_core.types import SamplingConfig

SAMPLING = SamplingConfig(num_clips=2, clip_frames=3, grid_size=2, patch_side=8)
SHAPE = (2, 3, 2, 2, 8, 8, 3)
PATCHES = np.random.default_rng(0).integers(1, 255, (3, *SHAPE), dtype=np.uint8)
SEEDS = [bytes([draw]) * 32 for draw in range(3)]


def _fragment(patches: np.ndarray = PATCHES, seeds: list[bytes] = SEEDS, amplitude: int = 1) -> Row:
    sampling = SamplingConfig(
        num_clips=2, clip_frames=3, grid_size=2, patch_side=8, guardian_amplitude=amplitude
    )
    table = row_table({ROW_KEY: "k", "patches": patches, "intra_seeds": seeds}, SAMPLED)
    (out,) = Fragment(sampling=sampling)(table)
    assert out.schema == FRAGMENTED
    (row,) = rows_of(out)
    return row


def _pixels(row: Row) -> np.ndarray:
    return pixels_of(row, "fragments", np.uint8, 3, 2, 3, 16, 16, 3)


def test_what_the_intra_backbone_is_given_differs_from_the_unguarded_by_exactly_one_level() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.inputs: list[torch.Tensor] = []

        def intra(self, x: torch.Tensor) -> torch.Tensor:
            self.inputs.append(x.clone())
            return x

        def head(self, *_: torch.Tensor | None) -> torch.Tensor:
            return torch.zeros(1, 16)

    guarded, unguarded = Recorder(), Recorder()
    for model, amplitude in ((guarded, 1), (unguarded, 0)):
        pixels = _pixels(_fragment(amplitude=amplitude))
        raw_scores(model, pixels, None, device=torch.device("cpu"), precision="float32")
    assert len(guarded.inputs) == len(unguarded.inputs) == 3 * 2
    for seen, plain in zip(guarded.inputs, unguarded.inputs, strict=True):
        for channel, sd in enumerate(PIXEL_SD):
            step = (seen - plain)[0, channel] * sd
            torch.testing.assert_close(step.abs(), torch.ones_like(step), rtol=0, atol=1e-4)
            assert abs(float(step.mean())) < 0.2
    levels = plain[0].permute(1, 2, 3, 0).numpy() * PIXEL_SD + PIXEL_MEAN
    assert np.abs(levels - splice(PATCHES)[2, 1]).max() < 1e-3


def test_without_an_amplitude_fragments_are_the_spliced_patches() -> None:
    assert (_pixels(_fragment(amplitude=0)) == splice(PATCHES)).all()


def test_every_frame_of_every_draw_has_a_map_of_its_own() -> None:
    steps = (_pixels(_fragment()).astype(int) - splice(PATCHES)).reshape(18, -1)
    assert set(np.unique(steps)) == {-1, 1}
    correlations = np.corrcoef(steps)[np.triu_indices(18, 1)]
    assert abs(correlations).max() < 5 / steps.shape[1] ** 0.5


def test_the_seed_of_a_draw_decides_its_map() -> None:
    first, again = _pixels(_fragment()), _pixels(_fragment())
    assert (first == again).all()
    other = _pixels(_fragment(seeds=[SEEDS[0], b"x" * 32, SEEDS[2]]))
    assert [bool((first[draw] == other[draw]).all()) for draw in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    ("patches", "seeds"), [(PATCHES, SEEDS[:2]), (PATCHES[:, :, :2], SEEDS)], ids=["seeds", "frames"]
)
def test_a_row_that_does_not_fit_the_configuration_fails_alone(
    patches: np.ndarray, seeds: list[bytes]
) -> None:
    row = _fragment(patches, seeds)
    assert (row["error_code"], row["stage"], row["fragments"]) == ("internal_error", "fragment", None)


def test_a_failed_row_needs_no_pixels() -> None:
    table = row_table({ROW_KEY: "k", "status": "failed", "error_code": "fetch_denied"}, SAMPLED)
    (out,) = Fragment(sampling=SAMPLING)(table)
    assert isinstance(out, pa.Table)
    assert out["error_code"].to_pylist() == ["fetch_denied"]
