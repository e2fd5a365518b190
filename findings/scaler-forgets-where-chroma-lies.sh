#!/usr/bin/env bash
# FFmpeg's program takes chroma to lie in the middle though it says "left"; its library takes it to lie left.
#
# Versions: FFmpeg 9.0.2 of imageio-ffmpeg 0.8.1; PyAV 18.1.0 with libswscale of FFmpeg 8.1; NumPy 2.4.6
# Seen: an H.264 file of colour bars, whose chroma lies left as H.264 has it. `showinfo` prints `cl:left`. Converted to
#   RGB by the program, it is 32.0 dB from what PyAV makes with the same flags, and further from the bars that were
#   encoded: 26.0 dB, and PyAV's 26.7. With `scale=in_chroma_loc=left` it is PyAV's picture to the last bit; with
#   `in_chroma_loc=center` it is what the program made unasked.
# Expected: that the filter goes by the place that every frame carries, and that `showinfo` prints; or that library
#   and program agree.
# Why it matters: whoever holds a reader against the program's output sees it fail at coloured edges, and takes the
#   reader for wrong; every colour edge that the program converts to RGB is moved by half a pixel.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

flags=bilinear+accurate_rnd+full_chroma_int+bitexact
raw=(-frames:v 1 -f rawvideo -pix_fmt rgb24)
"$ffmpeg" -v error -f lavfi -i smptebars=size=160x96 -vf format=rgb24 "${raw[@]}" bars.rgb
"$ffmpeg" -v error -f rawvideo -pix_fmt rgb24 -s 160x96 -i bars.rgb \
  -vf scale=out_chroma_loc=left:flags=area+accurate_rnd,format=yuv420p -c:v libx264 -qp 1 bars.mp4
"$ffmpeg" -v info -i bars.mp4 -vf showinfo=checksum=0 -f null - 2>showinfo
"$ffmpeg" -v error -i bars.mp4 -sws_flags $flags "${raw[@]}" program.rgb
for place in left center; do
  "$ffmpeg" -v error -i bars.mp4 -sws_flags $flags -vf scale=in_chroma_loc=$place "${raw[@]}" "$place.rgb"
done

venv/bin/python - <<'PYTHON'
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter


def read(name: str) -> np.ndarray:
    return np.fromfile(name, np.uint8).reshape(96, 160, 3).astype(float)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-9))


flags = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
)
with av.open("bars.mp4") as container:
    picture = next(container.decode(video=0))
library = VideoReformatter().reformat(picture, format="rgb24", interpolation=flags).to_ndarray().astype(float)
bars, program, left, center = (read(f"{name}.rgb") for name in ("bars", "program", "left", "center"))
print(f"the program and PyAV: {psnr(program, library):.1f} dB")
print(f"what was encoded and PyAV: {psnr(bars, library):.1f} dB; and the program: {psnr(bars, program):.1f} dB")
assert "cl:left" in Path("showinfo").read_text(), "this has changed"
assert (left == library).all() and (center == program).all(), "this has changed"
assert psnr(program, library) < 35 and psnr(bars, program) < psnr(bars, library), "this has changed"
PYTHON
