#!/usr/bin/env bash
# An animated AVIF is a video of one frame to whoever takes the first video stream, FFmpeg's command line included.
#
# Versions: Pillow 13.0.0, PyAV 18.1.0 (with its FFmpeg 8.1), FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: ten pictures saved as an animation. The file holds two video streams: a still, marked as the default one, and
#   the animation. `decode(video=0)` gives 1 frame, `ffmpeg -i` writes 1 frame, `decode(video=1)` gives 10, and PyAV's
#   `streams.best("video")` picks 1.
# Expected: one video stream of ten frames, as of every other animated format; or that both libraries' defaults agree.
# Why it matters: the first video stream is what nearly all code takes. Animations are then indexed, moderated and
#   scored by their cover, which need not even be one of their frames.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet pillow==13.0.0 av==18.1.0 imageio-ffmpeg==0.8.1

venv/bin/python - <<'PYTHON'
import subprocess

import av
import imageio_ffmpeg
from PIL import Image

pictures = [Image.new("RGB", (64, 64), (20 * number, 0, 0)) for number in range(10)]
pictures[0].save("animation.avif", save_all=True, append_images=pictures[1:], duration=40)


def num_frames(number):
    with av.open("animation.avif") as container:
        return sum(1 for _ in container.decode(video=number))


with av.open("animation.avif") as container:
    streams = len(container.streams.video)
    best = container.streams.best("video").index
hashes = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "animation.avif", "-f", "framehash", "-"]
lines = subprocess.run(hashes, check=True, capture_output=True, text=True).stdout.splitlines()
by_default = sum(not line.startswith("#") for line in lines)
frames = [num_frames(number) for number in range(streams)]
print(f"frames of each video stream {frames}, best is {best}; FFmpeg's command line reads {by_default}")
assert frames == [1, 10] and best == 1 and by_default == 1, "this has changed"
PYTHON
