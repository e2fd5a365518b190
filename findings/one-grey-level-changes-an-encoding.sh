#!/usr/bin/env bash
# One pixel, one grey level, first frame: x264 at CRF 23 then encodes two seconds so differently that they are 38 dB apart.
#
# Versions: FFmpeg 9.0 with x264, of imageio-ffmpeg 0.8.1; NumPy 2.4.6
# Seen: two inputs of fifty frames that differ by 1 in a single sample. At a fixed quantiser (`-qp 23`) both come out
#   the same to the last bit: the difference is quantised away. At CRF 23 more than half of the samples of the last
#   frame differ, by up to dozens of levels: the quantisers that CRF chooses follow the input, not what would be left
#   of it.
# Expected: that a difference too small to be coded is gone after encoding, in either mode.
# Why it matters: "the change does not survive compression" is tested by encoding both versions and comparing. With
#   CRF the comparison shows noise of the encoder, 38 dB of it, whatever was changed. Repeat with harmless changes to
#   know that floor, or fix the quantiser.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i mandelbrot=size=320x180:rate=25:end_scale=0.02:end_pts=100 -frames:v 50 \
    -vf noise=alls=4:all_seed=1:allf=t -pix_fmt yuv420p -f rawvideo one.yuv
cp one.yuv other.yuv
venv/bin/python - <<'PYTHON'
with open("other.yuv", "r+b") as file:
    file.seek(90 * 320 + 160)
    (level,) = file.read(1)
    file.seek(-1, 1)
    file.write(bytes([level ^ 1]))
PYTHON
for mode in qp crf; do
    for name in one other; do
        "$ffmpeg" -v error -f rawvideo -video_size 320x180 -pixel_format yuv420p -framerate 25 -i "$name.yuv" \
            -c:v libx264 -threads 1 "-$mode" 23 "$mode-$name.mp4"
        "$ffmpeg" -v error -i "$mode-$name.mp4" -f rawvideo "$mode-$name.yuv"
    done
done

venv/bin/python - <<'PYTHON'
import numpy as np

NUM_FRAMES = 50
share = {}
for mode in ("qp", "crf"):
    one, other = (np.fromfile(f"{mode}-{name}.yuv", np.uint8).reshape(NUM_FRAMES, -1).astype(int) for name in ("one", "other"))
    difference = np.abs(one - other)
    share[mode] = (difference[-1] > 0).mean()
    error = (difference**2).mean()
    psnr = 10 * np.log10(255**2 / error) if error else np.inf
    print(f"{mode} 23: {share[mode]:.2f} of the last frame's samples differ, at most {difference.max()}; {psnr:.1f} dB over all")
assert share["qp"] == 0 and share["crf"] > 0.3, "this has changed"
PYTHON
