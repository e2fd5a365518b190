"""Label files become manifests, however they circulate, and what breaks a rule is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from s3server import S3Server
from scipy.io import savemat

from pipeline.evaluation.listed import LabelledSource, read_labelled
from pipeline.manifests.label_files import read_label_file
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.manifests.labels import labels_of
from pipeline.manifests.late_labels import read_late_labels
from pipeline.manifests.scales import LABEL_FORMATS, LabelRange
from securevqa_core.errors import ConfigurationError, ManifestError

# format -> a line as it circulates, what it says
LINES = {
    "konvid-1k": ("10053703034.mp4, 8.008008, 29.97, 3.46", ("10053703034.mp4", 3.46, 8.008008, 29.97)),
    "live-vqc": ("Video/A001.mp4, 10.0, 29.97, 80.2327", ("Video/A001.mp4", 80.2327, 10.0, 29.97)),
    "youtube-ugc": ("Gaming_1080P-0ce6.mkv,-1,-1,3.671", ("Gaming_1080P-0ce6.mkv", 3.671, None, None)),
    "lsvq": ("yfcc-batch22/17734.mp4, -1, -1, 59.909", ("yfcc-batch22/17734.mp4", 59.909, None, None)),
    "fast-vqa": ("any/a.mp4, 8, 30, 73.5", ("any/a.mp4", 73.5, 8.0, 30.0)),
}


# as data sets publish them: data set, lines, the files of the videos, MOS of each
PUBLISHED: dict[str, tuple[str, str, list[str], list[float | None]]] = {
    "KoNViD-1k": (
        "konvid-1k",
        "flickr_id,mos\n3339962845,3.46\n10053703034,2.9\n",
        ["KoNViD_1k_videos/3339962845.mp4", "KoNViD_1k_videos/10053703034.mp4"],
        [3.46, 2.9],
    ),
    "KoNViD-1k without a header": (
        "konvid-1k",
        "3339962845,3.46\n10053703034,2.9\n",
        ["3339962845.mp4", "10053703034.mp4"],
        [3.46, 2.9],
    ),
    "LIVE-VQC as CSV": (
        "live-vqc",
        "File,MOS\nA001.mp4,80.2327\nG003.mp4,6.2\n",
        ["Video/A001.mp4", "Video/G003.mp4"],
        [80.2327, 6.2],
    ),
    "YouTube-UGC": (
        "youtube-ugc",
        "vid,MOSFull,MOSChunk00,MOSChunk05\nGaming_1080P-0ce6,3.671,3.7,\nHDR_2160P-06ae,4.1,4,4\n",
        ["Gaming/1080P/Gaming_1080P-0ce6.mkv", "HDR/2160P/HDR_2160P-06ae.mkv"],
        [3.671, 4.1],
    ),
    "YouTube-UGC with spaces": (
        "youtube-ugc",
        "vid,category,resolution,MOS full,MOS std\nGaming_1080P-0ce6,Gaming,1080,3.671,0.5\n",
        ["Gaming/1080P/Gaming_1080P-0ce6.mkv"],
        [3.671],
    ),
    "YouTube-UGC with underscores": (
        "youtube-ugc",
        "vid,mos_std,mos_full,mos\nGaming_1080P-0ce6,0.5,3.671,1\n",
        ["Gaming_1080P-0ce6.mkv"],
        [3.671],
    ),
    "YouTube-UGC's encodings": (
        "youtube-ugc",
        "vid,MOSFull\nGaming_1080P-0ce6,3.671\nVlog_720P-4ad2,2\n",
        ["Gaming_1080P-0ce6_crf_10_ss_00_t_20.0.mp4", "Vlog_720P-4ad2_crf_10_ss_00_t_20.0.mp4"],
        [3.671, 2],
    ),
    "LSVQ": (
        "lsvq",
        "name,height,width,mos,frame_number\n"
        "ia-batch1/Barn_Dance,480,640,59.9,250\nyfcc-batch2/17734,540,960,-1,240\n",
        ["ia-batch1/Barn_Dance.mp4", "yfcc-batch2/17734.mp4"],
        [59.9, None],
    ),
    "LSVQ without a header": (
        "lsvq",
        "ia-batch1/Barn_Dance,480,640,59.9,250\nyfcc-batch2/17734,540,960,41,240\n",
        ["ia-batch1/Barn_Dance.mp4", "yfcc-batch2/17734.mp4"],
        [59.9, 41],
    ),
    "LSVQ in 1080p": (
        "lsvq",
        "name,p1,p2,p3,height,width,mos_p1,mos_p2,mos_p3,mos,frame_number,left_p1,start_p1,is_test\n"
        "yfcc-batch1/4,a_p1,a_p2,a_p3,1080,1920,60,61,62,70.5,299,1,2,True\n"
        '"ia-batch3/Fire, water",b,b,b,1080,1920,1,2,3,33,240,1,2,True\n',
        ["yfcc-batch1/4.mp4", "ia-batch3/Fire, water.mp4"],
        [70.5, 33],
    ),
}


def videos(folder: Path, *names: str) -> list[str]:
    """Make files, and return their URIs."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video")
    return [str(folder / name) for name in names]


