#!/usr/bin/env bash
# A still that FFmpeg resized to another shape is that shape for Pillow and OpenCV, and the old one for FFmpeg.
#
# Versions: FFmpeg 9.0 of imageio-ffmpeg 0.8.1, PyAV 18.1.0, Pillow 13.0.0, opencv-python-headless 5.0.0.93
# Seen: `scale=520:400` of a picture of 640x360 keeps its shape by other pixels: FFmpeg writes their shape into PNG (pHYs)
#   and JPEG (JFIF density) and reads it from there. Pillow and OpenCV give 520x400 and no word of it in size or
#   pixels; a film made of the same file is shown 711 wide, as is the still in PyAV. In WebP and BMP the shape is lost, so
#   that the same command gives a square-pixel picture there.
# Expected: a PNG of 520x400 is one to everybody, or at least all formats of one command say the same.
# Why it matters: data sets of stills are resized so, and read by two libraries: what a network learns from one is a fifth
#   narrower than what people saw through the other. `setsar=1` behind the scaler ends it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

for name in png jpg webp bmp; do
    "$ffmpeg" -v error -f lavfi -i testsrc2=size=640x360:rate=25 -vf scale=520:400 -frames:v 1 "still.$name"
    "$ffmpeg" -v error -loop 1 -i "still.$name" -t 0.2 -pix_fmt yuv420p -c:v libx264 "$name.mp4"
done
"$ffmpeg" -v error -f lavfi -i testsrc2=size=640x360:rate=25 -vf scale=520:400,setsar=1 -frames:v 1 square.png

venv/bin/python - <<'PYTHON'
import av
import cv2
from PIL import Image


def shown_width(name):
    with av.open(name) as container:
        frame = next(container.decode(video=0))
        ratio = container.streams.video[0].sample_aspect_ratio or 1
        return round(frame.width * ratio)


seen = {}
for kind in ("png", "jpg", "webp", "bmp"):
    name = f"still.{kind}"
    with Image.open(name) as image:
        pillow = image.width
    opencv = cv2.imread(name).shape[1]
    seen[kind] = (pillow, opencv, shown_width(name), shown_width(f"{kind}.mp4"))
    print(f"{kind}: Pillow {pillow}, OpenCV {opencv}, PyAV {seen[kind][2]}, a film of it {seen[kind][3]} wide, 400 high")
print(f"with setsar=1: PyAV {shown_width('square.png')}")
assert seen["png"] == seen["jpg"] == (520, 520, 711, 711), "this has changed"
assert seen["webp"] == seen["bmp"] == (520, 520, 520, 520), "this has changed"
assert shown_width("square.png") == 520, "this has changed"
PYTHON
