"""A data set's build refuses what it cannot do before it begins, and its manifest can be read back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from footage import make_video
from rich.console import Console

from pipeline import events as shown_events
from pipeline.datasets.build import Budget, Built, build_dataset
from pipeline.datasets.manifest import _hash, read_row
from pipeline.datasets.opinions import Opinions
from pipeline.datasets.progress import shown_progress
from pipeline.datasets.summary import summary
from pipeline.events import Events
from securevqa_core.datasets.build import ClipRecord
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.duplicates import HASH_BITS, hash_pictures
from securevqa_core.datasets.folder import opened
from securevqa_core.datasets.sources import read_source
from securevqa_core.errors import ConfigurationError, DatasetError, ManifestError, OutputError

CONFIG = BuildConfig(views_per_source=1, ladders_per_view=0, mixtures_per_view=0)


def build(roots: list[Path], output: Path, **settings: Any) -> Any:
    screen = Events(Console(file=io.StringIO()))
    return build_dataset(roots, output, CONFIG, opinions=Opinions(of="none"), events=screen, **settings)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footage that is too small to be a source."""
    options = "-vf scale=160:120 -c:v libx264 -preset ultrafast"
    return make_video(tmp_path_factory.mktemp("footage") / "small.mp4", seconds=1, options=options)


def test_sources_that_give_no_clip_are_an_error_that_says_why(small: Path, tmp_path: Path) -> None:
    message = r"none of 1 source gave a clip: .*small\.mp4 is too small or too short: 213x120, 1\.00 s"
    with pytest.raises(DatasetError, match=message) as refused:
        build([small], tmp_path / "data")
    assert "it needs 300 pixels on the shorter side and 1.92 s, 48 frames" in str(refused.value)
    assert not (tmp_path / "data" / "manifest.parquet").exists()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_was_found_is_said_before_the_first_view_is_made(
    is_terminal: bool, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, updates = io.StringIO(), []
    screen = Events(Console(file=sink, force_terminal=is_terminal, width=80, color_system=None))
    monkeypatch.setattr(Events, "update", lambda _, what: updates.append(what))
    with pytest.raises(DatasetError, match="none of 1 source gave a clip"):
        build_dataset([small], tmp_path / "data", CONFIG, opinions=Opinions(of="none"), events=screen)
    assert "0 views of 1 source\n" in sink.getvalue()
    assert updates[-1] == "probing the sources: 1 of 1"


@pytest.mark.parametrize("place", [".", "data", "deep/data"])
def test_an_output_inside_the_sources_is_refused(place: str, small: Path) -> None:
    output = small.parent / place
    message = f"output must not lie inside the sources '{small.parent}', got '{output}'"
    with pytest.raises(ConfigurationError, match=message):
        build([small.parent], output)
    assert [path.name for path in small.parent.iterdir()] == ["small.mp4"]


@pytest.mark.parametrize("workers", [-1, 1025])
def test_workers_out_of_range_are_refused(workers: int, small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"workers must be in .*, got {workers}"):
        build([small], tmp_path / "data", workers=workers)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_clips": 0}, r"max_clips must be in .*, got 0"),
        ({"max_minutes": -1.0}, r"max_minutes must be in .*, got -1\.0"),
    ],
)
def test_a_budget_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Budget(**settings)


def test_a_budget_of_no_time_makes_nothing(tmp_path: Path) -> None:
    make_video(tmp_path / "bunny.mp4")
    with pytest.raises(DatasetError, match="none of 1 source gave a clip"):
        build([tmp_path / "bunny.mp4"], tmp_path / "data", budget=Budget(max_minutes=0))
    assert not list(tmp_path.glob("data/clips/*"))


def test_damaged_records_leave_a_view_out_by_name(tmp_path: Path) -> None:
    source = read_source(make_video(tmp_path / "bunny.mp4"))
    with opened(tmp_path / "data", CONFIG.settings()) as folder:
        folder.write(folder.record(f"{source.source_id}-0"), "{")
    with pytest.raises(DatasetError, match=r"none of 1 source gave a clip: .*-0\.json cannot be read"):
        build([tmp_path / "bunny.mp4"], tmp_path / "data")


def test_a_folder_in_which_another_process_builds_is_refused(small: Path, tmp_path: Path) -> None:
    with (
        opened(tmp_path / "data", CONFIG.settings()),
        pytest.raises(OutputError, match="another process is building in"),
    ):
        build([small], tmp_path / "data")


