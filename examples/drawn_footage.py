"""Draws footage that no camera took: charts, terminals, pages, cartoons, games and fractals, without loss.

python examples/drawn_footage.py drawn --each 8 && securevqa dataset build drawn photographs --output data

The same seed gives the same pictures. Every film is of three seconds, 1600x900, H.264 without loss.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, FPS, NUM_FRAMES = 1600, 900, 25, 75
_FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
_WORDS = "return frame score await manifest 0x3f select yield width render shader buffer import lambda"

Picture = Image.Image
Rng = np.random.Generator


def main() -> None:
    """Draw films of every kind into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--each", type=int, default=8, help="films of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for kind, draw in enumerate(_KINDS):
        for number in range(arguments.each):
            path = arguments.output / f"drawn_{draw.__name__}_{number}.mkv"
            _write(path, draw(np.random.default_rng([arguments.seed, kind, number])))
            print(path)


def chart(rng: Rng) -> Iterator[Picture]:
    """Yield a chart whose values move: lines, bars or points, in a random style."""
    how, style = rng.integers(3), rng.choice(["default", "ggplot", "dark_background", "fivethirtyeight"])
    count, speed = int(rng.integers(4, 12)), rng.uniform(0.3, 2)
    phases, x = rng.uniform(0, 6, count), np.linspace(0, 6, 60)
    for t in range(NUM_FRAMES):
        with mpl.style.context(str(style)):
            figure = Figure(figsize=(16, 9), dpi=100)
            axes = figure.subplots()
            moved = phases + speed * t / FPS
            if how == 0:
                axes.plot(x, np.sin(x[:, None] + moved) * np.arange(1, count + 1))
                axes.set_ylim(-count, count)
            elif how == 1:
                axes.bar(np.arange(count), 2 + np.sin(moved), color=[f"C{i}" for i in range(count)])
                axes.set_ylim(0, 3)
            else:
                axes.scatter(np.sin(moved * 3), np.cos(moved * 2), s=800 * (1.2 + np.sin(moved)), alpha=0.6)
                axes.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
            axes.set(title="views a day", xlabel="hours since upload", ylabel="thousand")
            file = io.BytesIO()
            figure.savefig(file, format="png")
        yield Image.open(file).convert("RGB")


