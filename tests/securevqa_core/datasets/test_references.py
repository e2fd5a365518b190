"""Pristine clips show what the source shows, without loss, and say whether anything moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from footage import CLIP, LOSSLESS, make_lossless, make_numbered_clip, make_photo, make_video, read_pixels
from media import read_number, run_ffmpeg
from numpy.typing import NDArray
from PIL import Image

from securevqa_core.datasets.references import has_motion, write_reference
from securevqa_core.datasets.sources import read_source
from securevqa_core.datasets.steps import ClipFormat
from securevqa_core.datasets.views import NUM_FRAMES, View, plan_views
from securevqa_core.errors import DatasetError


def excerpt(path: Path, *, start: float = 0.0, clip: ClipFormat = CLIP) -> View:
    return View(view_id="excerpt-0", source=read_source(path), clip=clip, start_seconds=start)


def pan(path: Path, *, step: float = 1.0) -> View:
    boxes = tuple((20.0 + step * i, 10.0 + 0.5 * step * i, 400.0) for i in range(CLIP.num_frames))
    return View(view_id="pan-0", source=read_source(path), clip=CLIP, boxes=boxes)


def test_an_excerpt_is_the_frames_from_its_start_on(tmp_path: Path) -> None:
    large = ClipFormat(width=256, height=192, fps=25.0, num_frames=60)
    make_numbered_clip(tmp_path / "numbered.mp4", large)
    path = tmp_path / "reference.mkv"
    assert write_reference(excerpt(tmp_path / "numbered.mp4", start=0.8), path)
    pixels = read_pixels(path)
    assert pixels.shape == (CLIP.num_frames, CLIP.height, CLIP.width, 3)
    assert [read_number(picture) for picture in pixels] == list(range(20, 20 + CLIP.num_frames))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["numbered.mp4", "reference.mkv"]


def test_footage_with_no_frame_to_spare_gives_all_of_them(tmp_path: Path) -> None:
    short = ClipFormat(width=400, height=300, fps=25.0, num_frames=NUM_FRAMES)
    source = read_source(make_numbered_clip(tmp_path / "numbered.mp4", short))
    (view,) = plan_views(source, seed=0, max_views=3)
    assert write_reference(view, tmp_path / "reference.mkv")
    assert len(read_pixels(tmp_path / "reference.mkv")) == NUM_FRAMES


def test_a_pan_is_the_boxes_of_the_photograph(tmp_path: Path) -> None:
    view, path = pan(make_photo(tmp_path / "street.png")), tmp_path / "reference.mkv"
    assert write_reference(view, path)
    photo = Image.open(tmp_path / "street.png").convert("L")
    for place, picture in enumerate(read_pixels(path)):
        left, top, width = view.boxes[place]
        box = (left, top, left + width, top + width * CLIP.height / CLIP.width)
        expected = np.asarray(photo.resize((CLIP.width, CLIP.height), Image.Resampling.LANCZOS, box=box))
        found = np.asarray(Image.fromarray(picture).convert("L")).astype(float)
        assert np.abs(found - expected).mean() < 2  # chroma is halved, and levels are those of video


def test_an_excerpt_at_half_the_rate_leaves_out_every_second_frame(tmp_path: Path) -> None:
    numbered = make_numbered_clip(
        tmp_path / "numbered.mp4", ClipFormat(width=256, height=192, fps=25.0, num_frames=120)
    )
    run_ffmpeg("-r", "50", "-i", str(numbered), *LOSSLESS.split(), str(tmp_path / "fast.mp4"))
    assert write_reference(excerpt(tmp_path / "fast.mp4", start=0.4), tmp_path / "reference.mkv")
    numbers = [read_number(picture) for picture in read_pixels(tmp_path / "reference.mkv")]
    assert numbers == [20 + 2 * place for place in range(CLIP.num_frames)]


def test_an_excerpt_of_a_variable_rate_is_what_is_on_screen(tmp_path: Path) -> None:
    """Of sixty pictures, from the twentieth on, each stays for two frames."""
    large = ClipFormat(width=256, height=192, fps=25.0, num_frames=60)
    make_numbered_clip(tmp_path / "numbered.mp4", large)
    late = ["-vf", "setpts='(N+max(0,N-19))/25/TB'", "-fps_mode", "passthrough", *LOSSLESS.split()]
    run_ffmpeg("-i", str(tmp_path / "numbered.mp4"), *late, str(tmp_path / "late.mkv"))
    write_reference(excerpt(tmp_path / "late.mkv", start=0.4), tmp_path / "reference.mkv")
    numbers = [read_number(picture) for picture in read_pixels(tmp_path / "reference.mkv")]
    assert numbers == [*range(10, 19), *np.repeat(np.arange(19, 27), 2)][: CLIP.num_frames]


def test_an_excerpt_stands_as_players_show_it(tmp_path: Path) -> None:
    make_video(tmp_path / "stored.mp4", seconds=1.2)
    turned = ("-display_rotation", "180", "-i", str(tmp_path / "stored.mp4"), "-c", "copy")
    run_ffmpeg(*turned, str(tmp_path / "turned.mp4"))
    pixels = []
    for name in ("stored", "turned"):
        write_reference(excerpt(tmp_path / f"{name}.mp4"), tmp_path / "reference.mkv")
        pixels.append(read_pixels(tmp_path / "reference.mkv").astype(float))
    upright, stood = pixels
    assert np.abs(stood - upright[:, ::-1, ::-1]).mean() < 2
    assert np.abs(stood - upright).mean() > 10


def test_a_still_has_no_motion(tmp_path: Path) -> None:
    path = tmp_path / "reference.mkv"
    view = pan(make_photo(tmp_path / "street.png"), step=0)
    assert not write_reference(view, path)
    assert not has_motion(path)
    assert has_motion(make_lossless(tmp_path / "bikes.mkv"))


@pytest.mark.parametrize("taken", [excerpt, pan])
def test_a_still_view_holds_its_first_frame_and_a_grey_one_has_no_colour(
    taken: Callable[[Path], View], tmp_path: Path
) -> None:
    source = (
        make_photo(tmp_path / "street.png")
        if taken is pan
        else make_video(tmp_path / "street.mp4", seconds=2)
    )
    plain = taken(source)
    path = tmp_path / "reference.mkv"

    def pixels(view: View) -> NDArray[np.uint8]:
        write_reference(view, path)
        return read_pixels(path)

    moving, still = pixels(plain), pixels(replace(plain, is_still=True))
    assert still.shape == moving.shape
    assert not has_motion(path)
    assert (still == moving[0]).all()
    grey = pixels(replace(plain, is_grey=True))
    assert np.ptp(moving, axis=-1).max() > 20
    assert np.ptp(grey, axis=-1).max() <= 2
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(grey @ luma - moving @ luma).mean() < 2
    both = pixels(replace(plain, is_grey=True, is_still=True))
    assert (both == grey[0]).all()


def test_footage_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    make_video(tmp_path / "short.mp4", seconds=1)
    view = excerpt(tmp_path / "short.mp4", start=0.6)
    message = r"excerpt-0 must have 24 frames and contrast 8\.0, got 10 and \d+"
    with pytest.raises(DatasetError, match=message):
        write_reference(view, tmp_path / "reference.mkv")
    assert [one.name for one in tmp_path.iterdir()] == ["short.mp4"]


def test_a_flat_photograph_is_refused(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=520x400", "-frames:v", "1", str(tmp_path / "grey.png"))
    view = pan(tmp_path / "grey.png")
    with pytest.raises(DatasetError, match=r"pan-0 must have 24 frames and contrast 8\.0, got 24 and 0\.0"):
        write_reference(view, tmp_path / "reference.mkv")


def test_a_damaged_reference_is_named(tmp_path: Path) -> None:
    (tmp_path / "reference.mkv").write_text("not a video")
    with pytest.raises(DatasetError, match=r"reference\.mkv cannot be decoded"):
        has_motion(tmp_path / "reference.mkv")
