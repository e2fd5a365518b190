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
    "YouTube-UGC's chunks without a header": (
        "youtube-ugc",
        "Animation_1080P-05f8,3.5,3.2,1.3\nVlog_720P-4ad2,2,2.5,\n",
        ["Animation_1080P-05f8.mkv", "Vlog_720P-4ad2.mkv"],
        [3.5, 2],
    ),
    "YouTube-UGC's one chunk without a header": (
        "youtube-ugc",
        "Animation_1080P-05f8,3.5,3.2\n",
        ["Animation_1080P-05f8.mkv"],
        [3.5],
    ),
    "YouTube-UGC's chunks of any data set": (
        "fast-vqa",
        "Animation_1080P-05f8,3.5,3.2,-1,1.3,4\n",
        ["Animation_1080P-05f8.mkv"],
        [3.5],
    ),
    "YouTube-UGC as others rewrote it": (
        "youtube-ugc",
        "a.mkv,-1,-1,3.5\nb.mkv,4,-1,3\n",
        ["a.mkv", "b.mkv"],
        [3.5, 3],
    ),
    "quotes without a header": ("lsvq", '"crf32","3.2"\n', ["crf32.mp4"], [3.2]),
    "quoted commas without a header": (
        "lsvq",
        'ia-batch1/C,480,640,50,250\n "ia-batch1/A, B" , 480,640,59.9,250\n',
        ["ia-batch1/C.mp4", "ia-batch1/A, B.mp4"],
        [50, 59.9],
    ),
    "commas in names": ("lsvq", "A,B.mp4,50\nA, C.mp4,60\n", ["A,B.mp4", "A, C.mp4"], [50, 60]),
    "lines in cells": ("lsvq", 'title,name,mos\n"A\nB",c,3\n"D",e,4\n', ["c.mp4", "e.mp4"], [3, 4]),
    "no label": (
        "konvid-1k",
        "name,mos\na,nan\nb,NA\nc,n/a\nd,Null\ne,none\nf,-\ng,\n,\nh,3\n",
        [f"{name}.mp4" for name in "abcdefgh"],
        [*[None] * 7, 3],
    ),
    "no label without a header": (
        "konvid-1k",
        "a,NA\nb,\nc,3\n",
        ["a.mp4", "b.mp4", "c.mp4"],
        [None, None, 3],
    ),
    "semicolons": ("konvid-1k", "video_list;MOS\na;3\n", ["a.mp4"], [3]),
    "tabs": ("konvid-1k", "video_id\tfull_mos\nA, B\t3\n", ["A, B.mp4"], [3]),
    "tabs without a header": ("konvid-1k", "A, B\t3\n", ["A, B.mp4"], [3]),
    "tabs for looks": ("konvid-1k", "a.mp4,\t3\n", ["a.mp4"], [3]),
    "comments": ("konvid-1k", "# it's \"KoNViD, 2017\n\n# name, mos\na,3\n", ["a.mp4"], [3]),
    "comments before a header": ("konvid-1k", "# name, mos\nmos,name\n3,a\n", ["a.mp4"], [3]),
    "comments without a header": ("konvid-1k", "# path, 2017\na,3\n", ["a.mp4"], [3]),
    "a header in capitals": ("konvid-1k", "FLICKR_ID,Mos\n1,3\n", ["1.mp4"], [3]),
    "other suffixes": (
        "konvid-1k",
        "".join(f"{row},3\n" for row in range(8)),
        [
            f"{row}.{one}"
            for row, one in enumerate(("flv", "mpg", "mpeg", "wmv", "3gp", "ogv", "m2ts", "MXF"))
        ],
        [3] * 8,
    ),
}