def labels(folder: Path, text: str) -> str:
    path = folder / "labels.txt"
    path.write_text(text)
    return str(path)


def test_every_format_has_an_example() -> None:
    assert LINES.keys() == LABEL_FORMATS.keys()


@pytest.mark.parametrize("label_format", LINES)
def test_lines_as_they_circulate_are_read(label_format: str, tmp_path: Path) -> None:
    line, (path, mos, seconds, fps) = LINES[label_format]
    (video,) = videos(tmp_path / "videos", path)
    table = read_label_file(
        labels(tmp_path, f"\n{line}\r\n\n"), label_format=label_format, video_root=str(tmp_path / "videos")
    )
    assert table.to_pylist() == [{"uri": video, "mos": mos, "listed_seconds": seconds, "listed_fps": fps}]
    scale = LABEL_FORMATS[label_format] or LabelRange()
    (points,) = labels_of(table, "mos", scale)
    expected = (mos - 1) * 25 if scale.high == 5 else mos
    assert points == pytest.approx(expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_as_data_sets_publish_them_find_their_videos(name: str, tmp_path: Path) -> None:
    label_format, text, names, mos = PUBLISHED[name]
    uris = videos(tmp_path, *names)
    videos(tmp_path, "README.md", "Gaming_1080P-0ce6.json")
    table = read_label_file(labels(tmp_path, text), label_format=label_format)
    assert table["uri"].to_pylist() == uris
    assert table["mos"].to_pylist() == mos
    assert set(table["listed_fps"].to_pylist()) == {None}


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_a_label_file_that_is_read_as_a_table_is_known_for_one(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels.{suffix}"
    path.write_text("a.mp4, 8.0, 30.0, 3.2\nb.mp4, 8.0, 30.0, 2.2\n")
    hint = "it looks like a label file: say --labels-format, one of konvid-1k, .*, fast-vqa$"
    with pytest.raises(ManifestError, match=hint):
        read_labelled(LabelledSource(location=str(path)), EvaluationSettings())
    with pytest.raises(ManifestError, match=hint):
        read_late_labels(str(path), label_format=None, uri_column="uri")
    path.write_text("place,mos\na.mp4,3.2\n")
    with pytest.raises(ManifestError) as caught:
        read_labelled(LabelledSource(location=str(path)), EvaluationSettings())
    assert "--labels-format" not in str(caught.value)


def test_live_vqc_s_matlab_file_is_read(tmp_path: Path) -> None:
    uris = videos(tmp_path, "Video/A001.mp4", "Video/A002.mp4")
    cells = np.array([["A001.mp4"], ["A002.mp4"]], dtype=object)
    savemat(tmp_path / "data.mat", {"video_list": cells, "mos": np.array([[80.2327], [17.5]])})
    table = read_label_file(str(tmp_path / "data.mat"), label_format="live-vqc")
    assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == (uris, [80.2327, 17.5])
    savemat(tmp_path / "data.mat", {"video_list": cells, "mos": np.array([[80.2]])})
    with pytest.raises(ManifestError, match="must be as long, got 2 and 1"):
        read_label_file(str(tmp_path / "data.mat"), label_format="live-vqc")
    savemat(tmp_path / "data.mat", {"scores": np.zeros(3)})
    with pytest.raises(ManifestError, match=r"data\.mat.* must be a MATLAB file of video_list and mos"):
        read_label_file(str(tmp_path / "data.mat"), label_format="live-vqc")


def test_missing_videos_are_said_once_with_their_number(tmp_path: Path) -> None:
    uris = videos(tmp_path, "3.mp4", "5.mp4")
    text = "flickr_id,mos\n" + "".join(f"{number},3\n" for number in range(1, 10))
    told: list[str] = []
    table = read_label_file(labels(tmp_path, text), label_format="konvid-1k", tell=told.append)
    assert table["uri"].to_pylist() == uris
    (line,) = told
    assert line.startswith(
        "7 of 9 labelled videos are not there and left out: '1', '2', '4', '6', '7' and 2 more"
    )
    with pytest.raises(ManifestError, match="none of its 2 videos is there, '8', '9'"):
        read_label_file(labels(tmp_path, "8,3\n9,3\n"), label_format="konvid-1k")


def test_a_name_that_fits_two_videos_is_refused_and_a_whole_path_is_not(tmp_path: Path) -> None:
    (first, _) = videos(tmp_path, "a/1.mp4", "b/1.mp4")
    assert read_label_file(labels(tmp_path, "a/1,3\n"), label_format="konvid-1k")["uri"].to_pylist() == [
        first
    ]
    with pytest.raises(ManifestError, match=r"'1' fits 2 videos, '.*a/1\.mp4', '.*b/1\.mp4'"):
        read_label_file(labels(tmp_path, "1,3\n"), label_format="konvid-1k")


def test_names_on_the_web_are_taken_as_they_are(tmp_path: Path) -> None:
    table = read_label_file(
        labels(tmp_path, "a.mp4,3\n"), label_format="konvid-1k", video_root="https://media.example/set"
    )
    assert table["uri"].to_pylist() == ["https://media.example/set/a.mp4"]


def test_paths_start_at_the_file_s_own_folder_and_may_hold_commas(tmp_path: Path) -> None:
    videos(tmp_path, "a, b.mp4", "sub/c.mp4")
    table = read_label_file(
        labels(tmp_path, "a, b.mp4, 1, 25, 2\nsub/c.mp4,1,25,-1\n"), label_format="konvid-1k"
    )
    assert table["uri"].to_pylist() == [f"{tmp_path}/a, b.mp4", f"{tmp_path}/sub/c.mp4"]
    assert table["mos"].to_pylist() == [2, None]


def test_label_files_are_read_from_object_storage(s3: S3Server) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/sets/a.mp4", b"video")
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
        ("flickr_id,mos\n1,2,3\n", "line 2: has 3 cells, the header has 2"),
        ("flickr_id,mos\n1,good\n", "line 2: MOS must be a number, got 'good'"),
        ("flickr_id,mos\n,3\n", "line 2: the name of a video must not be empty, got ''"),
        ("flickr_id,rating\n1,3\n", "header must have one of name, .* and MOS, got 'flickr_id,rating'"),
        ("a,1,2,3,4,5,6,7\n", "line 1: needs a header to be understood, got 'a,1,2"),
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
    with pytest.raises(ManifestError, match=r"--video-root must be a folder, got '.*labels\.txt'"):
        read_label_file(
            labels(tmp_path, "a,3\n"), label_format="lsvq", video_root=str(tmp_path / "labels.txt")
        )
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.mp4, 1, 25, 3\n")
    with pytest.raises(ManifestError, match=r"latin\.txt.* not UTF-8: byte 3"):
        read_label_file(str(tmp_path / "latin.txt"), label_format="lsvq")
    with pytest.raises(ConfigurationError, match=r"konvid-1k, .*got 'konvid-150k'"):
        read_label_file(str(tmp_path / "latin.txt"), label_format="konvid-150k")
