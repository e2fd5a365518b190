"""Frames through codecs: what is lossless loses nothing, what is lossy loses more at a lower rate."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from securevqa_core.attacks.codecs import through_h264, through_jpeg, write_lossless
from securevqa_core.errors import ConfigurationError


def _error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_a_lossless_file_holds_every_value(tmp_path: Path, clip: NDArray[np.uint8]) -> None:
    odd = clip[:, :127, :99]
    write_lossless(tmp_path / "clip.mkv", odd, fps=30000 / 1001)
    with av.open(str(tmp_path / "clip.mkv")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "ffv1"
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.01)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.array_equal(decoded, odd)


@pytest.mark.parametrize("size", [(128, 224), (127, 99)])
def test_a_higher_rate_factor_loses_more_and_the_size_stays(
    size: tuple[int, int], clip: NDArray[np.uint8]
) -> None:
    frames = np.ascontiguousarray(clip[:, : size[0], : size[1]])
    fine, coarse = (through_h264(frames, crf=crf) for crf in (10, 40))
    assert fine.shape == coarse.shape == frames.shape
    assert _error(fine, frames) < _error(coarse, frames) < 20
    assert np.array_equal(fine, through_h264(frames, crf=10))


def test_a_lower_quality_loses_more(clip: NDArray[np.uint8]) -> None:
    fine, coarse = (through_jpeg(clip, quality=quality) for quality in (95, 10))
    assert fine.shape == clip.shape
    assert _error(fine, clip) < _error(coarse, clip) < 20


def test_rates_out_of_range_are_refused(clip: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigurationError, match=r"h264 crf must be in 0\.\.51, got 52"):
        through_h264(clip, crf=52)
    with pytest.raises(ConfigurationError, match=r"jpeg quality must be in 1\.\.100, got 0"):
        through_jpeg(clip, quality=0)
