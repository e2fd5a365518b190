"""Whatever a file holds, decoding it ends soon, in one typed outcome, and the parent lives on.

SECUREVQA_FUZZ_CASES says how many files are made of each kind; SECUREVQA_FUZZ_SEED begins elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import media
import numpy as np
import pytest
from mutations import MUTATIONS, mutated

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import ERROR_CODES, DecodeError
from securevqa_core.types import DecodeLimits

RequestMaker = Callable[..., DecodeRequest]
NUM_CASES = int(os.environ.get("SECUREVQA_FUZZ_CASES", "24"))
SEED = int(os.environ.get("SECUREVQA_FUZZ_SEED", "0"))
DECODED = "decoded"
# A crash of FFmpeg, were there one, is a defect to report; a file that hangs it for so long would be another.
OUTCOMES = {DECODED, *ERROR_CODES} - {"decode_timeout", "decode_crashed"}
LIMITS = DecodeLimits(timeout_seconds=20, memory_bytes=1 << 30)
H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -g 6"
KINDS = {
    "h264.mp4": H264,
    "index_first.mp4": f"{H264} -movflags faststart",
    "fragmented.mp4": f"{H264} -movflags frag_keyframe+empty_moov",
    "hevc.mov": "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=error",
    "av1.mp4": "-c:v libsvtav1 -preset 12 -pix_fmt yuv420p",
    "h264.mkv": H264,
    "vp8.webm": "-c:v libvpx -deadline realtime -pix_fmt yuv420p",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -pix_fmt yuv420p",
    "mpeg2.ts": "-c:v mpeg2video -bf 2 -g 6",
    "mpeg4.avi": "-c:v mpeg4 -g 6",
    "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "h264.flv": H264,
    "theora.ogg": "-c:v libtheora -pix_fmt yuv420p",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One second of video of every kind."""
    folder = tmp_path_factory.mktemp("sound")
    return {
        name: media.make_numbered(folder / name, 12, options).read_bytes() for name, options in KINDS.items()
    }


def _outcome(sandbox: DecodeSandbox, path: Path, request: DecodeRequest) -> str:
    try:
        sample = sandbox.decode(str(path), request)
    except DecodeError as error:
        code = error.code if str(path) not in str(error) else "path_told"
        return code if ERROR_CODES[error.code].stage == "decode" else "of_another_stage"
    assert sample.patches.shape == (1, 2, 4, 2, 2, 16, 16, 3)
    assert sample.info.num_frames >= 1
    return DECODED


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("name", KINDS)
def test_a_broken_file_has_one_typed_outcome(
    sandbox: DecodeSandbox, sound: dict[str, bytes], make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    request = make_request(limits=LIMITS)
    path = tmp_path / "file"
    outcomes: Counter[str] = Counter()
    for case in range(NUM_CASES):
        rng = np.random.default_rng([SEED, list(KINDS).index(name), case])
        path.write_bytes(mutated(sound[name], rng))
        outcome = _outcome(sandbox, path, request)
        assert outcome in OUTCOMES, f"case {case} of seed {SEED}: {outcome}"
        outcomes[outcome] += 1
    sys.stdout.write(f"{name}: {dict(outcomes)}\n")  # for `pytest -s`
    assert outcomes.total() == NUM_CASES
    path.write_bytes(sound[name])
    assert _outcome(sandbox, path, request) == DECODED


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_mutation_changes_the_file_and_comes_out_the_same_again(
    sound: dict[str, bytes], mutation: str
) -> None:
    for content in (sound["h264.mp4"], sound["h264.mkv"]):
        once, again = (
            bytes(MUTATIONS[mutation](bytearray(content), np.random.default_rng(3))) for _ in range(2)
        )
        assert once == again != content
