#!/usr/bin/env bash
# `skip_frame` is a wish: VP9 ignores "keyframes alone", and H.264 without B-frames gives pictures that never were.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1), NumPy 2.4.6; files made by FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: 50 frames, one keyframe. "NONKEY" gives 1 frame of H.264 and HEVC, and all 50 of VP9 and VVC. "BIDIR" on H.264
#   gives a third of the frames, and most of those differ from what the whole stream decodes to: B-frames that others
#   are predicted from are left out too. No error, no flag on the frame. "NONREF" on the same file gives only true
#   pictures.
# Expected: that the option leaves out what it names, whatever the codec, and that what it leaves is decoded rightly.
# Why it matters: it is the usual recipe for fast thumbnails and for scanning large collections. There it is as slow
#   as decoding everything for the one codec, and wrong pictures for the other. Filter packets by `is_keyframe`
#   instead.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

encode() { "$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=2 -pix_fmt "$1" "${@:2}" 2>log; }
encode yuv420p -c:v libx264 -bf 3 -g 50 h264.mp4
encode yuv420p -c:v libx265 -g 50 hevc.mp4
encode yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 vp9.webm
encode yuv420p10le -c:v libvvenc -preset faster -g 50 vvc.mp4

venv/bin/python - <<'PYTHON'
import av
import numpy as np


def decoded(path, skip):
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = skip
        return {frame.pts: frame.to_ndarray() for frame in container.decode(stream)}


keys = {path: len(decoded(path, "NONKEY")) for path in ("h264.mp4", "hevc.mp4", "vp9.webm", "vvc.mp4")}
print("frames with NONKEY:", keys)
truth = decoded("h264.mp4", "DEFAULT")
wrong = {}
for skip in ("NONREF", "BIDIR"):
    frames = decoded("h264.mp4", skip)
    wrong[skip] = sum(not np.array_equal(picture, truth[pts]) for pts, picture in frames.items())
    print(f"H.264 with {skip}: {len(frames)} frames, {wrong[skip]} of them unlike the whole stream's")
assert keys == {"h264.mp4": 1, "hevc.mp4": 1, "vp9.webm": 50, "vvc.mp4": 50}, "this has changed"
assert wrong["NONREF"] == 0 and wrong["BIDIR"] > 0, "this has changed"
PYTHON
