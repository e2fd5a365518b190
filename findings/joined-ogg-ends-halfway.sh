#!/usr/bin/env bash
# Of two Ogg videos put together FFmpeg reads both if they are silent, and the first alone if they have sound.
#
# Versions: FFmpeg 9.0.2 of imageio-ffmpeg 0.8.1; PyAV 18.1.0 with libavformat of FFmpeg 8.1; opencv-python-headless
#   5.0.0.93; NumPy 2.4.6
# Seen: two Theora files of 50 frames, joined with `cat`, as Ogg allows (chaining, RFC 3533, section 4). Without sound
#   the program decodes 100, and so does PyAV with one thread. With a Vorbis track in each the program decodes 50,
#   prints "Error during demuxing: Not yet implemented in FFmpeg, patches welcome" and exits with status 0; PyAV gives
#   50 and raises PatchWelcomeError. OpenCV reads 50 of either, and its reader ends as at the end of any file.
# Expected: 100 in both, or a status that tells of the error.
# Why it matters: a pipeline that trusts the exit status, or reads with OpenCV, takes half a video for all of it; what
#   players that follow the format show next was never looked at.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

for part in 1 2; do
  "$ffmpeg" -v error -f lavfi -i testsrc2=size=160x96:rate=25:duration=2 -f lavfi -i sine=duration=2 \
    -map 0:v -map 1:a -c:v libtheora -c:a libvorbis -serial_offset $part$part sound$part.ogv
  "$ffmpeg" -v error -i sound$part.ogv -an -c copy -serial_offset $part$part silent$part.ogv
done
for kind in sound silent; do
  cat ${kind}1.ogv ${kind}2.ogv > $kind.ogv
  status=0
  "$ffmpeg" -hide_banner -i $kind.ogv -an -f null - 2>$kind.log || status=$?
  echo "$status $(grep -oE 'frame= *[0-9]+' $kind.log | tail -1 | grep -oE '[0-9]+')" > $kind.program
done

venv/bin/python - <<'PYTHON' 2>log
from pathlib import Path

import av
import cv2

found = {}
for kind in ("sound", "silent"):
    capture = cv2.VideoCapture(f"{kind}.ogv")
    opencv = sum(1 for _ in iter(lambda: capture.read()[0], False))
    frames, error = 0, None
    with av.open(f"{kind}.ogv") as container:
        context, packets = container.streams.video[0].codec_context, container.demux(video=0)
        context.thread_count = 1  # with more it refuses all that follows the second part's headers
        try:
            for packet in packets:
                try:
                    frames += len(context.decode(packet))
                except av.error.FFmpegError:  # the headers of the second part
                    pass
        except av.error.PatchWelcomeError as raised:
            error = type(raised).__name__
    status, program = map(int, Path(f"{kind}.program").read_text().split())
    found[kind] = (program, status, opencv, frames, error)
    print(f"{kind}: program {program} with status {status}, OpenCV {opencv}, PyAV {frames} and {error}")
assert found["sound"] == (50, 0, 50, 50, "PatchWelcomeError"), "this has changed"
assert found["silent"] == (100, 0, 50, 100, None), "this has changed"
PYTHON
