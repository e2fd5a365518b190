"""`securevqa dataset`: footage in, labelled clips out, whatever interrupts it, and any one of them again."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli import call, finish, start, wait_until
from footage import make_photo, make_video, read_pixels
from media import run_ffmpeg
from rich.console import Console

from pipeline import events as shown_events
from pipeline.datasets.build import build_dataset
from pipeline.datasets.manifest import MANIFEST
from pipeline.datasets.opinions import Opinions
from pipeline.events import Events
from securevqa_core.datasets.build import split_of
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.families import FAMILIES, TEMPORAL
from securevqa_core.datasets.sources import read_source

pytestmark = pytest.mark.slow

SETTINGS = ["--seed", "4", "--views-per-source", "1", "--ladders-per-view", "1", "--mixtures-per-view", "1"]
SETTINGS += ["--opinions", "none"]  # which `tests/pipeline/datasets/test_opinions.py` looks at
CONFIG = BuildConfig(seed=4, views_per_source=1, ladders_per_view=1, mixtures_per_view=1)  # the same
NO_OPINIONS = Opinions(of="none")
SMALL = "-vf scale=160:120 -c:v libx264 -preset ultrafast -crf 35"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, one of them also too small to be one, a flat photograph and a file that is no video."""
    folder = tmp_path_factory.mktemp("footage")
    make_video(folder / "bunny.mp4")
    make_video(folder / "again.mp4", options=SMALL)
    make_photo(folder / "street.jpg")
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=520x400", "-frames:v", "1", str(folder / "flat.png"))
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def data(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set built without an interruption."""
    folder = tmp_path_factory.mktemp("data") / "set"
    assert call("dataset", "build", str(footage), "--output", str(folder), *SETTINGS) == 0
    return folder


def rows(data: Path) -> list[dict[str, Any]]:
    """The manifest's rows, with URIs of clips relative to the data set."""
    table = pq.read_table(data / "manifest.parquet").to_pylist()
    for row in table:
        for name in ("uri", "reference"):
            row[name] = row[name] and str(Path(row[name]).relative_to(data))
    return table


def test_the_manifest_lists_every_clip_with_its_label_and_its_source(data: Path, footage: Path) -> None:
    assert pq.read_schema(data / "manifest.parquet").equals(MANIFEST, check_metadata=True)
    listed = rows(data)
    assert {row["uri"] for row in listed} == {
        str(path.relative_to(data)) for path in data.glob("clips/*/*.mp4")
    }
    assert listed == sorted(listed, key=lambda row: row["uri"])
    assert {row["source_uri"] for row in listed} == {
        str(footage / name) for name in ("bunny.mp4", "street.jpg")
    }
    for source in {row["source"] for row in listed}:
        families = [row["family"] for row in listed if row["source"] == source]
        (family,) = set(families) & set(FAMILIES)
        assert families.count(family) == len(FAMILIES[family].levels)
        assert families.count("pristine") == families.count("mixture") == 1
    for row in listed:
        factor = 1 if row["quality_factor"] is None else row["quality_factor"]
        assert row["label"] == row["vmaf_neg"] * factor
        assert read_pixels(data / row["uri"]).shape == (48, row["height"], row["width"], 3)


def test_a_clip_is_learnt_from_beside_its_pristine_one_which_is_met_twice(data: Path) -> None:
    listed = rows(data)
    pristine = {row["view"]: row["uri"] for row in listed if row["family"] == "pristine"}
    for row in listed:
        assert row["reference"] == (None if row["family"] in TEMPORAL else pristine[row["view"]])
        assert row["repeats"] == (2 if row["family"] == "pristine" else 1)


def test_sources_that_show_the_same_share_a_group_and_its_split(data: Path, footage: Path) -> None:
    again = read_source(footage / "again.mp4").source_id
    for row in rows(data):
        assert row["group"] == (again if row["source"].startswith("bunny") else row["source"])
        assert row["split"] == split_of(row["group"], CONFIG)


def test_a_build_that_has_nothing_left_to_do_says_what_there_is(
    data: Path, footage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (data / "manifest.parquet").read_bytes()
    assert call("dataset", "build", str(footage), "--output", str(data), *SETTINGS) == 0
    assert (data / "manifest.parquet").read_bytes() == before
    said = capsys.readouterr()
    assert f"{len(rows(data))} clips of 2 sources" in said.out
    assert "one group, so one split: again-" in said.out
    assert f"manifest: {data / 'manifest.parquet'}" in said.out
    assert "views left" not in said.out
    assert "3 left out, named above" in said.out
    for reason in (
        f"left out {footage / 'text.mp4'}: {footage / 'text.mp4'} cannot be opened as a video",
        "again.mp4 is too small or too short: 213x120, 2.20 s; it needs 300 pixels on the shorter side and ",
        "must have 48 frames and contrast 8.0, got 48 and 0.0",
    ):
        assert reason in said.err


def test_a_program_gets_the_counts_as_one_document_and_people_the_rest_beside_it(
    data: Path, footage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("dataset", "build", str(footage), "--output", str(data), *SETTINGS, "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    listed = rows(data)
    assert (found["clips"], found["views_left"]) == (len(listed), 0)
    assert sum(found["families"]["pristine"].values()) == 2 == sum(found["sources"].values())
    assert len(found["left_out"]) == 3 == said.err.count("left out ")
    assert found["manifest"] == str(data / "manifest.parquet")


class Interrupting(io.StringIO):
    """Output at which a person presses Ctrl-C when two of the views are done, of which the first is flat."""

    def write(self, text: str) -> int:
        if "2 of " in text:
            raise KeyboardInterrupt
        return super().write(text)


def test_a_build_that_is_killed_and_interrupted_ends_where_an_unbroken_one_does(
    data: Path,
    footage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "set"
    command = ["dataset", "build", str(footage), "--output", str(output), *SETTINGS, "--workers", "1"]
    driver = start(*command)
    wait_until(lambda: any(output.glob("clips/*/*.mp4")) or driver.poll() is not None)
    driver.kill()
    done = finish(driver)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not list(output.glob("records/*"))

    with monkeypatch.context() as patch:
        patch.setattr(shown_events, "LOG_SECONDS", 0.0)  # a line for each view
        patch.setattr(shown_events, "LOOK_SECONDS", 1e6)  # and none by the thread that no Ctrl-C reaches
        screen = Events(Console(file=Interrupting()))
        with pytest.raises(KeyboardInterrupt):
            build_dataset([footage], output, CONFIG, opinions=NO_OPINIONS, workers=1, events=screen)
    (record,) = output.glob("records/*")
    assert not (output / "manifest.parquet").exists()

    assert call(*command, "--max-clips", "1") == 0
    assert "2 views left: the same command without a budget makes them" in capsys.readouterr().out
    assert {row["view"] for row in rows(output)} == {record.stem}
    assert call(*command) == 0
    assert rows(output) == rows(data)
    for row in rows(data):
        assert (output / row["uri"]).read_bytes() == (data / row["uri"]).read_bytes()


def test_any_clip_is_made_again_from_where_its_source_is_now(
    data: Path, footage: Path, tmp_path: Path
) -> None:
    row = next(row for row in rows(data) if row["family"] == "mixture")
    (tmp_path / "moved.mp4").write_bytes(Path(row["source_uri"]).read_bytes())
    output = tmp_path / "again.mp4"
    place = ["--output", str(output), "--sources", str(tmp_path)]
    assert call("dataset", "rebuild", str(data / "manifest.parquet"), row["uri"], *place) == 0
    assert output.read_bytes() == (data / row["uri"]).read_bytes()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nothing.mp4", "ROW_URI must mean one row of '{manifest}', got 0 for 'nothing.mp4'"),
        ("pristine-0.mp4", "ROW_URI must mean one row of '{manifest}', got 2 for 'pristine-0.mp4'"),
    ],
)
def test_a_row_that_is_not_one_is_refused(
    uri: str, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = str(data / "manifest.parquet")
    assert call("dataset", "rebuild", manifest, uri, "--output", str(tmp_path / "x.mp4")) == 2
    assert message.format(manifest=manifest) in capsys.readouterr().err


def test_a_clip_cannot_be_written_where_no_folder_is(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "nowhere" / "x.mp4"
    assert call("dataset", "rebuild", str(data / "manifest.parquet"), "x", "--output", str(output)) == 2
    assert f"got '{output}', which is in no folder that exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "5"], "seed must be 4, as in the data set in"),
        (["--test-share", "1"], "--val-share + --test-share must be < 1, got 0.1 + 1.0"),
        (["--max-clips", "0"], "--max-clips must be in"),
        (["--opinions", "some"], "--opinions must be one of none, pristine, all, got 'some'"),
        (
            ["--opinions", "all", "--teacher", "vsfa"],
            "--teacher must be one of videval, videval-720p, videval-480p, got 'vsfa'",
        ),
        (["--as-is"], "--views-per-source is of clips that are made, and --as-is makes none"),
    ],
)
def test_wrong_calls_change_nothing(
    arguments: list[str], message: str, data: Path, footage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (data / "manifest.parquet").read_bytes()
    assert call("dataset", "build", str(footage), "-o", str(data), *SETTINGS, *arguments) == 2
    assert message in capsys.readouterr().err
    assert (data / "manifest.parquet").read_bytes() == before
