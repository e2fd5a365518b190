#!/usr/bin/env bash
# The same encoded stream scores 74 instead of 100 once it is copied from MP4 into Matroska.
#
# Versions: FFmpeg 9.0 with libvmaf, of imageio-ffmpeg 0.8.1
# Seen: 96 frames at 24000/1001 a second, copied bit by bit into Matroska, whose clock counts milliseconds, and
#   compared with themselves. Time stamps are off by less than half a millisecond, each frame of one side meets its
#   neighbour of the other, 97 pairs are made of 96 frames, VMAF is 74 and the mean squared error 77. With stamps made
#   anew by frame number: 100 and 0.
# Expected: that frame n is compared with frame n; at worst that stamps are matched to the nearest.
# Why it matters: quality labels of whole data sets are wrong by 25 points if references and encodings live in
#   different containers, and nothing warns. Give both sides `settb` and `setpts` by frame number, and check the count
#   of pairs.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i mandelbrot=size=320x180:rate=24000/1001:end_scale=0.02:end_pts=300 -t 4 \
    -pix_fmt yuv420p -c:v libx264 -preset veryfast -crf 20 stream.mp4
"$ffmpeg" -v error -i stream.mp4 -c copy stream.mkv
decoded() { "$ffmpeg" -v error -i "$1" -f rawvideo - | sha256sum; }
[ "$(decoded stream.mp4)" = "$(decoded stream.mkv)" ]

compare() { # what is done to the stamps of both, where the scores go
    "$ffmpeg" -v error -nostdin -i stream.mkv -i stream.mp4 -lavfi \
        "[0:v]$1,split[a][c];[1:v]$1,split[b][d];
        [a][b]libvmaf=log_fmt=json:log_path=$2.json;[c][d]psnr=stats_file=$2.psnr" -f null - 2>log
}
compare null as-is
compare 'settb=1/1000,setpts=N*40' by-number

venv/bin/python - <<'PYTHON'
import json
import re
from pathlib import Path
from statistics import mean

seen = {}
for name in ("as-is", "by-number"):
    report = json.loads(Path(f"{name}.json").read_text())
    errors = [float(error) for error in re.findall(r"mse_avg:(\S+)", Path(f"{name}.psnr").read_text())]
    seen[name] = (len(report["frames"]), report["pooled_metrics"]["vmaf"]["mean"], mean(errors))
    print("{}: {} pairs, VMAF {:.1f}, mean squared error {:.1f}".format(name, *seen[name]))
assert seen["as-is"][0] == 97 and seen["as-is"][1] < 90 and seen["as-is"][2] > 20, "this has changed"
assert seen["by-number"][0] == 96 and seen["by-number"][1] > 99 and seen["by-number"][2] == 0, "this has changed"
PYTHON
