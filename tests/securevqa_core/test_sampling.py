"""Eqs. 1 and 7: which frames are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.types import SamplingConfig

PAPER = SamplingConfig()
FASTER = SamplingConfig(num_clips=1, num_temporal_fragments=8, aligned_frames=8)


class _Scripted(np.random.Generator):
    """Gives the same jitter, whatever is asked, and remembers the room it was asked for."""

    def __init__(self, jitter: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._jitter = jitter
        self.room: int | None = None

    def integers(self, low: int, high: int, size: int) -> np.ndarray:  # type: ignore[override]
        assert low == 0
        self.room = high
        return np.full(size, self._jitter)


def test_eq_1_by_hand() -> None:
    config = SamplingConfig(num_clips=2, clip_frames=3, frame_interval=2)
    rng = _Scripted(jitter=3)
    # 40 frames, 2 parts of 20, room 20 - 3 * 2 = 14; starts 0 + 3 and 20 + 3, then every second frame
    assert skip_sample(40, config, rng).tolist() == [[3, 5, 7], [23, 25, 27]]
    assert rng.room == 14


def test_eq_1_with_temporal_fragments_by_hand() -> None:
    config = SamplingConfig(num_clips=1, clip_frames=6, num_temporal_fragments=3, frame_interval=2)
    rng = _Scripted(jitter=2)
    # 30 frames, 3 parts of 10, 2 frames each, room 10 - 2 * 2 = 6
    assert skip_sample(30, config, rng).tolist() == [[2, 4, 12, 14, 22, 24]]
    assert rng.room == 6


def test_eq_1_in_the_papers_setting() -> None:
    rng = _Scripted(jitter=0)
    clips = skip_sample(300, PAPER, rng)
    assert clips.tolist() == [[start + 2 * i for i in range(32)] for start in (0, 75, 150, 225)]
    assert rng.room == 75 - 64


def test_eq_7_by_hand() -> None:
    config = SamplingConfig(num_segments=3, segment_frames=4)
    assert continuous_sample(11, config).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_eq_7_repeats_the_last_frame_of_a_short_video() -> None:
    config = SamplingConfig(num_segments=3, segment_frames=4)
    assert continuous_sample(7, config).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 6]]
    assert continuous_sample(2, config).tolist() == [[0, 1, 1, 1]] * 3


def test_eq_7_in_the_papers_setting() -> None:
    segments = continuous_sample(1600, PAPER)
    assert segments.shape == (16, 32)
    assert segments[:, 0].tolist() == list(range(0, 1600, 100))
    assert (np.diff(segments, axis=1) == 1).all()


def test_a_short_video_repeats_by_index_modulo_its_length() -> None:
    config = SamplingConfig(num_clips=1, clip_frames=8, frame_interval=2)
    assert skip_sample(5, config, np.random.default_rng(0)).tolist() == [[0, 2, 4, 1, 3, 0, 2, 4]]


def test_a_short_video_starts_each_clip_where_its_part_starts() -> None:
    config = SamplingConfig(num_clips=4, clip_frames=2, frame_interval=2)
    assert skip_sample(12, config, np.random.default_rng(0))[:, 0].tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize("config", [PAPER, FASTER])
def test_a_still_image_is_its_one_frame_over_and_over(config: SamplingConfig) -> None:
    assert not skip_sample(1, config, np.random.default_rng(0)).any()
    assert not continuous_sample(1, config).any()


def _configs() -> list[SamplingConfig]:
    rng = np.random.default_rng(7)
    return [PAPER, FASTER] + [
        SamplingConfig(
            num_clips=int(rng.integers(1, 7)),
            clip_frames=int(rng.choice([1, 4, 12, 32])) * (fragments := int(rng.choice([1, 2, 4]))),
            num_temporal_fragments=fragments,
            frame_interval=int(rng.integers(1, 9)),
            num_segments=int(rng.integers(0, 20)),
            segment_frames=int(rng.integers(1, 40)),
        )
        for _ in range(40)
    ]


def test_every_index_is_a_frame_of_the_video() -> None:
    lengths = [*range(1, 70), 127, 128, 129, 300, 1001, 99_991]
    for seed, config in enumerate(_configs()):
        rng = np.random.default_rng(seed)
        for num_frames in lengths:
            clips, segments = skip_sample(num_frames, config, rng), continuous_sample(num_frames, config)
            assert clips.shape == (config.num_clips, config.clip_frames)
            assert segments.shape == (config.num_segments, config.segment_frames)
            assert clips.dtype == segments.dtype == np.int64
            for chosen in (clips, segments):
                assert ((chosen >= 0) & (chosen < num_frames)).all(), (num_frames, config)


def test_a_clip_stays_inside_its_part_of_a_long_video() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        clips = skip_sample(1000, PAPER, rng)
        assert (clips // 250 == np.arange(4)[:, None]).all()


def test_starts_are_uniform_over_their_room() -> None:
    rng = np.random.default_rng(0)
    room = 400 // 4 - 64
    offsets = np.array([skip_sample(400, PAPER, rng)[:, 0] - np.arange(4) * 100 for _ in range(3000)])
    for clip in range(4):
        counts = np.bincount(offsets[:, clip], minlength=room)
        assert len(counts) == room  # both ends are reached, none beyond
        assert stats.chisquare(counts).pvalue > 1e-4
    assert abs(np.corrcoef(offsets.T)[np.triu_indices(4, 1)]).max() < 0.1  # each clip has a start of its own


def test_temporal_fragments_spread_over_the_video() -> None:
    rng = np.random.default_rng(0)
    for num_frames in (240, 1000):
        for _ in range(50):
            (clip,) = skip_sample(num_frames, FASTER, rng)
            runs = clip.reshape(8, 4)
            assert (np.diff(runs, axis=1) == 2).all()
            assert (runs // (num_frames // 8) == np.arange(8)[:, None]).all()  # one run in every eighth


def test_spanning_segments_spread_their_frames_up_to_the_next_segment_by_hand() -> None:
    config = SamplingConfig(num_segments=2, segment_frames=4, segments_span=True)
    assert continuous_sample(40, config).tolist() == [[0, 5, 10, 15], [20, 25, 30, 35]]
    assert continuous_sample(6, config).tolist() == [[0, 0, 1, 2], [3, 3, 4, 5]]
    assert continuous_sample(1, config).tolist() == [[0] * 4] * 2


def test_no_segments_is_no_inter_branch() -> None:
    assert continuous_sample(100, SamplingConfig(num_segments=0)).shape == (0, 32)


@pytest.mark.parametrize("num_frames", [0, -3])
def test_a_video_without_frames_is_refused(num_frames: int) -> None:
    with pytest.raises(ValueError, match=f"num_frames must be >= 1, got {num_frames}"):
        skip_sample(num_frames, PAPER, np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"num_frames must be >= 1, got {num_frames}"):
        continuous_sample(num_frames, PAPER)
