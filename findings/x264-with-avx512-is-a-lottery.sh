#!/usr/bin/env bash
# Encoding the same frames again and again gives several files on processors with AVX-512, by the width of the picture.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1 and x264), NumPy 2.4.6
# Seen: 30 frames of 176x144 in yuv420p, encoded by one thread at CRF 23 with memory held between the encodings so that
#   their pictures lie elsewhere each time, come out as some ten files in 40 encodings, and as one with
#   `x264-params asm=AVX2`. So do 352x288, 672x384, 704x384 and 960x544. A width that is a multiple of 128, and so of 64
#   samples of chroma, has one: 256x144 here, 640x360 and, of the usual sizes, 1280 and 1920.
# Expected: that a file depends on frames, options and threads alone; x264 promises so for a fixed number of threads.
# Why it matters: digests, caches, golden files and scores of encodings change from call to call on new processors only,
#   and with the sizes of small renditions only. Name an older instruction set wherever an encoding has to be reproduced.
# Where the processor has no AVX-512 there is nothing to see, and the script says so.
set -euo pipefail

if ! grep -q avx512bw /proc/cpuinfo; then
    echo "this processor has no AVX-512: nothing to see"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import collections
from fractions import Fraction

import numpy as np
from av.codec import CodecContext
from av.video.frame import VideoFrame

RATE, HEIGHT, TIMES = 25, 144, 40
rng = np.random.default_rng(0)


def moving(width):
    """Thirty frames of a window that moves over a pattern of squares, with noise."""
    squares = np.kron(rng.integers(40, 200, (40, 60)), np.ones((8, 8)))
    for number in range(30):
        window = squares[3 * number :, 2 * number :][:HEIGHT, :width] + rng.normal(0, 4, (HEIGHT, width))
        planes = np.full((HEIGHT * 3 // 2, width), 128, np.uint8)
        planes[:HEIGHT] = window.clip(16, 235)
        yield VideoFrame.from_ndarray(planes, format="yuv420p")


def encoded(frames, width, options):
    context = CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, HEIGHT, "yuv420p"
    context.framerate, context.time_base, context.thread_count = Fraction(RATE), Fraction(1, RATE), 1
    context.options = {"preset": "medium", "crf": "23"} | options
    packets = []
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    return b"".join(bytes(packet) for packet in packets + context.encode(None))


def files(width, options):
    frames, held, found = list(moving(width)), [], collections.Counter()
    for number in range(TIMES):
        held.append(np.empty(1000 + 977 * number, np.uint8))
        found[encoded(frames, width, options)] += 1
    return sorted(found.values(), reverse=True)


cases = {"176": (176, {}), "176, asm=AVX2": (176, {"x264-params": "asm=AVX2"}), "256": (256, {})}
seen = {name: files(*case) for name, case in cases.items()}
print(f"how often each file of {TIMES} came, by width: {seen}")
assert len(seen["176"]) > 1, "this has changed"
assert len(seen["176, asm=AVX2"]) == len(seen["256"]) == 1, "this has changed"
PYTHON
