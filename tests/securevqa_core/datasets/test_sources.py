"""Sources are told by their bytes, and a file that cannot be opened is left out by name."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from footage import make_photo, make_video
from media import run_ffmpeg
from PIL import Image

from securevqa_core.datasets.sources import PHOTO_FPS, find_by_digest, find_sources, open_photo, read_source
from securevqa_core.errors import ConfigurationError, DatasetError


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, a photograph, a copy of it under another name, and files that are neither."""
    folder = tmp_path_factory.mktemp("footage")
    make_video(folder / "bunny.mp4", seconds=1)
    make_photo(folder / "street.jpg")
    (folder / "more").mkdir()
    shutil.copy(folder / "street.jpg", folder / "more" / "again.JPG")
    (folder / "notes.txt").write_text("not a source")
    (folder / "text.mp4").write_text("not a video")
    (folder / "text.png").write_text("not a photograph")
    whole = (folder / "bunny.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def test_each_content_is_found_once_and_damaged_files_are_named(footage: Path) -> None:
    found = find_sources([footage])
    assert [source.path.name for source in found.sources] == ["again.JPG", "bunny.mp4"]
    assert [Path(item.name).name for item in found.left_out] == ["cut.mp4", "text.mp4", "text.png"]
    for item in found.left_out:
        assert item.reason.startswith(f"{item.name} cannot be opened as a ")


def test_a_source_is_known_by_its_name_and_its_bytes(footage: Path) -> None:
    source = read_source(footage / "bunny.mp4")
    digest = hashlib.sha256((footage / "bunny.mp4").read_bytes()).hexdigest()
    assert source.sha256 == digest
    assert source.source_id == f"bunny-{digest[:8]}"
    assert (source.width, source.height, source.fps, source.is_photo) == (640, 360, 25.0, False)  # of 480x360
    assert source.duration_seconds == pytest.approx(1, abs=0.05)
    photo = read_source(footage / "street.jpg")
    assert (photo.width, photo.height, photo.fps, photo.is_photo) == (520, 400, PHOTO_FPS, True)


def test_a_source_has_its_own_rate(tmp_path: Path) -> None:
    options = "-r 50 -vf scale=64:48 -c:v libx264 -preset ultrafast"
    make_video(tmp_path / "fast.mp4", seconds=0.5, options=options)
    assert read_source(tmp_path / "fast.mp4").fps == 50


def test_a_video_and_a_photograph_have_the_size_that_is_shown(tmp_path: Path) -> None:
    """A camera held upright stores both on their side, and says so."""
    make_video(tmp_path / "stored.mp4", seconds=0.5, options="-vf scale=96:64,setsar=1 -c:v libx264")
    turned = ("-display_rotation", "90", "-i", str(tmp_path / "stored.mp4"), "-c", "copy")
    run_ffmpeg(*turned, str(tmp_path / "turned.mp4"))
    video = read_source(tmp_path / "turned.mp4")
    assert (video.width, video.height) == (64, 96)
    stored, exif = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60), Image.Exif()
    exif[0x0112] = 6  # its top is to the right
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    photo = read_source(tmp_path / "turned.png")
    shown = open_photo(tmp_path / "turned.png")
    assert (photo.width, photo.height) == shown.size == (40, 60)
    np.testing.assert_array_equal(np.asarray(shown)[..., 0], np.rot90(stored, -1))


def test_a_file_that_is_refused_as_an_upload_is_no_source(tmp_path: Path) -> None:
    """A playlist names other files; a cell opens none of them."""
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'other.mp4'}\n")
    with pytest.raises(DatasetError, match=r"list\.mp4 cannot be opened as a video"):
        read_source(tmp_path / "list.mp4")


def test_roots_may_be_files(footage: Path) -> None:
    (source,) = find_sources([footage / "street.jpg"]).sources
    assert source.path == footage / "street.jpg"


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = f"sources must be files or folders that are there, got '{tmp_path / 'nowhere'}'"
    for find in (find_sources, lambda roots: find_by_digest("0" * 64, roots)):
        with pytest.raises(ConfigurationError, match=message):
            find([tmp_path / "nowhere"])


def test_roots_without_a_source_say_what_they_hold(footage: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"under {tmp_path}: 0 cannot be opened"):
        find_sources([tmp_path])
    with pytest.raises(DatasetError, match=r"1 cannot be opened; .*text\.mp4 cannot be opened as a video"):
        find_sources([footage / "text.mp4"])


def test_a_video_without_pictures_is_refused(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", str(tmp_path / "sound.mp4"))
    with pytest.raises(DatasetError, match=r"sound\.mp4 cannot be opened as a video: no video stream"):
        read_source(tmp_path / "sound.mp4")


def test_a_moved_source_is_found_by_its_bytes(footage: Path) -> None:
    digest = read_source(footage / "bunny.mp4").sha256
    assert find_by_digest(digest, [footage]).path == footage / "bunny.mp4"
    with pytest.raises(DatasetError, match=f"no file under {footage} has the SHA-256 {'0' * 64}"):
        find_by_digest("0" * 64, [footage])


def test_a_source_that_has_gone_is_named(tmp_path: Path) -> None:
    for name in ("gone.mp4", "gone.jpg"):
        with pytest.raises(DatasetError, match=f"{tmp_path / name} cannot be opened"):
            read_source(tmp_path / name)


def test_a_photograph_opens_as_rgb(tmp_path: Path, footage: Path) -> None:
    run_ffmpeg("-i", str(footage / "street.jpg"), "-pix_fmt", "gray", str(tmp_path / "grey.png"))
    pixels = np.asarray(open_photo(tmp_path / "grey.png"))
    assert pixels.shape == (400, 520, 3)
    with pytest.raises(DatasetError, match=r"text\.png cannot be opened as a photograph"):
        open_photo(footage / "text.png")


def test_a_photograph_that_shows_what_lies_behind_it_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (60, 40), (200, 100, 50, 128)).save(tmp_path / "glass.png")
    with pytest.raises(DatasetError, match=r"glass\.png cannot be opened as a photograph: .*not opaque"):
        read_source(tmp_path / "glass.png")