def terminal(rng: Rng) -> Iterator[Picture]:
    """Yield a terminal whose lines scroll up, a few a second, dark or light."""
    paper, inks = _theme(rng)
    size, every = int(rng.integers(16, 30)), int(rng.integers(2, 9))
    font = ImageFont.truetype(str(_FONTS / "DejaVuSansMono.ttf"), size)
    height = int(size * 1.35)
    shown = HEIGHT // height
    lines = [_line(rng, inks) for _ in range(shown + NUM_FRAMES)]
    for t in range(NUM_FRAMES):
        picture, pen = _paper(paper)
        for row, line in enumerate(lines[t // every : t // every + shown]):
            x = 12.0
            for word, ink in line:
                pen.text((x, row * height), word, ink, font=font)
                x += pen.textlength(word + " ", font)
        yield picture


def page(rng: Rng) -> Iterator[Picture]:
    """Yield a page of text, panels and buttons that is scrolled while a pointer moves over it."""
    paper, inks = _theme(rng)
    tall = Image.new("RGB", (WIDTH, HEIGHT * 3), paper)
    pen = ImageDraw.Draw(tall)
    y = 20
    while y < tall.height - 200:
        size = int(rng.choice([15, 18, 22, 40]))
        font = ImageFont.truetype(str(_FONTS / rng.choice(["DejaVuSans.ttf", "DejaVuSerif.ttf"])), size)
        if rng.uniform() < 0.3:
            left, high = int(rng.integers(60, 800)), int(rng.integers(60, 180))
            pen.rounded_rectangle((left, y, left + 600, y + high), 14, _colour(rng), inks[0], 2)
            y += high + 20
        for _ in range(int(rng.integers(1, 5))):
            pen.text((60, y), " ".join(rng.choice(_WORDS.split(), 8)), inks[int(rng.integers(2))], font=font)
            y += int(size * 1.4)
    speed = rng.uniform(0, 9)
    for t in range(NUM_FRAMES):
        top = int(speed * max(0, t - 15))
        picture = tall.crop((0, top, WIDTH, top + HEIGHT))
        x, y = 400 + 5 * t, 300 + 200 * math.sin(t / 12)
        ImageDraw.Draw(picture).polygon(
            [(x, y), (x, y + 34), (x + 9, y + 25), (x + 24, y + 24)], "white", "black"
        )
        yield picture


def cartoon(rng: Rng) -> Iterator[Picture]:
    """Yield hills under a sky of one gradient, with clouds and a sun, each layer at its own speed."""
    sky = np.linspace(_colour(rng), _colour(rng), HEIGHT)[:, None].repeat(WIDTH, 1).astype(np.uint8)
    colours = [_colour(rng) for _ in range(6)]
    waves, steep = rng.uniform(0.001, 0.008, (4, 3)), rng.uniform(15, 70, (4, 3))
    outline = rng.choice([0, 6])
    across = np.arange(0, WIDTH + 8, 8)
    for t in range(NUM_FRAMES):
        picture = Image.fromarray(sky.copy())
        pen = ImageDraw.Draw(picture)
        pen.ellipse((1200, 80 + t, 1380, 260 + t), colours[4])
        for x in range(-200, WIDTH, 420):
            for puff in range(4):
                left = x + puff * 55 + 2 * t
                pen.ellipse((left, 150 + 20 * (puff % 2), left + 120, 230), colours[5])
        for layer in range(4):
            wave = np.sin(waves[layer] * (across[:, None] + 3 * layer * t)) * steep[layer]
            level = 420 + 110 * layer + wave.sum(1)
            hill = [*zip(across.tolist(), level.tolist(), strict=True)]
            pen.polygon([*hill, (WIDTH, HEIGHT), (0, HEIGHT)], colours[layer])
            if outline:
                pen.line(hill, "black", int(outline))
        yield picture


def game(rng: Rng) -> Iterator[Picture]:
    """Yield tiles of a few large pixels that scroll, and sprites that jump before them."""
    scale, side = int(rng.choice([4, 5, 8])), 16
    palette = np.array([_colour(rng) for _ in range(8)], np.uint8)
    tiles = palette[rng.integers(0, 8, (6, 1, 1)).repeat(side, 1).repeat(side, 2)]
    tiles[:, ::4] = (tiles[:, ::4] * 0.8).astype(np.uint8)
    spots = rng.uniform(size=tiles.shape[:3]) < 0.1
    tiles[spots] = palette[0]
    rows, columns = HEIGHT // scale // side + 2, WIDTH // scale // side * 3
    world = tiles[rng.integers(0, 6, (rows, columns))].swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    sprite = palette[rng.integers(0, 8, (side, side // 2))]
    sprite = np.concatenate([sprite, sprite[:, ::-1]], axis=1)
    speed = int(rng.integers(0, 4))
    wide, high = WIDTH // scale, HEIGHT // scale
    for t in range(NUM_FRAMES):
        view = world[:high, speed * t : speed * t + wide].copy()
        for number in range(4):
            y = int(high * 0.6 - abs(math.sin((t + 9 * number) / 8)) * high * 0.3)
            x = int((number * 83 + 2 * t) % (wide - side))
            view[y : y + side, x : x + side] = sprite
        yield (
            Image.fromarray(view)
            .resize((wide * scale, high * scale), Image.Resampling.NEAREST)
            .resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
        )


def fractal(rng: Rng) -> Iterator[Picture]:
    """Yield a Julia set whose constant wanders, in a random colour map."""
    angle, pace = rng.uniform(0, 6.28), rng.uniform(0.002, 0.02)
    colours = mpl.colormaps[str(rng.choice(["magma", "twilight", "viridis", "ocean", "Spectral"]))]
    x = np.linspace(-1.6, 1.6, WIDTH // 2, dtype=np.float32)
    z0 = x[None] + 1j * np.linspace(-0.9, 0.9, HEIGHT // 2, dtype=np.float32)[:, None]
    for t in range(NUM_FRAMES):
        z, count = z0.copy(), np.zeros(z0.shape, np.float32)
        c = np.complex64(0.7885 * np.exp(1j * (angle + pace * t)))
        for _ in range(40):
            z = z * z + c
            inside = np.abs(z) < 2
            count += inside
            z[~inside] = 2
        yield Image.fromarray((colours(count / 40)[..., :3] * 255).astype(np.uint8)).resize((WIDTH, HEIGHT))


_KINDS: tuple[Callable[[Rng], Iterator[Picture]], ...] = (chart, terminal, page, cartoon, game, fractal)


def _theme(rng: Rng) -> tuple[tuple[int, int, int], list[tuple[int, int, int]]]:
    """Return a paper and four inks to be read on it."""
    is_dark = rng.uniform() < 0.6
    level = int(rng.integers(0, 40) if is_dark else rng.integers(225, 256))
    low, high = (130, 256) if is_dark else (0, 120)
    red, green, blue = (int(np.clip(level + rng.integers(-8, 8), 0, 255)) for _ in range(3))
    return (red, green, blue), [_colour(rng, low, high) for _ in range(4)]


def _colour(rng: Rng, low: int = 30, high: int = 250) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _line(rng: Rng, inks: list[tuple[int, int, int]]) -> list[tuple[str, tuple[int, int, int]]]:
    return [
        (str(word), inks[int(rng.integers(4))])
        for word in rng.choice(_WORDS.split(), int(rng.integers(1, 14)))
    ]


def _paper(colour: tuple[int, int, int]) -> tuple[Picture, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (WIDTH, HEIGHT), colour)
    return picture, ImageDraw.Draw(picture)


def _write(path: Path, pictures: Iterator[Picture]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for picture in pictures:
            pixels: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
