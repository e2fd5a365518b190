"""A view's clips follow from its source and the seed, whether they were made in one go or in many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from footage import CLIP, make_photo, make_video

from securevqa_core import ffmpeg
from securevqa_core.datasets.build import (
    ClipRecord,
    build_view,
    choose_recipes,
    read_records,
    split_of,
)
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.families import FAMILIES, TEMPORAL
from securevqa_core.datasets.folder import DatasetFolder, opened
from securevqa_core.datasets.rebuild import plan_columns, rebuild_clip
from securevqa_core.datasets.sources import read_source
from securevqa_core.datasets.steps import steps_to_json
from securevqa_core.datasets.views import View, whole_view
from securevqa_core.datasets.vmaf import measure_vmaf
from securevqa_core.errors import ConfigurationError, DatasetError

CONFIG = BuildConfig(seed=1, ladders_per_view=2, mixtures_per_view=1, edits_per_view=0)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    path = make_video(tmp_path_factory.mktemp("footage") / "bunny.mp4")
    return View(view_id="bunny-0", source=read_source(path), clip=CLIP, start_seconds=0.4)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DatasetFolder]:
    with opened(tmp_path / "data", CONFIG.settings()) as made:
        yield made


@pytest.fixture(scope="module")
def built(
    view: View, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DatasetFolder, list[ClipRecord]]]:
    """A view built without an interruption."""
    with opened(tmp_path_factory.mktemp("data"), CONFIG.settings()) as made:
        records = build_view(view, made, CONFIG)
        assert records is not None
        yield made, records


@pytest.mark.slow
def test_a_view_gets_the_pristine_clip_whole_ladders_and_mixtures(
    view: View, built: tuple[DatasetFolder, list[ClipRecord]]
) -> None:
    folder, records = built
    families = Counter(record.family for record in records)
    assert families.pop("pristine") == families.pop("mixture") == 1
    assert len(families) == 2
    assert all(count == len(FAMILIES[family].levels) for family, count in families.items())
    for record in records:
        assert folder.clip(record.uri).stat().st_size > 0
        assert record.ladder == (f"bunny-0/{record.family}" if record.family in FAMILIES else None)
        assert (record.source, record.view) == (view.source.source_id, "bunny-0")
        assert (record.width, record.height, record.fps) == (CLIP.width, CLIP.height, CLIP.fps)
    assert read_records("bunny-0", folder) == records


def test_labels_are_vmaf_neg_times_the_factor(built: tuple[DatasetFolder, list[ClipRecord]]) -> None:
    folder, records = built
    for record in records:
        factor = 1.0 if record.quality_factor is None else record.quality_factor
        assert record.label == record.vmaf_neg * factor
        if record.quality_factor is None:
            reference = folder.reference("bunny-0")
            found = measure_vmaf(folder.clip(record.uri), reference, clip=CLIP, scratch=folder.scratch)
            assert (record.vmaf, record.vmaf_neg) == (found.vmaf, found.vmaf_neg)
    assert any(record.quality_factor for record in records), "choose a seed whose families include a rule"


@pytest.mark.slow
def test_a_stopped_build_goes_on_to_the_same_clips(
    view: View, folder: DatasetFolder, built: tuple[DatasetFolder, list[ClipRecord]]
) -> None:
    other, records = built
    asked = iter([False, False, True])
    assert build_view(view, folder, CONFIG, is_stopped=lambda: next(asked)) is None
    assert read_records("bunny-0", folder) is None
    assert len(list(folder.root.glob("clips/*/*.mp4"))) == 2
    assert build_view(view, folder, CONFIG) == records
    for record in records:
        assert folder.clip(record.uri).read_bytes() == other.clip(record.uri).read_bytes()


def test_a_finished_view_is_read_and_not_made_again(
    view: View, built: tuple[DatasetFolder, list[ClipRecord]]
) -> None:
    folder, records = built
    gone = replace(view, source=replace(view.source, path=Path("/nowhere.mp4")))
    assert build_view(gone, folder, CONFIG) == records


def test_a_view_without_one_of_its_clips_counts_as_not_made(folder: DatasetFolder) -> None:
    assert read_records("street-0", folder) is None
    row = dict.fromkeys(ClipRecord.__dataclass_fields__) | {"uri": "clips/street-0/blur-1.mp4"}
    folder.write(folder.record("street-0"), json.dumps([row]))
    assert read_records("street-0", folder) is None
    folder.clip(row["uri"]).parent.mkdir()
    folder.clip(row["uri"]).touch()
    assert read_records("street-0", folder) == [ClipRecord(**row)]


@pytest.mark.parametrize("text", ["{", "3", '[{"family": "blur"}]', "[3]"])
def test_damaged_records_are_named(text: str, folder: DatasetFolder) -> None:
    folder.write(folder.record("street-0"), text)
    with pytest.raises(DatasetError, match=r"street-0\.json cannot be read: .*; delete it to build the view"):
        read_records("street-0", folder)


@pytest.mark.slow
def test_every_clip_is_rebuilt_with_the_same_bytes_from_its_row(
    view: View, built: tuple[DatasetFolder, list[ClipRecord]], tmp_path: Path
) -> None:
    folder, records = built
    moved = tmp_path / "elsewhere.mp4"
    moved.write_bytes(view.source.path.read_bytes())
    for record, plan in zip(records, plan_columns(view, records, folder, CONFIG), strict=True):
        output = tmp_path / "again.mp4"
        rebuild_clip({"view": record.view} | plan, output, roots=[tmp_path], any_ffmpeg=False)
        assert output.read_bytes() == folder.clip(record.uri).read_bytes(), record.recipe
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.mp4", "elsewhere.mp4"]


@pytest.fixture(scope="module")
def row(view: View, built: tuple[DatasetFolder, list[ClipRecord]]) -> dict[str, Any]:
    folder, records = built
    return {"view": "bunny-0"} | plan_columns(view, records, folder, CONFIG)[0]


@pytest.mark.parametrize(
    "name", ["view", "view_plan", "steps", "source_uri", "source_sha256", "ffmpeg_version"]
)
def test_a_row_without_what_it_takes_is_refused(name: str, row: dict[str, Any], tmp_path: Path) -> None:
    message = f"the manifest must have {name} to rebuild from, got None"
    with pytest.raises(ConfigurationError, match=message):
        rebuild_clip(row | {name: None}, tmp_path / "out.mp4", roots=[], any_ffmpeg=False)


def test_another_ffmpeg_is_refused_unless_it_is_asked_for(row: dict[str, Any], tmp_path: Path) -> None:
    older = row | {"ffmpeg_version": "3.4.1"}
    message = f"FFmpeg must be 3.4.1, with which the clip was made, got {ffmpeg.version()}"
    with pytest.raises(ConfigurationError, match=message):
        rebuild_clip(older, tmp_path / "out.mp4", roots=[], any_ffmpeg=False)
    rebuild_clip(older, tmp_path / "out.mp4", roots=[], any_ffmpeg=True)
    assert (tmp_path / "out.mp4").exists()


def test_records_of_another_seed_or_size_are_refused(
    view: View, built: tuple[DatasetFolder, list[ClipRecord]]
) -> None:
    folder, records = built
    message = r"bunny-0\.json must be of this view and seed, got pristine-0, "
    with pytest.raises(DatasetError, match=message):
        plan_columns(view, records, folder, replace(CONFIG, seed=6))
    with pytest.raises(DatasetError, match=message):
        plan_columns(replace(view, clip=replace(CLIP, width=130)), records, folder, CONFIG)


@pytest.mark.parametrize("is_kept", [True, False])
def test_motion_decides_which_of_two_choices_a_record_was_made_from(
    is_kept: bool, view: View, folder: DatasetFolder, built: tuple[DatasetFolder, list[ClipRecord]]
) -> None:
    # The names of mixtures are the same either way, so that the records alone do not tell what was chosen.
    config, (made, _) = replace(CONFIG, ladders_per_view=0, mixtures_per_view=3), built
    moving, still = (choose_recipes(view, config, has_motion=moves) for moves in (True, False))
    names = [recipe.name for recipe in moving]
    assert names == [recipe.name for recipe in still]
    assert moving != still
    reference = folder.reference(view.view_id)
    if is_kept:
        reference.write_bytes(made.reference(view.view_id).read_bytes())
    sizes = {"width": CLIP.width, "height": CLIP.height, "fps": CLIP.fps}
    empty = dict.fromkeys(ClipRecord.__dataclass_fields__)
    records = [ClipRecord(**(empty | sizes | {"recipe": name})) for name in names]
    planned = plan_columns(view, records, folder, config)
    expected = [steps_to_json(recipe.steps, num_frames=CLIP.num_frames) for recipe in moving]
    assert [row["steps"] for row in planned] == expected
    assert reference.exists()


def test_a_view_in_which_nothing_moves_gets_no_fault_of_time(view: View) -> None:
    for number in range(40):
        still = replace(view, view_id=f"still-{number}")
        config = replace(CONFIG, ladders_per_view=6)
        families = {recipe.family for recipe in choose_recipes(still, config, has_motion=False)}
        assert not families & TEMPORAL
    every = {
        recipe.family
        for number in range(40)
        for recipe in choose_recipes(replace(view, view_id=f"{number}"), CONFIG, has_motion=True)
    }
    assert every >= set(FAMILIES)


def test_recipes_follow_from_seed_and_view_alone(view: View) -> None:
    config = replace(CONFIG, ladders_per_view=3)
    names = [
        [recipe.name for recipe in choose_recipes(one, settings, has_motion=True)]
        for one, settings in (
            (view, config),
            (view, config),
            (replace(view, view_id="bunny-1"), config),
            (view, replace(config, seed=6)),
        )
    ]
    assert names[0] == names[1]
    assert names[0] != names[2]
    assert names[0] != names[3]


def test_a_photograph_makes_clips_too(folder: DatasetFolder, tmp_path: Path) -> None:
    source = read_source(make_photo(tmp_path / "street.png"))
    boxes = tuple((20.0, 10.0, 400.0) for _ in range(CLIP.num_frames))
    still = View(view_id="street-0", source=source, clip=CLIP, boxes=boxes)
    config = replace(CONFIG, ladders_per_view=0, mixtures_per_view=0)
    records = build_view(still, folder, config)
    assert records is not None
    (record,) = records
    assert record.recipe == "pristine-0"
    assert record.label > 95  # VMAF gives what stands still a little less than 100


def test_a_video_as_it_is_is_its_own_clip_and_has_no_label(view: View, folder: DatasetFolder) -> None:
    whole, config = whole_view(view.source), replace(CONFIG, as_is=True)
    records = build_view(whole, folder, config)
    assert records is not None
    (record,) = records
    assert folder.clip(record.uri) == view.source.path
    assert (record.family, record.label, record.vmaf_neg, record.ladder) == ("as_is", None, None, None)
    assert (record.width, record.height, record.fps) == (640, 360, view.source.fps)
    assert read_records(whole.view_id, folder) == records
    (plan,) = plan_columns(whole, records, folder, config)
    assert plan["source_uri"] == str(view.source.path)
    assert plan["view_plan"] is plan["steps"] is None
    assert not list(folder.root.glob("clips/*")), "nothing is made"
    assert not list(folder.root.glob("references/*"))


def test_videos_as_they_are_do_not_share_a_folder_with_clips_and_old_folders_stay_good() -> None:
    assert "as_is" not in BuildConfig().settings()
    assert BuildConfig(as_is=True).settings()["as_is"] is True
    assert "grey_share" not in BuildConfig().settings()
    assert BuildConfig(grey_share=0.1).settings()["grey_share"] == 0.1


def test_a_split_is_of_a_source_and_other_sources_do_not_move_it() -> None:
    splits = [split_of(f"street-{number}", BuildConfig()) for number in range(2000)]
    assert splits == [split_of(f"street-{number}", BuildConfig()) for number in range(2000)]
    shares = {name: count / 2000 for name, count in Counter(splits).items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.03)
    assert {split_of(f"{n}", BuildConfig(val_share=0, test_share=0)) for n in range(50)} == {"train"}
    assert splits != [split_of(f"street-{number}", BuildConfig(seed=1)) for number in range(2000)]


def test_more_test_sources_leave_those_of_before_where_they_were() -> None:
    names = [f"street-{number}" for number in range(500)]
    few, many = (
        {name for name in names if split_of(name, BuildConfig(test_share=share)) == "test"}
        for share in (0.1, 0.3)
    )
    assert few < many


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, r"seed must be in .*, got -1"),
        ({"views_per_source": 0}, r"views_per_source must be in .*, got 0"),
        ({"ladders_per_view": -1}, r"ladders_per_view must be in .*, got -1"),
        ({"mixtures_per_view": 1001}, r"mixtures_per_view must be in .*, got 1001"),
        ({"val_share": 1.5}, r"val_share must be in .*, got 1\.5"),
        ({"grey_share": -0.1}, r"grey_share must be in .*, got -0\.1"),
        ({"still_share": 2}, r"still_share must be in .*, got 2"),
        ({"large_share": 1.1}, r"large_share must be in .*, got 1\.1"),
        ({"families": ("blurr",)}, r"families must be some of x264, .*, each once, got blurr"),
        ({"families": ("blur", "blur")}, r"families must be some of .*, each once, got blur, blur"),
        ({"test_share": -0.1}, r"test_share must be in .*, got -0\.1"),
        ({"val_share": 0.5, "test_share": 0.5}, r"val_share \+ test_share must be < 1, got 0\.5 \+ 0\.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BuildConfig(**settings)


def test_settings_name_all_that_decides_what_is_built() -> None:
    settings = BuildConfig(seed=3).settings()
    assert settings["seed"] == 3
    assert settings["ffmpeg_version"] == ffmpeg.version()
    assert len(settings["recipes"]) == 16
    assert json.loads(json.dumps(settings)) == settings
    assert "families" not in settings
    chosen = BuildConfig(families=("blur", "x264")).settings()
    assert json.loads(json.dumps(chosen)) == chosen
    assert chosen["families"] == ["blur", "x264"]


def test_ladders_are_of_the_families_that_were_chosen(view: View) -> None:
    config = replace(CONFIG, families=("x265_medium", "freeze"), ladders_per_view=2, mixtures_per_view=0)
    for moves, expected in ((True, {"x265_medium", "freeze"}), (False, {"x265_medium"})):
        recipes = choose_recipes(view, config, has_motion=moves)
        assert {recipe.family for recipe in recipes} - {"pristine", "edit"} == expected
