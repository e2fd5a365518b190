"""A close look shows the numbers that a score was made of, in time and in space."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.pages.close_up import look_closely
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.randomness import Key

KEY = Key.public(3)
OF_REPORT: dict[str, Any] = {"key": KEY, "key_id": KEY.key_id, "num_draws": 1}


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_moment_has_a_score_a_map_and_a_picture(videos: dict[str, Path]) -> None:
    checkpoint = weights.seeded(zoo.DEFAULT_MODEL)
    sampling = zoo.spec(zoo.DEFAULT_MODEL).sampling
    uri, digest = str(videos["bikes_h264.mp4"]), digest_of(videos["bikes_h264.mp4"])
    settings: dict[str, Any] = {
        "content_sha256": digest,
        "checkpoint": checkpoint,
        "key_id": KEY.key_id,
        "num_draws": 2,
    }
    found = look_closely("v", uri, key=KEY, **settings)
    count = len(found.seconds)
    assert (found.is_of_report, found.num_draws) == (True, 2)
    assert count % (2 * sampling.num_clips) == 0
    assert found.scores.shape == (count,)
    assert found.local_scores.shape[0] == count
    assert found.local_scores.shape[1] == found.local_scores.shape[2] == sampling.grid_size
    assert found.pictures.shape == (count, sampling.segment_side, sampling.segment_side, 3)
    assert (np.diff(found.seconds) >= 0).all()
    assert 0 <= found.seconds[0] <= found.seconds[-1] <= 2.1  # the video has two seconds
    assert ((found.scores >= 0) & (found.scores <= 100)).all()
    assert found.local_scores.std() > 0
    again = look_closely("v", uri, key=KEY, **settings)
    np.testing.assert_array_equal(found.scores, again.scores)
    other = look_closely("v", uri, key=Key.public(4), **settings)
    assert not other.is_of_report
    assert not np.array_equal(found.scores, other.scores)


def test_what_cannot_be_decoded_or_has_no_places_is_refused(videos: dict[str, Path]) -> None:
    checkpoint = weights.seeded(zoo.DEFAULT_MODEL)
    text, digest = str(videos["text.mp4"]), digest_of(videos["text.mp4"])
    with pytest.raises(RunError, match=r"'v'.*not_a_video"):
        look_closely("v", text, content_sha256=digest, checkpoint=checkpoint, **OF_REPORT)
    baseline = weights.seeded("nss-svr")
    with pytest.raises(ConfigurationError, match="'nss-svr'"):
        look_closely("v", "a.mp4", content_sha256=digest, checkpoint=baseline, **OF_REPORT)


def test_no_other_bytes_are_looked_at_than_those_that_were_scored(videos: dict[str, Path]) -> None:
    now, before = (videos[name] for name in ("bikes_h264.mp4", "bunny_h264.mp4"))
    with pytest.raises(RunError, match=f"'v' is no longer the one of the report.*{digest_of(before)}"):
        look_closely(
            "v",
            str(now),
            content_sha256=digest_of(before),
            checkpoint=weights.seeded(zoo.DEFAULT_MODEL),
            **OF_REPORT,
        )
