"""From a URI to the pixels the model samples, or to a row that says why not."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import media
import numpy as np
import pyarrow as pa
import pytest
import torch

from operators import decode as decode_module
from operators.decode import Decode
from operators.schema import MANIFEST, ROW_KEY, SAMPLED, Row, pixels_of, row_table, rows_of
from securevqa_core import Scorer, weights, zoo
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import DecodeError
from securevqa_core.randomness import Key
from securevqa_core.rendition import Rendition
from securevqa_core.types import DecodeLimits, SamplingConfig

SAMPLING = SamplingConfig(
    num_clips=2, clip_frames=4, grid_size=2, patch_side=16, num_segments=3, segment_frames=4, segment_side=32
)
KEY = Key.public(5)


def _stage(folder: Path, **changes: object) -> Decode:
    stage = Decode(sampling=SAMPLING, key=KEY, num_draws=2, scratch_dir=str(folder))
    return replace(stage, **changes)  # type: ignore[arg-type]


def _row(stage: Decode, uri: object) -> Row:
    (table,) = stage(row_table({ROW_KEY: "k", "video_id": "v", "uri": str(uri)}, MANIFEST))
    assert table.schema == SAMPLED
    (row,) = rows_of(table)
    return row


def test_a_row_holds_what_the_keys_seeds_choose(videos: dict[str, Path], tmp_path: Path) -> None:
    video = videos["bikes_h264.mp4"]
    row = _row(_stage(tmp_path), video)
    sha = hashlib.sha256(video.read_bytes()).hexdigest()
    draws = tuple(
        DrawSeeds(
            skip_sampling=KEY.seed(sha, "skip_sampling", draw),
            grid_sampling=KEY.seed(sha, "grid_sampling", draw),
        )
        for draw in range(2)
    )
    expected = extract_sample(str(video), DecodeRequest(sampling=SAMPLING, draws=draws))
    patches = pixels_of(row, "patches", np.uint8, *expected.patches.shape)
    assert (patches == expected.patches).all()
    assert (pixels_of(row, "frames", np.uint8, -1, 32, 32, 3) == expected.frames).all()
    assert (pixels_of(row, "segments", np.int64, 3, 4) == expected.segments).all()
    assert row["intra_seeds"] == [KEY.seed(sha, "guardian_intra", draw) for draw in range(2)]
    assert row["inter_seeds"] == [KEY.seed(sha, "guardian_inter", draw) for draw in range(2)]
    assert (row["content_sha256"], row["size_bytes"], row["attempts"]) == (sha, video.stat().st_size, 1)
    assert (row["num_frames"], row["codec"], row["decoder"]) == (50, "h264", "pyav")
    assert (row["status"], row["decode_warnings"]) == (None, [])
    assert row["fetch_seconds"] >= 0
    assert row["decode_seconds"] > 0


def test_a_rendition_that_is_noticed_follows_the_video(videos: dict[str, Path], tmp_path: Path) -> None:
    video, rendition = videos["bikes_h264.mp4"], Rendition.parse("x264:30")
    alone = _row(_stage(tmp_path), video)
    delivered = _row(_stage(tmp_path, rendition=rendition), video)
    both = _row(_stage(tmp_path, compared=rendition), video)
    assert (alone["num_looks"], both["num_looks"]) == (1, 2)
    for name in ("intra_seeds", "inter_seeds"):
        assert both[name] == alone[name] * 2
    assert bytes(both["patches"]) == bytes(alone["patches"]) + bytes(delivered["patches"])
    frames = pixels_of(both, "frames", np.uint8, -1, 32, 32, 3)
    for row, segments in zip((alone, delivered), pixels_of(both, "segments", np.int64, 2, 3, 4), strict=True):
        of_row = pixels_of(row, "frames", np.uint8, -1, 32, 32, 3)
        assert (frames[segments] == of_row[pixels_of(row, "segments", np.int64, 3, 4)]).all()
    for name in ("decode_warnings", "width", "picture_fingerprint", "suspicion_reasons"):
        assert both[name] == alone[name], name


def test_a_video_whose_rendition_fails_is_sampled_and_says_so(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: DecodeSandbox, path: str, request: DecodeRequest, sink: Any) -> DecodedSample:
        if request.rendition is not None:
            raise DecodeError("decode_memory", "more than 3 GiB")
        return extract_sample(path, request, sink)

    monkeypatch.setattr(DecodeSandbox, "decode", failing)
    row = _row(_stage(tmp_path, compared=Rendition.parse("x264:30")), videos["bikes_h264.mp4"])
    assert (row["status"], row["num_looks"], len(row["intra_seeds"])) == (None, 1, 2)
    assert row["suspicion_reasons"] == [
        "there is no rendition to compare with, decode_memory: more than 3 GiB"
    ]
    needing = _stage(tmp_path, compared=Rendition.parse("x264:30"), needs_compared=True)
    failed = _row(needing, videos["bikes_h264.mp4"])
    assert (failed["status"], failed["error_code"]) == ("failed", "decode_memory")


def test_the_name_of_a_file_does_not_change_where_the_model_looks(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "another-name.bin"
    copy.write_bytes(videos["bikes_h264.mp4"].read_bytes())
    rows = [_row(_stage(tmp_path), uri) for uri in (videos["bikes_h264.mp4"], copy)]
    assert rows[0]["patches"].equals(rows[1]["patches"])
    other = _row(_stage(tmp_path, key=Key.public(6)), copy)
    assert not rows[0]["patches"].equals(other["patches"])


@pytest.mark.parametrize(
    ("name", "stage", "code"),
    [
        ("empty.mp4", "decode", "empty_file"),
        ("text.mp4", "decode", "not_a_video"),
        ("truncated.mp4", "decode", "not_a_video"),
        ("audio_only.mp4", "decode", "no_video_stream"),
        ("no such file.mp4", "fetch", "fetch_not_found"),
    ],
)
def test_a_video_that_cannot_be_sampled_is_a_row_that_says_why(
    videos: dict[str, Path], tmp_path: Path, name: str, stage: str, code: str
) -> None:
    row = _row(_stage(tmp_path), videos.get(name, tmp_path / name))
    assert (row["status"], row["stage"], row["error_code"]) == ("failed", stage, code)
    assert row["error_message"]
    assert "/proc/" not in row["error_message"]
    assert (row["patches"], row["frames"], row["segments"]) == (None, None, None)
    assert row["attempts"] == 1
    assert (row["content_sha256"] is not None) == (stage == "decode")


@pytest.mark.parametrize(("decoder", "used"), [("auto", "pyav"), ("pyav", "pyav"), ("decord", "decord")])
def test_the_row_says_which_backend_read(
    videos: dict[str, Path], tmp_path: Path, decoder: str, used: str
) -> None:
    row = _row(_stage(tmp_path, decoder=decoder), videos["bikes_h264.mp4"])
    assert (row["status"], row["decoder"]) == (None, used)


def test_the_decode_limits_are_in_force(videos: dict[str, Path], tmp_path: Path) -> None:
    row = _row(_stage(tmp_path, decode_limits=DecodeLimits(max_pixels=100)), videos["bikes_h264.mp4"])
    assert row["error_code"] == "too_many_pixels"
    assert row["decode_seconds"] > 0


def test_what_is_not_understood_is_named_by_the_code_and_among_the_warnings(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "stereo.mkv"
    media.run_ffmpeg(
        *f"-i {videos['bikes_h264.mp4']} -c copy -metadata:s:v stereo_mode=left_right {path}".split()
    )
    row = _row(_stage(tmp_path), path)
    assert (row["status"], row["error_code"]) == ("failed", "display_not_understood")
    assert "stereoscopic" in row["error_message"]
    assert row["decode_warnings"] == [f"display_not_understood: {row['error_message']}"]


def test_a_deadline_between_two_videos_of_a_task_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 9.0, 11.0])
    monkeypatch.setattr("operators.decode.time", SimpleNamespace(time=lambda: next(clock)))
    in_writing: list[str] = []

    def begin(row_key: str) -> Any:
        in_writing.append(row_key)
        return SimpleNamespace(future=lambda: SimpleNamespace(result=lambda **_: None))

    tally = SimpleNamespace(begin=SimpleNamespace(remote=begin))
    rows = [row_table({ROW_KEY: key, "video_id": key, "uri": f"/absent/{key}"}, MANIFEST) for key in "abcd"]
    (begun,) = _stage(tmp_path, deadline=10.0, tally=tally)(pa.concat_tables(rows))
    assert begun[ROW_KEY].to_pylist() == in_writing == ["a", "b"]


def test_a_video_that_cannot_be_put_in_writing_is_not_begun(tmp_path: Path) -> None:
    def begin(_: str) -> Any:
        raise OSError("no space left")

    tally = SimpleNamespace(begin=SimpleNamespace(remote=begin))
    row = row_table({ROW_KEY: "a", "video_id": "a", "uri": "/absent/a"}, MANIFEST)
    with pytest.raises(OSError, match="no space left"):
        list(_stage(tmp_path, tally=tally)(row))


def test_scratch_files_leave_nothing_behind(videos: dict[str, Path], tmp_path: Path) -> None:
    for name in ("bikes_h264.mp4", "text.mp4"):
        _row(_stage(tmp_path), videos[name])
    assert list(tmp_path.iterdir()) == []
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not any(str(tmp_path) in target for target in links)


def test_a_scratch_folder_that_is_missing_is_said_so(videos: dict[str, Path], tmp_path: Path) -> None:
    row = _row(_stage(tmp_path / "gone"), videos["bikes_h264.mp4"])
    assert (row["stage"], row["error_code"]) == ("fetch", "scratch_full")
    assert row["error_message"] == "no scratch file can be made: No such file or directory"


def test_a_scratch_disk_that_fills_up_is_said_so(videos: dict[str, Path], tmp_path: Path) -> None:
    """Stands in for a full disk: no file of this process may grow past 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        row = _row(_stage(tmp_path), videos["bikes_h264.mp4"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (row["stage"], row["error_code"]) == ("fetch", "scratch_full"), row["error_message"]


def test_a_scratch_file_that_cannot_be_closed_is_forgotten(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    make = tempfile.TemporaryFile

    class Stubborn:
        def __init__(self, file: object) -> None:
            self._file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def close(self) -> None:
            self._file.close()  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decode_module.tempfile, "TemporaryFile", lambda **options: Stubborn(make(**options)))
    assert _row(_stage(tmp_path), videos["bikes_h264.mp4"])["status"] is None


@pytest.mark.slow
def test_the_features_of_whole_pictures_are_those_of_the_weights_it_is_handed(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = weights.seeded("uvq-1.5", seed=3)
    handed = concurrent.futures.Future[weights.Checkpoint]()
    handed.set_result(checkpoint)

    class Reference:
        def future(self) -> concurrent.futures.Future[weights.Checkpoint]:
            return handed

    sampling = zoo.spec("uvq-1.5").sampling
    before = torch.get_num_threads()
    try:
        row = _row(_stage(tmp_path, sampling=sampling, checkpoint=Reference()), videos["bikes_h264.mp4"])
        with Scorer(checkpoint, key=KEY) as scorer:
            expected = scorer.take(videos["bikes_h264.mp4"]).looks[0].statistics
    finally:
        torch.set_num_threads(before)
    found = pixels_of(row, "statistics", np.float32, -1)
    assert expected is not None
    assert len(found) == 2 * 4096  # a picture a second, of two
    assert (found == expected).all()


def test_a_bad_video_does_not_spoil_the_next(videos: dict[str, Path], tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    names = ["text.mp4", "bikes_h264.mp4", "audio_only.mp4", "empty.mp4", "one_frame.mp4", "two_by_two.mp4"]
    statuses = [_row(stage, videos[name])["status"] for name in names]
    assert statuses == ["failed", None, "failed", "failed", None, None]


def test_a_worker_keeps_one_decoding_process(videos: dict[str, Path], tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    _row(stage, videos["bikes_h264.mp4"])
    pid = decode_module._sandbox(stage.decode_limits).pid
    _row(_stage(tmp_path), videos["one_frame.mp4"])
    assert decode_module._sandbox(stage.decode_limits).pid == pid is not None
