#!/usr/bin/env bash
# Frame 0 of a transport stream is frame 50 to decord.
#
# Versions: decord 0.6.0, NumPy 2.4.6; files made by FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: four seconds of H.264 with a keyframe at 0 and at 50 and with B-frames, copied from MP4 into MPEG-TS and into
#   Matroska. decord counts 100 frames in each. In MP4 and Matroska it shows those that are asked for; in the
#   transport stream 0 gives 50, and 50 gives 99. No error.
# Expected: the same frames from the same bits; or an error, as seeking in transport streams is known to be hard.
# Why it matters: clips from broadcast and HLS are sampled from their second half alone, with pixels that look right.
#   Count frames from the start, or remux before.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet decord==0.6.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -pix_fmt yuv420p -c:v libx264 -crf 10 -g 50 clip.mp4
"$ffmpeg" -v error -i clip.mp4 -c copy clip.mkv
"$ffmpeg" -v error -i clip.mp4 -c copy clip.ts

venv/bin/python - <<'PYTHON' 2>log
import decord
import numpy as np

ASKED = [0, 1, 30, 50]
reader = decord.VideoReader("clip.mp4")
frames = [reader[number].asnumpy().astype(int) for number in range(len(reader))]


def given(path):
    """Which frames of the MP4 look most like those that this file gives."""
    reader = decord.VideoReader(path)
    pictures = [reader[number].asnumpy() for number in ASKED]
    return [int(np.argmin([np.abs(frame - picture).mean() for frame in frames])) for picture in pictures]


seen = {path: given(path) for path in ("clip.mp4", "clip.mkv", "clip.ts")}
for path, numbers in seen.items():
    print(f"{path}: asked for {ASKED}, got {numbers}")
assert seen["clip.mp4"] == seen["clip.mkv"] == ASKED and seen["clip.ts"][0] == 50, "this has changed"
PYTHON
