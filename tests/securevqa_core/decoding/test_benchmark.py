"""The benchmark measures what it says, over the packets it says."""

from __future__ import annotations

from pathlib import Path

import av
import media
import pytest

from securevqa_core.decoding.bench_config import BenchClip, BenchConfig
from securevqa_core.decoding.benchmark import benchmark, make_clip
from securevqa_core.errors import ConfigurationError
from securevqa_core.types import SamplingConfig

SAMPLING = SamplingConfig(num_clips=2, clip_frames=4, num_segments=2, segment_frames=4)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_every_way_of_reading_is_timed(tmp_path: Path, codec: str) -> None:
    config = BenchConfig(
        footage=media.bundled_clip("bikes"), clip_seconds=1, num_repeats=1, sampling=SAMPLING, num_draws=2
    )
    timing = benchmark(BenchClip(height=360, width=640, codec=codec), config, tmp_path)
    assert (timing.name, timing.num_frames) == (f"360p {codec}", 30)
    times = [timing.pyav, timing.pyav_fragments, timing.pyav_both, timing.pyav_least, timing.pyav_scored]
    by_decord = [timing.decord, timing.decord_fragments, timing.decord_windows]
    assert all(0 < value < 1000 for value in times)
    assert timing.share == timing.ffmpeg / timing.pyav_fragments
    assert timing.share_both == timing.ffmpeg / timing.pyav_both
    assert timing.share_most == timing.ffmpeg / timing.pyav_least
    assert timing.share_scored == timing.ffmpeg / timing.pyav_scored
    if codec == "av1":  # which decord cannot read
        assert by_decord == [None] * 3
        assert timing.by_decord is timing.by_decord_both is timing.by_decord_windows is None
    else:
        assert all(value is not None and 0 < value < 1000 for value in by_decord)
        assert timing.by_decord == pytest.approx(timing.decord / timing.pyav_fragments)
        assert timing.by_decord_both == pytest.approx(timing.decord / timing.pyav_both)
        assert timing.by_decord_windows == pytest.approx(timing.decord_windows / timing.pyav_both)


def test_footage_shorter_than_the_clip_is_repeated(tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} -t 0.5 -c:v libx264 -an {short}".split())
    clip = make_clip(
        BenchClip(height=90, width=160, codec="h264"), BenchConfig(footage=short, clip_seconds=2), tmp_path
    )
    with av.open(str(clip)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60


@pytest.mark.parametrize(
    ("name", "value"),
    [("clip_seconds", 0.1), ("num_repeats", 0), ("num_draws", 0), ("footage", Path("/nowhere/a.mp4"))],
)
def test_settings_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}.*{value}"):
        BenchConfig(**{name: value})  # type: ignore[arg-type]
