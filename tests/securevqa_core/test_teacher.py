"""The teacher says what the shipped VIDEVAL says, knows how sure it is, and refuses what is no video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from media import run_ffmpeg

from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError, DatasetError
from securevqa_core.opinions.predicted import teacher_id
from securevqa_core.opinions.versions import VERSIONS
from securevqa_core.randomness import Key
from securevqa_core.scorer import Scorer
from securevqa_core.teacher import Teacher, fit_teacher

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return fit_teacher("videval", num_fits=4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    source = "testsrc2=size=192x108:rate=20:duration=1.5"
    run_ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", str(path))
    return path


def test_an_opinion_is_the_score_of_the_shipped_videval_and_has_a_spread(
    teacher: Teacher, clip: Path
) -> None:
    found = teacher.opinion_of(clip)
    with Scorer(key=Key.public(1), checkpoint="videval") as scorer:
        assert found.mean == pytest.approx(scorer.score(clip).score, abs=0.05)
    assert 0 < found.sd < 50
    assert teacher.opinion_of(clip) == found


def test_fits_are_of_videos_drawn_anew_and_the_same_in_every_call(teacher: Teacher) -> None:
    again = fit_teacher("videval", num_fits=2)
    for ours, theirs in zip(again.others, teacher.others[:2], strict=True):
        assert torch.equal(ours.dual_coefficients, theirs.dual_coefficients)
    vectors = [one.support_vectors.numpy().tobytes() for one in (teacher.model, *teacher.others)]
    assert len(set(vectors)) == 5
    drawn = teacher.others[0].support_vectors[:, 0].numpy()
    assert len(np.unique(drawn[drawn != 0])) < 0.8 * np.count_nonzero(drawn), "some videos were drawn twice"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_a_teacher_that_looks_at_frames_as_it_does(version: str) -> None:
    assert teacher_id(version).rpartition("-")[0] == version
    assert zoo.spec(version).sampling.has_statistics


def test_who_is_no_teacher_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"teacher must be one of videval, .*, got 'vsfa'"):
        teacher_id("vsfa")


def test_a_file_that_is_no_video_has_no_opinion(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    with pytest.raises(DatasetError, match=r"text\.mp4 cannot be given an opinion"):
        teacher.opinion_of(path)
