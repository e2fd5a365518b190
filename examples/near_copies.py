"""Measures what fingerprints find and what they confuse, on a folder of unlike videos.

    python examples/near_copies.py FOLDER --keep ENCODINGS
    python examples/near_copies.py --rows 10000000 --keep INDEX    # a lookup among so many, made up

Every video's first eight seconds, and excerpts from later on, are compared with those of all others. Every
fifth is encoded anew in many ways, each compared with what it was made of. Needs securevqa[train].
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from pipeline.runs.near_index import NearIndex
from securevqa_core import zoo
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import DecodeError
from securevqa_core.fingerprints import MAX_DISTANCE, PARTS, TURNS, fingerprint, words
from securevqa_core.inputs import decode_request
from securevqa_core.randomness import Key
from securevqa_core.types import DecodeLimits

SECONDS = 8
EXCERPTS = {"base": 0, "ex8": 8, "ex16": 16, "ex24": 24}  # where they begin, seconds
MIN_BYTES = 20_000  # of an excerpt; less is the end of a video
X264 = "-an -c:v libx264 -preset ultrafast -pix_fmt yuv420p"
EVEN = "crop=trunc(iw*{0}/2)*2:trunc(ih*{0}/2)*2"
EDITS = {
    "crf18": ("CRF 18", "-crf 18", ""),
    "crf28": ("CRF 28", "-crf 28", ""),
    "crf34": ("CRF 34", "-crf 34", ""),
    "crf40": ("CRF 40", "-crf 40", ""),
    "half": ("half the size", "-crf 23", "scale=trunc(iw/4)*2:-2"),
    "fps15": ("15 frames a second", "-crf 23", "fps=15"),
    "fps50": ("50 frames a second", "-crf 23", "fps=50"),
    "noise1": ("noise of one level", "-crf 12", "noise=alls=1:allf=t"),
    "noise2": ("noise of two levels", "-crf 12", "noise=alls=2:allf=t"),
    "bright": ("brighter by 20 levels", "-crf 23", "eq=brightness=0.08"),
    "dark": ("darker by 20 levels, less contrast", "-crf 23", "eq=brightness=-0.08:contrast=0.9"),
    "mirror": ("mirrored", "-crf 23", "hflip"),
    "flip": ("upside down", "-crf 23", "vflip"),
    "crop5": ("5% of the width and height cut off, all around", "-crf 23", EVEN.format(0.95)),
    "crop5corner": ("the same, right and below", "-crf 23", EVEN.format(0.95) + ":0:0"),
    "crop10": ("10% cut off, all around", "-crf 23", EVEN.format(0.9)),
    "logo": ("a white mark of 13% x 10%", "-crf 23", "drawbox=iw*.82:ih*.05:iw*.13:ih*.1:white:fill"),
    "border": ("a black border of 10%", "-crf 23", "pad=trunc(iw*.55)*2:trunc(ih*.55)*2:(ow-iw)/2:(oh-ih)/2"),
    "letterbox": ("black bars of 20% above and below", "-crf 23", "pad=iw:trunc(ih*.7)*2:0:(oh-ih)/2"),
    "pillars": ("grey bars of 20% at the sides", "-crf 23", "pad=trunc(iw*.7)*2:ih:(ow-iw)/2:0:gray"),
    "trim0.3": ("without the first 0.3 s", "-ss 0.3 -crf 23", ""),
    "trim1": ("without the first second", "-ss 1 -crf 23", ""),
    "trim2": ("without the first 2 s", "-ss 2 -crf 23", ""),
}


def encode(source: Path, target: Path, options: str, filters: str) -> Path | None:
    """Encode a video, unless it was; None where there is too little of it."""
    if not target.exists():
        given = ["-vf", filters] if filters else []
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-y", "-i", str(source)]
        subprocess.run(  # noqa: S603 - FFmpeg, on files that whoever calls this has chosen
            [*command, *given, *X264.split(), *options.split(), str(target)], check=False, timeout=300
        )
    return target if target.exists() and target.stat().st_size > MIN_BYTES else None


def distance(one: np.ndarray, other: np.ndarray) -> int:
    """Return the bits in which two fingerprints differ, or one and the other turned."""
    return min(int(np.bitwise_count(one ^ other ^ turn).sum()) for turn in TURNS)


def is_found(folder: Path, one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether the index finds the one for the other."""
    folder.mkdir(exist_ok=True)
    index = NearIndex(folder, [(np.zeros(1, np.int64), one[None])], 1)
    return len(index.near(other[None], np.ones(1, np.int64))[0]) > 0


def fingerprint_of(path: Path | None, sandbox: DecodeSandbox) -> np.ndarray | None:
    """Return the fingerprint that scoring takes; None where there is no video, or it has none."""
    if path is None:
        return None
    draws = Key.public(0).draws(path.name, 1)
    sampling = zoo.spec(zoo.DEFAULT_MODEL).sampling
    request = decode_request(sampling, draws, limits=DecodeLimits(), takes_glances=True)
    try:
        glances = sandbox.decode(str(path), request).glances
    except DecodeError:
        return None
    found = None if glances is None else fingerprint(glances)
    return None if found is None else words([found])[0]


