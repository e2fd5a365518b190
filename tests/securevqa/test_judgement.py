"""What is unusual and no fault is judged by what it shows: stills, films without colour, large pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import bundled_clip, run_ffmpeg

import securevqa
from securevqa_core.randomness import Key

ENCODED = "-an -c:v libx264 -preset veryfast -crf"
STILL = "scale=640:-2:flags=area,trim=end_frame=1,tpad=stop_mode=clone:stop=49"
SHARP = [("bikes", "7"), ("bikes", "8.5"), ("bigbuckbunny", "0.5")]


@pytest.fixture(scope="module")
def scorer() -> securevqa.Scorer:
    return securevqa.Scorer(key=Key.public(0))


def _made(path: Path, name: str, filters: str, *, start: str = "0", crf: int = 18) -> Path:
    cut = ["-ss", start, "-i", str(bundled_clip(name)), "-t", "2", "-vf", filters]
    run_ffmpeg(*cut, *ENCODED.split(), str(crf), str(path))
    return path


def _score(scorer: securevqa.Scorer, path: Path) -> float:
    found = scorer.score(str(path)).score
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "start"), SHARP)
def test_a_sharp_still_is_judged_as_such(
    name: str, start: str, scorer: securevqa.Scorer, tmp_path: Path
) -> None:
    sharp = _score(scorer, _made(tmp_path / "still.mp4", name, STILL, start=start))
    blurred = f"{STILL},scale=160:-2:flags=area,scale=640:-2"
    worse = [
        _made(tmp_path / "blurred.mp4", name, blurred, start=start),
        _made(tmp_path / "starved.mp4", name, STILL, start=start, crf=46),
    ]
    noise = f"-f lavfi -i nullsrc=s=640x360:r=25,geq=random(1)*255:128:128 -t 2 {ENCODED} 18"
    run_ffmpeg(*noise.split(), str(tmp_path / "noise.mp4"))
    assert sharp >= 60, "it may pass"
    assert sharp > _score(scorer, tmp_path / "noise.mp4") + 20
    for path in worse:
        assert _score(scorer, path) < min(60, sharp - 20)


@pytest.mark.parametrize(("name", "start"), [("bikes", "3"), ("bikes", "7"), ("bigbuckbunny", "3")])
def test_a_film_without_colour_is_judged_as_the_same_with_it(
    name: str, start: str, scorer: securevqa.Scorer, tmp_path: Path
) -> None:
    shrunk = "scale=640:-2:flags=area"
    coloured = _made(tmp_path / "coloured.mp4", name, shrunk, start=start)
    grey = _made(tmp_path / "grey.mp4", name, f"{shrunk},hue=s=0", start=start)
    assert _score(scorer, grey) == pytest.approx(_score(scorer, coloured), abs=10)


@pytest.mark.parametrize(("name", "start"), [("bikes", "7"), ("bigbuckbunny", "3")])
def test_a_large_picture_with_few_bits_does_not_pass(
    name: str, start: str, scorer: securevqa.Scorer, tmp_path: Path
) -> None:
    starved = _made(tmp_path / "starved.mp4", name, "scale=960:-2", start=start, crf=44)
    assert _score(scorer, starved) < 45
