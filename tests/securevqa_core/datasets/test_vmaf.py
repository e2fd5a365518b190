"""VMAF is what FFmpeg's own line says it is, of frames that belong together."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
from footage import CLIP, make_lossless
from media import run_ffmpeg

from securevqa_core.datasets.distortion import carry_out
from securevqa_core.datasets.recipes import ladder
from securevqa_core.datasets.steps import Filter
from securevqa_core.datasets.vmaf import Vmaf, measure_vmaf
from securevqa_core.errors import DatasetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name holds what ends an option of a filter."""
    folder = tmp_path_factory.mktemp("vmaf") / "it's 1:2, [x]=y;"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> Path:
    return make_lossless(folder / "reference.mkv")


@pytest.fixture(scope="module")
def distorted(folder: Path, reference: Path) -> Path:
    path = folder / "x264.mp4"
    carry_out(ladder("x264")[1].steps, reference, path, clip=CLIP, scratch=folder)
    return path


def said_by_ffmpeg(distorted: Path, reference: Path, version: str) -> float:
    graph = f"[0:v]setpts=N/25/TB[d];[1:v]setpts=N/25/TB[r];[d][r]libvmaf=model=version={version}"
    inputs = ["-i", str(distorted), "-i", str(reference)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *inputs, "-lavfi", graph, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    (score,) = re.findall(r"VMAF score: ([\d.]+)", done.stderr)
    return float(score)


def test_both_models_agree_with_what_ffmpeg_prints(folder: Path, distorted: Path, reference: Path) -> None:
    found = measure_vmaf(distorted, reference, clip=CLIP, scratch=folder)
    assert found.vmaf == pytest.approx(said_by_ffmpeg(distorted, reference, "vmaf_v0.6.1"), abs=1e-4)
    assert found.vmaf_neg == pytest.approx(said_by_ffmpeg(distorted, reference, "vmaf_v0.6.1neg"), abs=1e-4)
    assert 50 < found.vmaf_neg < found.vmaf < 95
    assert sorted(path.name for path in folder.iterdir()) == ["reference.mkv", "x264.mp4"]


TAGS = {
    "matrix": "matrix_coefficients=1",
    "primaries": "colour_primaries=9",
    "transfer": "transfer_characteristics=16",
    "range": "video_full_range_flag=1",
}


@pytest.mark.parametrize("what", TAGS)
def test_clips_of_other_colour_tags_are_refused(what: str, folder: Path, reference: Path) -> None:
    """The coded pictures are identical: what would be measured is a conversion that nobody sees."""
    tagged = folder / "tagged.mkv"
    run_ffmpeg("-i", str(reference), "-c:v", "copy", "-bsf:v", f"h264_metadata={TAGS[what]}", str(tagged))
    with pytest.raises(DatasetError, match=f"must share their {what}, got"):
        measure_vmaf(tagged, reference, clip=CLIP, scratch=folder)
    beside_itself = measure_vmaf(tagged, tagged, clip=CLIP, scratch=folder)
    assert beside_itself == measure_vmaf(reference, reference, clip=CLIP, scratch=folder)
    tagged.unlink()


def test_clips_of_another_clock_are_refused(folder: Path, reference: Path) -> None:
    faster = folder / "faster.mp4"
    run_ffmpeg("-r", "50", "-i", str(reference), "-c:v", "libx264", "-qp", "0", str(faster))
    with pytest.raises(DatasetError, match=r"must share their frame rate, got 50\.0 and 25\.0"):
        measure_vmaf(faster, reference, clip=CLIP, scratch=folder)
    faster.unlink()


def test_a_clip_is_all_but_perfect_beside_itself(folder: Path, reference: Path) -> None:
    found = measure_vmaf(reference, reference, clip=CLIP, scratch=folder)
    assert found == Vmaf(vmaf=pytest.approx(99.9, abs=0.2), vmaf_neg=pytest.approx(99.9, abs=0.2))


def test_what_is_done_to_both_is_not_measured(folder: Path, reference: Path, tmp_path: Path) -> None:
    dark = Filter(chain="exposure=exposure=-2,format=yuv420p")
    path = tmp_path / "dark.mp4"
    carry_out((dark,), reference, path, clip=CLIP, scratch=tmp_path)
    assert measure_vmaf(path, reference, clip=CLIP, scratch=folder).vmaf_neg < 20
    assert measure_vmaf(path, reference, clip=CLIP, scratch=folder, same=[dark]).vmaf_neg > 90


@pytest.mark.parametrize("is_reference", [False, True])
def test_a_clip_with_fewer_frames_is_refused(
    is_reference: bool, folder: Path, reference: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.mkv"
    run_ffmpeg("-i", str(reference), "-frames:v", "20", "-c", "copy", str(short))
    pair = (reference, short) if is_reference else (short, reference)
    with pytest.raises(DatasetError, match=r"\.mkv and .*\.mkv must share 24 frames, got 20"):
        measure_vmaf(*pair, clip=CLIP, scratch=folder)


def test_a_clip_that_is_not_there_is_named(folder: Path, reference: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.mp4"):
        measure_vmaf(folder / "nowhere.mp4", reference, clip=CLIP, scratch=folder)
