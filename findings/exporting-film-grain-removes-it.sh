#!/usr/bin/env bash
# Asking for the parameters of an AV1 video's film grain takes the grain off its pictures.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1 and dav1d), NumPy 2.4.6; files made by FFmpeg 9.0 (SVT-AV1) of
#   imageio-ffmpeg 0.8.1
# Seen: a clip encoded with and without grain synthesis, all else alike. Decoded by default they differ, as they
#   should. Opened with `export_side_data=film_grain`, the one with grain decodes to exactly the pictures of the one
#   without.
# Expected: an option that hands out metadata beside the pictures, and leaves those as they are.
# Why it matters: a tool that only looks whether a video has grain, or passes it on to an encoder, shows and measures
#   another video than every player shows: cleaner, with higher or lower scores by metrics that take grain for noise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

encode() { # name, parameters
    "$ffmpeg" -v error -f lavfi -i mandelbrot=size=320x180:rate=25:end_scale=0.02:end_pts=100 -frames:v 10 -pix_fmt yuv420p \
        -c:v libsvtav1 -preset 10 -crf 20 -svtav1-params "$2" "$1.mp4" 2>log
}
encode plain film-grain=0
encode grain film-grain=30:film-grain-denoise=0

venv/bin/python - <<'PYTHON'
import av
import numpy as np


def pictures(path, **options):
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = options
        return np.stack([frame.to_ndarray() for frame in container.decode(stream)]).astype(int)


plain, grain = pictures("plain.mp4"), pictures("grain.mp4")
exported = pictures("grain.mp4", export_side_data="film_grain")
by_default, with_export = (np.abs(some - plain).mean() for some in (grain, exported))
print(f"grain beside no grain, mean difference of samples: {by_default:.2f} by default, {with_export:.2f} with export")
assert by_default > 0.5 and with_export == 0, "this has changed"
PYTHON
