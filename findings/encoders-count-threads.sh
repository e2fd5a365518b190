#!/usr/bin/env bash
# More threads change the pixels that x264 and MPEG-2 write, at the same settings; those of x265 and SVT-AV1 stay.
#
# Versions: FFmpeg 9.0 with x264, x265 and SVT-AV1, of imageio-ffmpeg 0.8.1
# Seen: twenty frames of 640 x 360, encoded with one thread and with sixteen, decoded and compared. x264 at CRF 23 and
#   FFmpeg's own MPEG-2 encoder decode to other pixels; x265 and SVT-AV1 to the same ones.
# Expected: that threads are a matter of speed; or, knowing better, that the old and simple codec is the deterministic
#   one.
# Why it matters: x264 takes its count of threads from the number of cores if none is given. A data set that is made
#   again on a larger machine, or a golden file in a test, then differs without a changed command. Give `-threads` a
#   number wherever bytes should come again.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i mandelbrot=size=640x360:rate=25 -frames:v 20 -vf noise=alls=5:allf=t \
    -pix_fmt yuv420p -c:v ffv1 source.mkv
pixels() { # options of the encoder
    "$ffmpeg" -v error -y -i source.mkv -c:v "$@" encoded.mkv 2>log
    "$ffmpeg" -v error -i encoded.mkv -f rawvideo - | sha256sum | cut -c1-12
}
compare() { # name, what one thread gives, what sixteen give
    if [ "$2" = "$3" ]; then echo "$1: the same"; else echo "$1: changed"; fi | tee -a seen
}
compare x264 "$(pixels libx264 -crf 23 -threads 1)" "$(pixels libx264 -crf 23 -threads 16)"
compare MPEG-2 "$(pixels mpeg2video -q:v 5 -threads 1)" "$(pixels mpeg2video -q:v 5 -threads 16)"
compare x265 \
    "$(pixels libx265 -x265-params pools=1:frame-threads=1)" "$(pixels libx265 -x265-params pools=16:frame-threads=4)"
compare SVT-AV1 \
    "$(pixels libsvtav1 -preset 10 -svtav1-params lp=1)" "$(pixels libsvtav1 -preset 10 -svtav1-params lp=6)"

printf '%s\n' 'x264: changed' 'MPEG-2: changed' 'x265: the same' 'SVT-AV1: the same' >expected
cmp expected seen || { echo "this has changed"; exit 1; }
