#!/usr/bin/env bash
# A video that is marked as mirrored is shown upside down by OpenCV and decord.
#
# Versions: opencv-python-headless 5.0.0.93, decord 0.6.0, NumPy 2.4.6; FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: a display matrix that swaps left and right. FFmpeg's command line mirrors the picture. OpenCV and decord turn
#   it by 180 degrees, so that the sky is below. A matrix that swaps top and bottom they pass over. Each takes the
#   matrix for an angle, and a mirror has none.
# Expected: mirrored, or left as it is stored: wrong side, but still upright.
# Why it matters: faces, text and scenes on their heads go into training and scoring, while plain rotations, which
#   people test, come out right. Read the whole matrix: its determinant tells a mirror.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet opencv-python-headless==5.0.0.93 decord==0.6.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=0.4 -pix_fmt yuv420p -c:v libx264 -qp 0 upright.mp4
"$ffmpeg" -v error -display_hflip -i upright.mp4 -c copy left-right.mp4
"$ffmpeg" -v error -display_vflip -i upright.mp4 -c copy top-bottom.mp4
"$ffmpeg" -v error -display_rotation 180 -i upright.mp4 -c copy turned.mp4
for name in upright left-right top-bottom turned; do
    "$ffmpeg" -v error -i "$name.mp4" -frames:v 1 "$name.png"
done

venv/bin/python - <<'PYTHON' 2>log
import cv2
import decord
import numpy as np

READERS = {
    "FFmpeg": lambda name: cv2.imread(f"{name}.png"),
    "OpenCV": lambda name: cv2.VideoCapture(f"{name}.mp4").read()[1],
    "decord": lambda name: decord.VideoReader(f"{name}.mp4")[0].asnumpy()[..., ::-1],
}
WAYS = {
    "upright": lambda picture: picture,
    "left-right": lambda picture: picture[:, ::-1],
    "top-bottom": lambda picture: picture[::-1],
    "turned": lambda picture: picture[::-1, ::-1],
}


def shown(read, name):
    picture, plain = read(name).astype(int), read("upright").astype(int)
    return min(WAYS, key=lambda way: np.abs(WAYS[way](plain) - picture).mean())


seen = {reader: {name: shown(read, name) for name in WAYS} for reader, read in READERS.items()}
for reader, ways in seen.items():
    print(f"{reader}: " + ", ".join(f"{name} is shown {way}" for name, way in ways.items()))
assert seen["FFmpeg"] == {name: name for name in WAYS}, "this has changed"
by_angle = {"upright": "upright", "left-right": "turned", "top-bottom": "upright", "turned": "turned"}
assert seen["OpenCV"] == seen["decord"] == by_angle, "this has changed"
PYTHON
