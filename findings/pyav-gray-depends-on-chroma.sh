#!/usr/bin/env bash
# PyAV's gray picture of a BT.709 video depends on its colours, not on its luma alone.
#
# Versions: PyAV 18.1.0, NumPy 2.4.6
# Seen: frames of one luma (100) and three values of chroma, as `to_ndarray(format="gray")`: 98, 98, 98 where the
#   frame is tagged BT.601 or not at all; 86, 97, 121 where it is tagged BT.709. The first plane holds 100 each time.
# Expected: that "gray" is the luma plane, at most stretched from limited to full range.
# Why it matters: sharpness, noise and scene statistics of "gray" frames move with saturation, and only in files that
#   are tagged, as most HD files are. Read `planes[0]` where luma is wanted.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import av

LUMA, CHROMA = 100, (60, 128, 200)
MATRICES = {"untagged": 2, "BT.601": 6, "BT.709": 1}


def gray(matrix, chroma):
    frame = av.VideoFrame(64, 64, "yuv420p")
    for plane, value in zip(frame.planes, (LUMA, chroma, chroma)):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace = matrix
    return int(frame.to_ndarray(format="gray")[32, 32])


seen = {name: [gray(matrix, chroma) for chroma in CHROMA] for name, matrix in MATRICES.items()}
for name, levels in seen.items():
    print(f"{name:8} luma {LUMA}, chroma {CHROMA} -> gray {levels}")
assert len(set(seen["untagged"])) == len(set(seen["BT.601"])) == 1, "this has changed"
assert max(seen["BT.709"]) - min(seen["BT.709"]) > 20, "this has changed"
PYTHON
