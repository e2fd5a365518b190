"""Makes a small labelled data set: three real clips at several qualities, cached as training reads it."""

from __future__ import annotations

from pathlib import Path

from media import CLIPS, bundled_clip, run_ffmpeg

from securevqa_core.training.cache import CacheConfig, CachedVideo, LabelledVideo, build_cache, local_video
from securevqa_core.types import SamplingConfig

__all__ = ["CRFS", "TINY", "cached", "labelled_videos"]

CRFS = (18, 30, 40, 50)
_OPTIONS = "-ss 0.2 -t 0.6 -vf scale=96:64 -c:v libx264 -preset ultrafast -crf {crf} -an"

# Small enough that a step takes a fraction of a second; the grid is the one the models expect.
TINY = SamplingConfig(
    num_clips=1, clip_frames=4, patch_side=16, num_segments=4, segment_frames=4, segment_side=32
)


def labelled_videos(folder: Path, *, num_crfs: int = len(CRFS)) -> list[LabelledVideo]:
    """Encode each bundled clip at each of the first CRFs; a lower CRF is a higher label, 50..82."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for clip in CLIPS:
        for crf in CRFS[:num_crfs]:
            path = folder / f"{clip}_{crf}.mp4"
            if not path.exists():
                run_ffmpeg("-i", str(bundled_clip(clip)), *_OPTIONS.format(crf=crf).split(), str(path))
            videos.append(local_video(path, label=100.0 - crf, source=clip))
    return videos


def cached(folder: Path, sampling: SamplingConfig = TINY, *, num_draws: int = 2) -> list[CachedVideo]:
    """Return the data set's videos from a cache in `folder`, made once."""
    config = CacheConfig(sampling=sampling, num_draws=num_draws, seed=0)
    videos, failures = build_cache(
        labelled_videos(folder / "videos"), folder / "cache", config, num_workers=2
    )
    assert not failures, failures
    return videos