def print_pairs(excerpts: dict[tuple[str, str], np.ndarray]) -> None:
    """Print how far excerpts lie apart, and which are taken for near copies of other videos."""
    pairs: dict[str, list[int]] = {"of one video": [], "of two videos": []}
    for (one, first), (other, second) in itertools.combinations(excerpts.items(), 2):
        kind = "of one video" if one[0] == other[0] else "of two videos"
        pairs[kind].append(distance(first, second))
        if kind == "of two videos" and pairs[kind][-1] <= MAX_DISTANCE:
            print(f"near: {one} {other} {pairs[kind][-1]}")
    print("| excerpts | pairs | near | least bits | 1% | median |\n|---|---|---|---|---|---|")
    for name, distances in pairs.items():
        low, middle = np.quantile(distances, [0.01, 0.5])
        near = sum(one <= MAX_DISTANCE for one in distances)
        print(f"| {name} | {len(distances)} | {near} | {min(distances)} | {low:.0f} | {middle:.0f} |")


def print_edits(edited: dict[str, list[tuple[int, bool]]]) -> None:
    """Print how far what was encoded anew lies from what it was made of."""
    print("\n| encoded anew | videos | near | found | bits: median | most |\n|---|---|---|---|---|---|")
    for name, (meaning, _, _) in EDITS.items():
        bits = [one for one, _ in edited[name]]
        near, found = sum(one <= MAX_DISTANCE for one in bits), sum(is_so for _, is_so in edited[name])
        print(f"| {meaning} | {len(bits)} | {near} | {found} | {np.median(bits):.0f} | {max(bits)} |")


def print_lookups(folder: Path, num_rows: int) -> None:
    """Print what an index of so many random fingerprints costs, and a lookup with nine bits turned."""
    rng, size = np.random.default_rng(0), 100_000

    def part(start: int) -> np.ndarray:
        some = np.random.default_rng(start).integers(1 << 63, size=(size, PARTS), dtype=np.uint64)
        return some[: num_rows - start]

    started = time.perf_counter()
    starts = range(0, num_rows, size)
    parts = ((np.arange(one, min(one + size, num_rows)), part(one)) for one in starts)
    index = NearIndex(folder, parts, num_rows)
    built = time.perf_counter() - started
    queries = part(int(rng.choice(starts)))[:2_000] ^ np.uint64(0b111000000111)
    queries[:, 1:] ^= np.uint64(1 << 40)
    index.near(queries[-100:], np.full(100, num_rows))
    started = time.perf_counter()
    places, _ = index.near(queries, np.full(len(queries), num_rows))
    spent = (time.perf_counter() - started) / len(queries)
    memory = Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]
    print(
        f"{num_rows} rows: built in {built:.1f} s, {1e3 * spent:.2f} ms a lookup, {len(places)} found of ",
        end="",
    )
    print(f"{len(queries)}, {int(memory) >> 10} MB of memory that no file backs")


def main() -> None:
    """Print two tables, in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", help="videos, no two of which are alike")
    parser.add_argument("--rows", type=int, default=0, help="measure lookups among so many instead")
    parser.add_argument("--keep", type=Path, required=True, help="folder for what is encoded")
    given = parser.parse_args()
    given.keep.mkdir(exist_ok=True)
    if given.rows:
        print_lookups(given.keep, given.rows)
    if given.folder:
        compare(given.folder, given.keep)


def compare(folder: Path, keep: Path) -> None:
    """Encode a folder's videos, and print how far what was made of them lies apart."""
    sandbox = DecodeSandbox(DecodeLimits())
    excerpts: dict[tuple[str, str], np.ndarray] = {}
    edited: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    sources = sorted(one for one in folder.iterdir() if one.suffix in {".mp4", ".mkv", ".webm"})
    for place, source in enumerate(sources):

        def target(name: str, stem: str = source.stem) -> Path:
            return keep / f"{stem}__{name}.mkv"

        for name, start in EXCERPTS.items():
            cut = f"-ss {start} -t {SECONDS} -crf 16"
            video = encode(source, target(name), cut, r"scale=-2:min(360\,ih)")
            if (found := fingerprint_of(video, sandbox)) is not None:
                excerpts[source.stem, name] = found
        base = excerpts.get((source.stem, "base"))
        for name, (_, options, filters) in EDITS.items() if base is not None and place % 5 == 0 else ():
            video = encode(target("base"), target(name), options, filters)
            if (found := fingerprint_of(video, sandbox)) is not None:
                edited[name].append((distance(base, found), is_found(keep / "index", base, found)))
    print_pairs(excerpts)
    print_edits(edited)


if __name__ == "__main__":
    main()