# rows, files, MOS of each file, None where no row is of it
FOUND: dict[str, tuple[str, list[str], list[float | None]]] = {
    "a namesake in another folder": (
        "ia-batch1/First,40\nia-batch2/Third,60\n",
        ["ia-batch1/First.mp4", "ia-batch1/Third.mp4"],
        [40, None],
    ),
    "both namesakes, one of them there": (
        "ia-batch1/Third,40\nia-batch2/Third,60\n",
        ["ia-batch1/Third.mp4"],
        [40],
    ),
    "all in one folder": (
        "ia-batch1/First,40\nia-batch2/Second,60\n",
        ["First.mp4", "Second.mp4"],
        [40, 60],
    ),
    "all in one folder, namesakes": (
        "ia-batch1/First,40\nia-batch1/Third,50\nia-batch2/Third,60\n",
        ["First.mp4", "Third.mp4"],
        [40, None],
    ),
    "all in one folder, but for one": (
        "ia-batch1/Third,50\nia-batch2/Third,60\n",
        ["Third.mp4", "ia-batch2/Third.mp4"],
        [50, 60],
    ),
    "a shorter path": ("a/1,40\n", ["a/1.mp4", "b/a/1.mp4"], [40, None]),
    "another extension": (
        "Animation_1080P-05f8.mkv,3\nVlog_720P-4ad2.mkv,4\n",
        ["Animation_1080P-05f8_crf_10_ss_00_t_20.0.mp4", "Vlog_720P-4ad2.webm"],
        [3, 4],
    ),
    "another extension, and its own": ("a.mkv,3\na.mp4,4\n", ["a.mp4"], [4]),
    "ids as floats": (
        "3339962845.0,3\n1.0053703034e+10,4\n1.5,2\n",
        ["3339962845.mp4", "10053703034.mp4", "1.5.mp4"],
        [3, 4, 2],
    ),
    "another case": (
        "IA-Batch1/third.MP4,3\nia-batch1/First,4\n",
        ["ia-batch1/Third.mp4", "ia-batch1/First.mp4"],
        [3, 4],
    ),
    "another case, and its own": ("A.mp4,3\na.mp4,4\n", ["a.mp4"], [4]),
    "backslashes": (".\\ia-batch1\\Third,3\n", ["ia-batch1/Third.mp4", "ia-batch2/Third.mp4"], [3, None]),
    "an original beside its encodings": (
        "X,3\n",
        ["a/X.mkv", "b/X_crf_10.mp4", "b/X_crf_20.mp4"],
        [3, None, None],
    ),
    "pictures beside": ("X,3\n", ["X.jpg", "X.mp4"], [None, 3]),
    "folders that are none": ("a/X.mp4,3\n../Y.mp4,2\n/Z.mp4,4\n", ["X.mp4", "Y.mp4", "Z.mp4"], [3, 2, 4]),
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


# what is given as a table -> its format, MOS of `a` and `b`
SHOWN: dict[str, tuple[str, list[float]]] = {
    "a.mp4, 8.0, 30.0, 33.2\nb.mp4, 8.0, 30.0, 42.2\n": ("fast-vqa", [33.2, 42.2]),
    "path,MOS\na.mp4,33.2\nb.mp4,42.2\n": ("fast-vqa", [33.2, 42.2]),
    "flickr_id,mos\na,3.2\nb,2.2\n": ("konvid-1k", [3.2, 2.2]),
    "flickr_id,mos\na,33.2\nb,22.2\n": ("fast-vqa", [33.2, 22.2]),  # a rewritten one, on another scale
    "vid,MOSFull,MOSChunk00\na,3.2,1\nb,2.2,1\n": ("youtube-ugc", [3.2, 2.2]),
    "name,height,width,mos,frame_number\na,1,1,3.2,1\nb,1,1,2.2,1\n": ("lsvq", [3.2, 2.2]),
}


@pytest.mark.parametrize("suffix", ["txt", "csv"])
@pytest.mark.parametrize("text", SHOWN)
def test_a_label_file_that_is_given_as_a_table_is_read_as_what_it_is(
    text: str, suffix: str, tmp_path: Path
) -> None:
    label_format, mos = SHOWN[text]
    path, uris, told = tmp_path / f"labels.{suffix}", videos(tmp_path, "a.mp4", "b.mp4"), list[str]()
    path.write_text(text)
    table, settings = read_labelled(
        LabelledSource(location=str(path)), EvaluationSettings(), tell=told.append
    )
    assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == (uris, mos)
    said = f"'{path}' is no manifest, and read as a label file, as with --labels-format {label_format}"
    assert told[0] == said
    if (scale := LABEL_FORMATS[label_format]) is not None:
        assert settings.label_range == scale


def test_what_breaks_a_rule_of_tables_is_no_label_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for text, rule in (
        ("uri,name,mos\nhttp://a/a.mp4,a,3\n", "http"),
        ("place,mos\na.mp4,3.2\n", "column 'uri'"),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=rule) as caught:
            read_labelled(LabelledSource(location=str(path)), EvaluationSettings())
        assert "label" not in str(caught.value).replace("labels.csv", "")
    path.write_text("path,mos\na.mp4,3.2\n")
    with pytest.raises(ManifestError, match="'clip'"):
        read_labelled(LabelledSource(location=str(path), uri_column="clip"), EvaluationSettings())


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


@pytest.mark.parametrize("names", [["A001.mp4", "A002.mp4"], [["A001.mp4"], ["A002.mp4"]]])
def test_matlab_s_variables_are_found_in_any_case(names: list[str], tmp_path: Path) -> None:
    uris = videos(tmp_path, "A001.mp4", "A002.mp4")
    savemat(tmp_path / "data.mat", {"Video_List": np.array(names), "MOS": np.array([80.2, np.nan])})
    table = read_label_file(str(tmp_path / "data.mat"), label_format="live-vqc")
    assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == (uris, [80.2, None])


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_damaged_matlab_file_is_one_line(is_compressed: bool, tmp_path: Path) -> None:
    cells = np.array([[f"A{row:03}.mp4"] for row in range(20)], dtype=object)
    path = tmp_path / "data.mat"
    savemat(path, {"video_list": cells, "mos": np.arange(20.0)}, do_compression=is_compressed)
    content = path.read_bytes()
    for size in range(7, len(content) - 8, 23):
        path.write_bytes(content[:size])
        with pytest.raises(ManifestError, match=r"data\.mat' must be a MATLAB file of video_list and mos"):
            read_label_file(str(path), label_format="live-vqc")


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
        ("flickr_id,mos,mos\n1,2,3\n", "header must have one of name, .* and MOS, got 'flickr_id,mos,mos'"),
        ("flickr_id,mos\n1,inf\n", "line 2: MOS must be finite, got 'inf'"),
        ('flickr_id,mos\n"1,2\n3,4\n5,6\n', "line 2: a quote does not end"),
        (f"flickr_id,mos\n1,{'3' * 200_000}\n", "line 2: not readable CSV: field larger than field limit"),
        ("a,1,2,3,4,5,6,7\n", "line 1: needs a header to be understood, got 'a,1,2"),
        ("a,8,30,3\nb,3.2,3.1,3\n", "line 2: needs a header to be understood, got 'b,3.2"),
        ("a,480,640,3,250\n", "line 1: needs a header to be understood, got 'a,480"),
        ("a,p1,1080,3,True\n", "line 1: needs a header to be understood, got 'a,p1"),
        ("a,b,c,d\n", "line 1: needs a header to be understood, got 'a,b"),
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


@pytest.mark.parametrize(
    ("label_format", "text"),
    [
        *(("lsvq", f"a,{cells}\n") for cells in ("3.5,3.2,1.3", "3.5,3.2", "p1,1080,1920,60,70.5,299,True")),
        *(("youtube-ugc", f"a,{cells}\n") for cells in ("480,640,3,250", "3.5,3.2,0.3", "3.5,0.2", "8,4,3")),
        *(("live-vqc", f"a,{cells}\n") for cells in ("480,640,3,250", "80,3", "8,3,80")),
        *(("fast-vqa", f"a,{cells}\n") for cells in ("80,3", "8,3,80", "8,,3", "80,3,2,1,5")),
    ],
)
def test_cells_that_may_be_several_things_need_a_header(label_format: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="line 1: needs a header to be understood, got 'a,"):
        read_label_file(labels(tmp_path, text), label_format=label_format)


def test_utf_16_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    (uri,) = videos(tmp_path, "é.mp4")
    path = tmp_path / "labels.csv"
    for encoding in ("utf-16-le", "utf-16-be"):
        path.write_bytes("\ufeffvid;MOSFull\r\né;3\r\n".encode(encoding))
        table = read_label_file(str(path), label_format="youtube-ugc")
        assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == ([uri], [3])
    path.write_bytes("\ufeffvid".encode("utf-16-le") + b"x")
    with pytest.raises(ManifestError, match=r"labels\.csv' is not UTF-16.*: byte \d"):
        read_label_file(str(path), label_format="youtube-ugc")


def test_lengths_and_rates_below_a_header_are_taken_where_they_are_any(tmp_path: Path) -> None:
    cells = {"8": 8, "-1": None, "0": None, "00:00:20": None, "": None, "nan": None, "1/0": None, "x/y": None}
    cells |= {"30000/1001": 30000 / 1001}
    rows = "".join(f"{row},{cell},{cell},3\n" for row, cell in enumerate(cells))
    videos(tmp_path, *(f"{row}.mp4" for row in range(len(cells))))
    table = read_label_file(labels(tmp_path, f"name,fps,duration,mos\n{rows}"), label_format="konvid-1k")
    assert table["listed_fps"].to_pylist() == table["listed_seconds"].to_pylist() == list(cells.values())


@pytest.mark.parametrize("name", FOUND)
def test_labels_find_their_videos(name: str, tmp_path: Path) -> None:
    rows, files, expected = FOUND[name]
    uris = videos(tmp_path, *files)
    told: list[str] = []
    table = read_label_file(labels(tmp_path, rows), label_format="fast-vqa", tell=told.append)
    found = dict(zip(table["uri"].to_pylist(), table["mos"].to_pylist(), strict=True))
    assert found == {uri: mos for uri, mos in zip(uris, expected, strict=True) if mos is not None}
    num_missing, num_rows = len(rows.splitlines()) - len(found), len(rows.splitlines())
    said = f"{num_missing} of {num_rows} labelled videos are not there and left out: "
    assert [line.startswith(said) for line in told] == [True] * (num_missing > 0)


def test_the_root_may_be_the_folder_that_labels_name(tmp_path: Path) -> None:
    (uri, _) = videos(tmp_path / "videos" / "ia-batch1", "First.mp4", "Third.mp4")
    table = read_label_file(
        labels(tmp_path, "ia-batch1/First,50\nia-batch2/Third,60\nia-batch1/Third,-1\n"),
        label_format="lsvq",
        video_root=str(tmp_path / "videos" / "ia-batch1"),
    )
    assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == ([uri, f"{uri[:-9]}Third.mp4"], [50, None])


def test_two_labels_of_a_video_are_one_if_they_agree(tmp_path: Path) -> None:
    (uri,) = videos(tmp_path, "a/1.mp4")
    table = read_label_file(labels(tmp_path, "1.mp4,3\na/1,3\n"), label_format="konvid-1k")
    assert (table["uri"].to_pylist(), table["mos"].to_pylist()) == ([uri], [3])
    for other, said in (("3.5", "3.5"), ("-1", "unknown")):
        with pytest.raises(
            ManifestError, match=rf"line 1 and line 3: both are of '{uri}', with MOS 3 and {said}"
        ):
            read_label_file(labels(tmp_path, f"1.mp4,3\n\na/1,{other}\n"), label_format="konvid-1k")


@pytest.mark.parametrize(
    ("row", "files"),
    [
        ("c,3\n", ("a/c.mp4", "b/c.mkv")),
        ("c.avi,3\n", ("a/c.mp4", "b/c.mkv")),
        ("C.mp4,3\n", ("a/c.mp4", "b/c.mp4")),
        ("c,3\n", ("c_crf_10.mp4", "c_crf_20.mp4")),
    ],
)
def test_a_name_that_comes_close_to_two_videos_is_refused(
    row: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    videos(tmp_path, *files)
    with pytest.raises(ManifestError, match=r"(?i)'c(\.avi|\.mp4)?' fits 2 videos, '"):
        read_label_file(labels(tmp_path, row), label_format="konvid-1k")


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
