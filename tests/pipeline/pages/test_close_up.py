"""A close look shows the numbers that a score was made of, in time and in space."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.pages.close_up import look_closely
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.randomness import Key

KEY = Key.public(3)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_moment_has_a_score_a_map_and_a_picture(videos: dict[str, Path]) -> None:
    checkpoint = weights.seeded(zoo.DEFAULT_MODEL)
    sampling = zoo.spec(zoo.DEFAULT_MODEL).sampling
    uri, digest = str(videos["bikes_h264.mp4"]), digest_of(videos["bikes_h264.mp4"])
    found = look_closely("v", uri, content_sha256=digest, checkpoint=checkpoint, key=KEY, words="these")
    count = len(found.seconds)
    assert count % sampling.num_clips == 0
    assert found.scores.shape == (count,)
    assert found.local_scores.shape[0] == count
    assert found.local_scores.shape[1] == found.local_scores.shape[2] == sampling.grid_size
    assert found.pictures.shape == (count, sampling.segment_side, sampling.segment_side, 3)
    assert (np.diff(found.seconds) >= 0).all()
    assert 0 <= found.seconds[0] <= found.seconds[-1] <= 2.1  # the video has two seconds
    assert ((found.scores >= 0) & (found.scores <= 100)).all()
    assert found.local_scores.std() > 0
    again = look_closely("v", uri, content_sha256=digest, checkpoint=checkpoint, key=KEY, words="these")
    np.testing.assert_array_equal(found.scores, again.scores)
    other = look_closely(
        "v", uri, content_sha256=digest, checkpoint=checkpoint, key=Key.public(4), words="these"
    )
    assert not np.array_equal(found.scores, other.scores)


def test_what_cannot_be_decoded_or_has_no_places_is_refused(videos: dict[str, Path]) -> None:
    checkpoint = weights.seeded(zoo.DEFAULT_MODEL)
    text, digest = str(videos["text.mp4"]), digest_of(videos["text.mp4"])
    with pytest.raises(RunError, match=r"'v'.*not_a_video"):
        look_closely("v", text, content_sha256=digest, checkpoint=checkpoint, key=KEY, words="")
    baseline = weights.seeded("nss-svr")
    with pytest.raises(ConfigurationError, match="'nss-svr'"):
        look_closely("v", "a.mp4", content_sha256=digest, checkpoint=baseline, key=KEY, words="")


def test_no_other_bytes_are_looked_at_than_those_that_were_scored(videos: dict[str, Path]) -> None:
    now, before = (videos[name] for name in ("bikes_h264.mp4", "bunny_h264.mp4"))
    with pytest.raises(RunError, match=f"'v' is no longer the one of the report.*{digest_of(before)}"):
        look_closely(
            "v",
            str(now),
            content_sha256=digest_of(before),
            checkpoint=weights.seeded(zoo.DEFAULT_MODEL),
            key=KEY,
            words="",
        )