def test_hashes_are_kept_and_made_anew_where_they_are_damaged(small: Path, tmp_path: Path) -> None:
    source = read_source(small)
    expected = hash_pictures(source)
    assert expected.shape == (2, HASH_BITS)
    with opened(tmp_path, CONFIG.settings()) as folder:
        path = folder.hashes(source.source_id)
        for damage in (None, "{", "[[1]]", '["01"]'):
            if damage is not None:
                path.write_text(damage)
            np.testing.assert_array_equal(_hash(folder, source), expected)
            assert len(json.loads(path.read_text())) == 2
        path.write_text(json.dumps(["1" * HASH_BITS]))
        assert _hash(folder, source).all()


def test_a_source_that_cannot_be_decoded_has_no_hashes(tmp_path: Path) -> None:
    source = read_source(make_video(tmp_path / "bunny.mp4", seconds=1))
    source.path.write_text("not a video any more")
    with opened(tmp_path / "data", CONFIG.settings()) as folder:
        assert _hash(folder, source).shape == (0, HASH_BITS)
        assert not folder.hashes(source.source_id).exists()


def test_a_row_is_found_by_its_uri_or_its_end_from_a_slash_on(tmp_path: Path) -> None:
    uris = ["/data/clips/street-0/blur-1.mp4", "/data/clips/mystreet-0/blur-1.mp4"]
    pq.write_table(pa.table({"uri": uris, "level": [1, 2]}), tmp_path / "manifest.parquet")
    for uri, level in (("street-0/blur-1.mp4", 1), ("mystreet-0/blur-1.mp4", 2), (uris[1], 2)):
        assert read_row(tmp_path / "manifest.parquet", uri)["level"] == level
    for uri, count in (("blur-1.mp4", 2), ("reet-0/blur-1.mp4", 0)):
        with pytest.raises(ManifestError, match=f"row_uri must mean one row of .*, got {count} for '{uri}'"):
            read_row(tmp_path / "manifest.parquet", uri)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("not Parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet", "nowhere.parquet"):
        with pytest.raises(ManifestError, match=f"manifest '{tmp_path / name}' cannot be read"):
            read_row(tmp_path / name, "a")


@pytest.mark.parametrize(
    ("every_seconds", "lines"), [(1e9, ["3 of 3"]), (0.0, ["1 of 3", "2 of 3", "3 of 3"])]
)
def test_progress_is_lines_where_there_is_no_terminal(
    every_seconds: float, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_events, "LOG_SECONDS", every_seconds)
    monkeypatch.setattr(shown_events, "LOOK_SECONDS", 1e6)  # a slow machine's lines beside these
    console = Console(file=io.StringIO())
    with shown_progress("views", total=3, events=Events(console)) as progress:
        for _ in range(3):
            progress.advance()
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue().splitlines()
    assert len(said) == len(lines)
    assert all(line.startswith(f"views: {expected}, ") for line, expected in zip(said, lines, strict=True))


def test_progress_is_a_bar_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with shown_progress("views", total=3, events=Events(console)) as progress:
        progress.advance()
        assert progress.done == 1
    assert isinstance(console.file, io.StringIO)
    assert "/3" in console.file.getvalue()


@pytest.mark.parametrize(
    ("splits", "shares", "said"),
    [
        (("val", "val"), (0.5, 0.0), "no source is in train of share 0.5: each falls"),
        (("val", "test"), (0.1, 0.2), "no source is in train of share 0.7: each falls"),
        (("train", "train"), (0.1, 0.2), "no source is in val of share 0.1, test of share 0.2: each falls"),
        (("train", "val"), (0.5, 0.0), None),
    ],
)
def test_a_part_that_chance_left_empty_is_said(
    splits: tuple[str, ...], shares: tuple[float, float], said: str | None
) -> None:
    facts: dict[str, Any] = dict.fromkeys(ClipRecord.__slots__) | {"family": "x264"}
    records = tuple(
        ClipRecord(**facts | {"source": f"street-{n}", "split": split}) for n, split in enumerate(splits)
    )
    built = Built(manifest=Path("m.parquet"), records=records, groups=(), left_out=(), num_views_left=0)
    shown = summary(built, BuildConfig(val_share=shares[0], test_share=shares[1])).shown
    lines = [line for line in shown if isinstance(line, str) and line.startswith("no source is in")]
    assert [line[: len(said or "")] for line in lines] == ([] if said is None else [said])
