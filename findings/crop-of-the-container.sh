#!/usr/bin/env bash
# The same file is 160 x 90 to FFmpeg's command line and 320 x 180 to the libraries made of it.
#
# Versions: FFmpeg 9.0 of imageio-ffmpeg 0.8.1; PyAV 18.1.0, opencv-python-headless 5.0.0.93, decord 0.6.0, NumPy
#   2.4.6
# Seen: an MP4 whose `clap` box (ISO/IEC 14496-12, clean aperture) shows the middle quarter of the picture. FFmpeg's
#   command line crops to it as it decodes; so it does after a copy into Matroska, where it becomes PixelCrop. PyAV,
#   OpenCV and decord give the whole picture, and PyAV has nothing by which to learn of the box.
# Expected: that libraries which decode with FFmpeg show what FFmpeg shows.
# Why it matters: what a metric, a model or a moderator's tool sees is not what players show. Frames extracted by the
#   command line and frames decoded in a process are of different sizes, and labels drawn on one lie elsewhere on the
#   other.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 opencv-python-headless==5.0.0.93 decord==0.6.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=0.4 -pix_fmt yuv420p -c:v libx264 whole.mp4
venv/bin/python - <<'PYTHON'
import struct

WIDTH, HEIGHT = 160, 90
# Where children of a box begin, from its start: boxes alone, a count before them, the fields of a picture's sample entry.
CHILDREN = {b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"stsd": 16, b"avc1": 86}
clap = struct.pack(">I4s8I", 40, b"clap", WIDTH, 1, HEIGHT, 1, 0, 1, 0, 1)
content = bytearray(open("whole.mp4", "rb").read())
place = content.index(b"avcC") - 4
start, end = 0, len(content)
while start < end:  # from box to box, into each that holds the place; sample data lies before moov, so no offset moves
    size, kind = struct.unpack(">I4s", content[start : start + 8])
    if start < place < start + size:
        content[start : start + 4] = struct.pack(">I", size + len(clap))
        end, start = start + size, start + CHILDREN[kind]
    else:
        start += size
content[place:place] = clap
open("cropped.mp4", "wb").write(content)
PYTHON
"$ffmpeg" -v error -i cropped.mp4 -c copy cropped.mkv
for name in cropped.mp4 cropped.mkv; do
    "$ffmpeg" -v error -i "$name" -frames:v 1 "$name.png"
done

venv/bin/python - <<'PYTHON' 2>log
import av
import cv2
import decord

for name in ("cropped.mp4", "cropped.mkv"):
    with av.open(name) as container:
        frame = next(container.decode(video=0))
    seen = {
        "FFmpeg": cv2.imread(f"{name}.png").shape[1::-1],
        "PyAV": (frame.width, frame.height),
        "OpenCV": cv2.VideoCapture(name).read()[1].shape[1::-1],
        "decord": decord.VideoReader(name)[0].shape[1::-1],
    }
    print(name, seen)
    assert seen.pop("FFmpeg") == (160, 90) and set(seen.values()) == {(320, 180)}, "this has changed"
PYTHON
