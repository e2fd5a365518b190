#!/usr/bin/env bash
# Converting one picture again and again gives several results, where FFmpeg's scaler has more than one thread.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1), NumPy 2.4.6
# Seen: a picture of 1270x720 in yuv420p, converted by `reformat(format="yuv422p10le", threads=4)`, comes out in several
#   versions of which some pixels differ; with one thread it is one version. Widths that are a multiple of 16 and eight
#   bits showed no difference. PyAV's default is as many threads as there are processors.
# Expected: that the number of threads changes the time and not the pixels, and that equal calls give equal pixels.
# Why it matters: digests, caches, golden files and scores of frames change from call to call, for odd sizes only,
#   which tests seldom have. Ask for one thread wherever pixels have to be reproduced.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import collections

import numpy as np
from av.video.frame import VideoFrame

WIDTH, HEIGHT, BYTES = 1270, 720, 2
noise = np.random.default_rng(0).integers(0, 255, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
picture = VideoFrame.from_ndarray(noise, format="yuv420p")


def pixels(threads):
    planes = picture.reformat(format="yuv422p10le", threads=threads).planes
    rows = (np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size) for plane in planes)
    return b"".join(row[:, : plane.width * BYTES].tobytes() for row, plane in zip(rows, planes))


results = {threads: collections.Counter(hash(pixels(threads)) for _ in range(400)) for threads in (1, 4)}
counts = {threads: sorted(counter.values(), reverse=True) for threads, counter in results.items()}
print(f"how often each result of 400 came, by threads: {counts}")
assert len(counts[1]) == 1, "this has changed"
assert len(counts[4]) > 1, "this has changed"
PYTHON
