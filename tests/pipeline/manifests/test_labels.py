"""Label files become manifests line by line, and a label that breaks a rule is named with its place."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from s3server import S3Server

from pipeline.manifests.labels import LABEL_FORMATS, LabelRange, label_column, labels_of, read_label_file
from securevqa_core.errors import ConfigurationError, ManifestError

# format -> a line as it circulates, what it says
LINES = {
    "konvid-1k": ("10053703034.mp4, 8.008008, 29.97, 3.46", ("10053703034.mp4", 3.46, 8.008008, 29.97)),
    "live-vqc": ("Video/A001.mp4, 10.0, 29.97, 80.2327", ("Video/A001.mp4", 80.2327, 10.0, 29.97)),
    "youtube-ugc": ("Gaming_1080P-0ce6.mkv,-1,-1,3.671", ("Gaming_1080P-0ce6.mkv", 3.671, None, None)),
    "lsvq": ("yfcc-batch22/17734.mp4, -1, -1, 59.909", ("yfcc-batch22/17734.mp4", 59.909, None, None)),
}


def labels(folder: Path, text: str) -> str:
    path = folder / "labels.txt"
    path.write_text(text)
    return str(path)


def test_every_format_has_an_example() -> None:
    assert LINES.keys() == LABEL_FORMATS.keys()


@pytest.mark.parametrize("label_format", LINES)
def test_lines_as_they_circulate_are_read(label_format: str, tmp_path: Path) -> None:
    line, (path, mos, seconds, fps) = LINES[label_format]
    table = read_label_file(
        labels(tmp_path, f"\n{line}\r\n\n"), label_format=label_format, video_root="s3://sets/videos"
    )
    assert table.to_pylist() == [
        {"uri": f"s3://sets/videos/{path}", "mos": mos, "listed_seconds": seconds, "listed_fps": fps}
    ]
    (points,) = labels_of(table, "mos", LABEL_FORMATS[label_format])
    expected = (mos - 1) * 25 if LABEL_FORMATS[label_format].high == 5 else mos
    assert points == pytest.approx(expected)


def test_paths_start_at_the_file_s_own_folder_and_may_hold_commas(tmp_path: Path) -> None:
    table = read_label_file(
        labels(tmp_path, "a, b.mp4, 1, 25, 2\nsub/c.mp4,1,25,-1\n"), label_format="konvid-1k"
    )
    assert table["uri"].to_pylist() == [f"{tmp_path}/a, b.mp4", f"{tmp_path}/sub/c.mp4"]
    assert table["mos"].to_pylist() == [2, None]


def test_label_files_are_read_from_object_storage(s3: S3Server) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/sets/lsvq.txt", "\ufeffa.mp4, -1, -1, 50\n".encode())
    table = read_label_file(f"{s3.bucket_uri}/sets/lsvq.txt", label_format="lsvq")
    assert table["uri"].to_pylist() == [f"{s3.bucket_uri}/sets/a.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("a.mp4, 1, 25, 3\nb.mp4, 25, 3\n", r"line 2: must be path, duration, fps, MOS, got 'b\.mp4, 25, 3'"),
        (", 1, 25, 3\n", r"line 1: must be path"),
        ("a.mp4, 1, 25, good\n", "line 1: MOS must be a number, got 'good'"),
        ("a.mp4, 1, 25, 3\n\nb.mp4, 1, x, 3\n", "line 3: fps must be a number, got 'x'"),
        ("a.mp4, nan, 25, 3\n", "line 1: duration must be finite, got 'nan'"),
        ("a.mp4, 0, 25, 3\n", "line 1: duration must be above 0 or -1, got 0"),
        ("a.mp4, 1, 25, 59.9\n", r"line 1: MOS must be in 1\.\.5 or -1, got 59\.9"),
        ("a.mp4, 1, 25, 0\n", r"line 1: MOS must be in 1\.\.5 or -1, got 0"),
    ],
)
def test_a_broken_line_is_named_with_its_file_and_rule(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_label_file(labels(tmp_path, text), label_format="konvid-1k")
    assert "labels.txt" in str(caught.value)


def test_what_is_no_label_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.txt.* cannot be read"):
        read_label_file(str(tmp_path / "absent.txt"), label_format="lsvq")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.mp4, 1, 25, 3\n")
    with pytest.raises(ManifestError, match=r"latin\.txt.* not UTF-8: byte 3"):
        read_label_file(str(tmp_path / "latin.txt"), label_format="lsvq")
    with pytest.raises(ConfigurationError, match=r"konvid-1k, .*got 'konvid-150k'"):
        read_label_file(str(tmp_path / "latin.txt"), label_format="konvid-150k")


def test_labels_are_mapped_to_points_and_missing_ones_stay_missing() -> None:
    table = pa.table({"mos": ["1", "3", "", None, "5.0"]})
    assert labels_of(table, "mos", LabelRange(low=1, high=5)) == [0, 50, None, None, 100]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("five", "row 2: column 'mos' must be a number, got 'five'"),
        (5.5, r"row 2: column 'mos' must be in 1\.\.5, got 5\.5"),
        (float("nan"), r"row 2: column 'mos' must be in 1\.\.5, got nan"),
    ],
)
def test_a_label_out_of_its_range_is_named(value: object, message: str) -> None:
    first = "2" if isinstance(value, str) else 2.0
    with pytest.raises(ManifestError, match=message):
        labels_of(pa.table({"mos": [first, value]}), "mos", LabelRange(low=1, high=5))


@pytest.mark.parametrize(("low", "high"), [(5, 1), (2, 2), (0, float("inf"))])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigurationError, match=f"low < high, got {low:g} and {high:g}"):
        LabelRange(low=low, high=high)


def test_the_label_column_is_found_or_must_be_named() -> None:
    assert label_column(["uri", "label"], None) == "label"
    assert label_column(["uri", "label", "mos"], "mos") == "mos"
    with pytest.raises(ManifestError, match=r"got \['mos', 'label'\]"):
        label_column(["uri", "label", "mos"], None)
    with pytest.raises(ManifestError, match=r"got \[\]"):
        label_column(["uri"], None)
    with pytest.raises(ManifestError, match="no label column 'dmos', only uri, mos"):
        label_column(["uri", "mos"], "dmos")
