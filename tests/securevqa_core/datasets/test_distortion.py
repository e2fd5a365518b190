"""A recipe carried out twice gives the same bytes, whatever it is, and leaves nothing half made."""

from __future__ import annotations

from pathlib import Path

import pytest
from footage import CLIP, make_lossless, make_numbered_clip, read_pixels
from media import read_number

from securevqa_core.datasets.distortion import carry_out
from securevqa_core.datasets.families import FAMILIES
from securevqa_core.datasets.recipes import ladder
from securevqa_core.datasets.steps import Encode, Filter, Lose
from securevqa_core.errors import DatasetError


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lossless(tmp_path_factory.mktemp("reference") / "reference.mkv")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_recipe_gives_the_same_bytes(family: str, reference: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one.mp4", "two.mp4"):
        carry_out(ladder(family)[1].steps, reference, tmp_path / name, clip=CLIP, scratch=tmp_path)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]


@pytest.mark.parametrize("family", ["x264", "generations", "packet_loss", "blur"])
def test_no_frame_moves(family: str, tmp_path: Path) -> None:
    reference, output = make_numbered_clip(tmp_path / "numbered.mkv"), tmp_path / "out.mp4"
    for recipe in ladder(family)[:2]:
        carry_out(recipe.steps, reference, output, clip=CLIP, scratch=tmp_path)
        found = [read_number(picture) for picture in read_pixels(output)]
        wrong = [place for place, number in enumerate(found) if number != place]
        # What is lost is concealed with what was there before.
        assert len(found) == CLIP.num_frames
        assert not wrong or family == "packet_loss"


def test_filters_before_an_encoder_are_done_before_it(reference: Path, tmp_path: Path) -> None:
    black = Filter(chain="lutyuv=y=16:u=128:v=128")
    worst = Encode(arguments=("-c:v", "libx264", "-preset", "ultrafast", "-crf", "51"))
    for name, steps in {"before": (black, worst), "after": (worst, black)}.items():
        carry_out(steps, reference, tmp_path / f"{name}.mp4", clip=CLIP, scratch=tmp_path)
        assert read_pixels(tmp_path / f"{name}.mp4").max() <= 2, name
    carry_out((worst,), reference, tmp_path / "alone.mp4", clip=CLIP, scratch=tmp_path)
    assert read_pixels(tmp_path / "alone.mp4").max() > 100


def test_a_starved_encoding_has_the_bitrate_it_is_given(reference: Path, tmp_path: Path) -> None:
    arguments = ("-c:v", "mpeg2video", "-b:v", "{bitrate}", "-minrate", "{bitrate}", "-maxrate", "{bitrate}")
    step = Encode(arguments=(*arguments, "-bufsize", "{bitrate}"), bits_per_pixel=1.5)
    carry_out((step,), reference, tmp_path / "out.mp4", clip=CLIP, scratch=tmp_path)
    bits_per_pixel = (tmp_path / "out.mp4").stat().st_size * 8 / (CLIP.num_frames * CLIP.width * CLIP.height)
    assert bits_per_pixel == pytest.approx(1.5, rel=0.15)


def test_lost_packets_leave_the_first_picture_whole(reference: Path, tmp_path: Path) -> None:
    steps = (Lose(every=100),)
    carry_out(steps, reference, tmp_path / "lost.mp4", clip=CLIP, scratch=tmp_path)
    carry_out((), reference, tmp_path / "kept.mp4", clip=CLIP, scratch=tmp_path)
    lost, kept = (read_pixels(tmp_path / f"{name}.mp4").astype(float) for name in ("lost", "kept"))
    errors = ((lost - kept) ** 2).mean(axis=(1, 2, 3))
    assert len(errors) == CLIP.num_frames
    assert errors[0] < 60 < errors[1:].max()


def test_what_ffmpeg_refuses_leaves_no_file(reference: Path, tmp_path: Path) -> None:
    steps = (Filter(chain="no-such-filter"),)
    with pytest.raises(DatasetError, match="no-such-filter"):
        carry_out(steps, reference, tmp_path / "out.mp4", clip=CLIP, scratch=tmp_path)
    assert not list(tmp_path.iterdir())
