"""High dynamic range comes down to what FFmpeg's own filters make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import media
import numpy as np
import pytest

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.pixels import Scaler
from securevqa_core.decoding.tone_mapping import tone_map
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
TRANSFERS = {"PQ": "smpte2084", "HLG": "arib-std-b67"}


@pytest.fixture(scope="module")
def hdr(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hdr")
    for name, transfer in TRANSFERS.items():
        tags = f"-color_primaries bt2020 -color_trc {transfer} -colorspace bt2020nc"
        to_hdr = f"zscale=tin=bt709:min=bt709:pin=bt709:t={transfer}:m=bt2020nc:p=bt2020:npl=203:rin=limited"
        filters = f"scale=480:320,setsar=1,{to_hdr},format=yuv444p10le"
        source = f"-i {media.bundled_clip('bikes')} -frames:v 4 -vf {filters}"
        media.run_ffmpeg(*f"{source} -c:v ffv1 {tags} -an {folder / name}.mkv".split())
    return {name: folder / f"{name}.mkv" for name in TRANSFERS}


def _by_ffmpeg(path: Path) -> np.ndarray:
    steps = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0:peak=10"
    raw = media.run_ffmpeg(
        *f"-i {path} -vf {steps},zscale=t=bt709,format=gbrp -f rawvideo -pix_fmt rgb24 -".split()
    )
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 320, 480, 3)


@pytest.mark.parametrize("name", TRANSFERS)
def test_tone_mapping_agrees_with_ffmpegs_filters(hdr: dict[str, Path], name: str) -> None:
    expected = _by_ffmpeg(hdr[name]).astype(float)
    with av.open(str(hdr[name])) as container:
        shown = [Scaler().rgb(picture, height=320, width=480) for picture in container.decode(video=0)]
    assert expected.std() > 20  # there is something to see
    assert np.mean((np.stack(shown) - expected) ** 2) <= 255**2 / 1e4  # 40 dB


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", TRANSFERS)
def test_the_sample_is_tone_mapped_and_the_report_says_so(
    hdr: dict[str, Path], make_request: RequestMaker, name: str, decoder: str
) -> None:
    sampling = SamplingConfig(num_clips=1, clip_frames=4, frame_interval=1, num_segments=1, segment_frames=4)
    sample = extract_sample(str(hdr[name]), make_request(sampling, decoder=decoder))
    assert f"high_dynamic_range: {name}, tone-mapped to standard range" in sample.warnings
    expected = _by_ffmpeg(hdr[name])
    assert abs(sample.frames.mean() - expected.mean()) < 3
    assert abs(sample.patches.mean() - expected.mean()) < 15


def _picture(transfer: int) -> av.VideoFrame:
    picture = av.VideoFrame(16, 16, "gbrp16le")
    picture.color_trc, picture.color_primaries = transfer, 1
    return picture


def test_black_stays_black_and_the_peak_is_white() -> None:
    """PQ level of 1000 nits by SMPTE ST 2084: 0.7518; HLG's peak is its highest level."""
    for transfer, peak in ((16, 0.75183), (18, 1.0)):
        levels = np.array([[0, 0, 0], [peak * 65535] * 3], dtype=np.uint16)
        black, white = tone_map(levels, _picture(transfer))
        assert black.tolist() == [0, 0, 0]
        assert white.min() >= 254


def test_a_brighter_level_is_never_shown_darker() -> None:
    levels = np.repeat(np.arange(0, 1 << 16, 64, dtype=np.uint16)[:, None], 3, axis=1)
    for transfer in (16, 18):
        shown = tone_map(levels, _picture(transfer))[:, 1].astype(int)
        assert (np.diff(shown) >= 0).all()
