#!/usr/bin/env bash
# `-crf 0` asks SVT-AV1 for its best quality, and gets the default one.
#
# Versions: FFmpeg 9.0 with SVT-AV1, of imageio-ffmpeg 0.8.1
# Seen: of a noisy clip `-crf 0` writes the very bytes that no `-crf` at all writes (CRF 35, 33 dB), `-crf 1` fourteen
#   times as many (55 dB), and `-svtav1-params crf=0` a lossless file. FFmpeg takes 0 for "not given", and neither
#   warns.
# Expected: what 0 means for x264, x265 and libaom at eight bits: lossless, or next to it; in any case no worse than
#   1.
# Why it matters: mezzanines, references of quality studies and archives made with the smallest number are ordinary
#   lossy video. A ladder of CRFs that begins with 0 has its worst step first.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=1 -vf noise=alls=10:allf=t \
    -pix_fmt yuv420p -c:v ffv1 source.mkv
encode() { # name, options
    "$ffmpeg" -v error -i source.mkv -c:v libsvtav1 -preset 10 "${@:2}" -bitexact "$1.ivf" 2>log
    psnr=$("$ffmpeg" -hide_banner -i "$1.ivf" -i source.mkv -lavfi psnr -f null - 2>&1 | grep -oE 'average:\S+')
    echo "$1: $(stat -c %s "$1.ivf") bytes, PSNR $psnr" | tee "$1.txt"
}
encode default
encode crf-0 -crf 0
encode crf-1 -crf 1
encode params-crf-0 -svtav1-params crf=0

changed() { echo "this has changed"; exit 1; }
cmp default.ivf crf-0.ivf || changed
grep -qE 'average:3[0-9]\.' crf-0.txt || changed
grep -qE 'average:5[0-9]\.' crf-1.txt || changed
grep -q 'average:inf' params-crf-0.txt || changed
