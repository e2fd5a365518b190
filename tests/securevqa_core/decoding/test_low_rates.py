"""Pictures that a file repeats are found at low bit rates too, where encoders change each of them.

`pytest -s tests/securevqa_core/decoding/test_low_rates.py` prints of how many files, by encoder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import media
import pytest
from media import run_ffmpeg

from securevqa_core import zoo
from securevqa_core.decoding.extract import DecodeRequest, extract_sample

CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")
SOURCE = "-frames:v 60 -an -vf scale=320:-2,settb=1/600,setpts=24*N -r 25"
# what repeats -> FFmpeg's filter, frames a second, and pictures a second
KINDS = {
    "nothing": ("null", 25, 25),
    "25 in 50": ("fps=50", 50, 25),
    "24 in 60": ("settb=1/240,setpts=10*N,fps=60", 60, 24),
}
X264, X265 = "-c:v libx264 -preset", "-c:v libx265 -x265-params log-level=error -preset"
VP9, AV1 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 7 -b:v 0", "-c:v libsvtav1 -preset 11"
# encoder -> its options, and in how many of six files that repeat it has to be seen
ENCODERS = {
    "x264 veryfast, CRF 24": (f"{X264} veryfast -crf 24", 6),
    "x264 veryfast, CRF 30": (f"{X264} veryfast -crf 30", 3),
    "x264 medium, CRF 30": (f"{X264} medium -crf 30", 6),
    "x265 veryfast, CRF 30": (f"{X265} veryfast -crf 30", 5),
    "VP9, CRF 45": (f"{VP9} -crf 45", 6),
    "AV1, CRF 45": (f"{AV1} -crf 45", 6),
    "MPEG-4, scale 8": ("-c:v mpeg4 -q:v 8", 6),
    "MPEG-4 with B-frames, scale 8": ("-c:v mpeg4 -bf 2 -q:v 8", 5),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    paths = [folder / f"{name}.mkv" for name in CLIPS]
    for path in paths:
        run_ffmpeg("-i", str(media.bundled_clip(path.stem)), *SOURCE.split(), "-c:v", "ffv1", str(path))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_repeats_are_found_at_low_bit_rates_and_nothing_else_is(
    sources: list[Path], make_request: Callable[..., DecodeRequest], tmp_path: Path, encoder: str
) -> None:
    request = make_request(zoo.spec(zoo.DEFAULT_MODEL).sampling)
    options, min_found = ENCODERS[encoder]
    num_found = dict.fromkeys(KINDS, 0)
    for source in sources:
        for kind, (filters, frame_rate, picture_rate) in KINDS.items():
            path = tmp_path / f"{source.stem}.{'avi' if 'mpeg4' in options else 'mkv'}"
            shown = ["-i", str(source), "-vf", filters, "-r", str(frame_rate)]
            run_ffmpeg(*shown, *options.split(), str(path))
            fps = extract_sample(str(path), request).info.fps
            num_found[kind] += fps == pytest.approx(picture_rate, abs=0.5)
    sys.stderr.write(f"{encoder}: {num_found}\n")
    assert num_found.pop("nothing") == len(sources)
    assert sum(num_found.values()) >= min_found
