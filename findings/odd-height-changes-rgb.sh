#!/usr/bin/env bash
# One row less changes the colours of most pixels that remain.
#
# Versions: PyAV 18.1.0 (libswscale of FFmpeg 8.1), NumPy 2.4.6; files made by FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: the same losslessly kept 4:2:0 picture, 320 x 240, 319 x 240 and 320 x 239, as `to_ndarray(format="rgb24")`. A
#   column less changes nothing of what is left. A row less changes more than half of the pixels, by over 100 levels
#   at coloured edges: an even height takes another, faster conversion. With `Interpolation.ACCURATE_RND` it is the
#   column less that changes nearly all.
# Expected: that cropping moves pixels and does not recolour them; or that width and height count alike.
# Why it matters: features, hashes and perceptual distances of a crop are compared with those of the whole, and a data
#   set with a few videos of odd height has two kinds of colour in it. Convert whole pictures of even size, and crop
#   afterwards.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x240:duration=0.04 -pix_fmt yuv420p -c:v ffv1 240.mkv
"$ffmpeg" -v error -i 240.mkv -vf crop=319:240:0:0:exact=1 -c:v ffv1 column.mkv
"$ffmpeg" -v error -i 240.mkv -vf crop=320:239:0:0:exact=1 -c:v ffv1 row.mkv

venv/bin/python - <<'PYTHON'
import av
import numpy as np
from av.video.reformatter import Interpolation

ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


def first_frame(path):
    with av.open(path) as container:
        return next(container.decode(video=0))


def levels(frame, flags):
    return frame.to_ndarray(format="rgb24", interpolation=flags)[:230, :310].astype(int)


def luma(frame):
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:230, :310]


whole = first_frame("240.mkv")
changed = {}
for name in ("column", "row"):
    cut = first_frame(f"{name}.mkv")
    assert np.array_equal(luma(cut), luma(whole))
    for kind, flags in (("default", None), ("accurate", ACCURATE)):
        difference = np.abs(levels(cut, flags) - levels(whole, flags)).max(axis=-1)
        changed[name, kind] = (difference > 0).mean()
        print(f"a {name} less, {kind}: {changed[name, kind]:.2f} of pixels differ, at most by {difference.max()}")
assert changed["column", "default"] == 0 and changed["row", "default"] > 0.5, "this has changed"
assert changed["column", "accurate"] > 0.5 > changed["row", "accurate"], "this has changed"
PYTHON
