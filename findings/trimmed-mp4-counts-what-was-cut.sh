#!/usr/bin/env bash
# Three readers announce 100 frames of a trimmed MP4 that has 62; decord then hands out the other 38 as well.
#
# Versions: decord 0.6.0, PyAV 18.1.0, opencv-python-headless 5.0.0.93, NumPy 2.4.6; files made by FFmpeg 9.0 of
#   imageio-ffmpeg 0.8.1
# Seen: four seconds cut at 1.5 s without re-encoding, so that frames since the last keyframe stay in the file, hidden
#   by an edit list. PyAV's `stream.frames`, OpenCV's frame count and decord's length all say 100. PyAV and OpenCV
#   decode 62. decord gives a picture for each of 100 numbers: 62 are right, under time stamps that begin at -1.52 s,
#   and from there on the last one again and again, or, sought, another.
# Expected: that a count honours the edit list as decoding does; or that reading past the end is an error.
# Why it matters: frames are sampled evenly over the announced count. Of a trimmed video the later samples are then
#   missing, or copies of one picture, which no model tells from a frozen video.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet decord==0.6.0 av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -pix_fmt yuv420p -c:v libx264 -g 100 -bf 0 whole.mp4
"$ffmpeg" -v error -ss 1.5 -i whole.mp4 -c copy trimmed.mp4

venv/bin/python - <<'PYTHON' 2>log
import av
import cv2
import decord

with av.open("trimmed.mp4") as container:
    stream = container.streams.video[0]
    pyav = (stream.frames, sum(1 for _ in container.decode(stream)))
capture = cv2.VideoCapture("trimmed.mp4")
announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
opencv = (announced, sum(1 for _ in iter(lambda: capture.read()[0], False)))
reader = decord.VideoReader("trimmed.mp4")
pictures = [reader[number].asnumpy().tobytes() for number in range(len(reader))]
start = float(reader.get_frame_timestamp(0)[0])
print(f"announced and decoded: PyAV {pyav}, OpenCV {opencv}")
print(f"decord: {len(pictures)}, {len(set(pictures))} of them different, the first at {start:.2f} s")
assert pyav == opencv == (100, 62), "this has changed"
assert len(pictures) == 100 and len(set(pictures)) == 62 and start < -1, "this has changed"
PYTHON
