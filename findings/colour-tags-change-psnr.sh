#!/usr/bin/env bash
# Two files with the same decoded pixels are 26 dB apart, because one of them says which colours it has.
#
# Versions: FFmpeg 9.0 with libvmaf, of imageio-ffmpeg 0.8.1
# Seen: a lossless H.264 stream, and the same stream with BT.709 written into its header and no other bit changed.
#   Decoded to raw bytes they are equal; `psnr` between them says less than 30 dB, because the filter graph first
#   converts one input to the colours of the other. VMAF of the pair is above 99 all the same.
# Expected: that a filter that compares pixels is handed the pixels; or that one which is not tagged is left as it is.
# Why it matters: encoders keep or drop tags as they like, so that references and encodings differ in them all the
#   time. The error looks like a bad encoder, and since it is small in VMAF and large in PSNR and SSIM it looks like a
#   finding. Tag both sides alike first.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=1 -pix_fmt yuv420p -c:v libx264 -qp 0 untagged.mp4
"$ffmpeg" -v error -i untagged.mp4 -c copy \
    -bsf:v h264_metadata=matrix_coefficients=1:colour_primaries=1:transfer_characteristics=1 tagged.mp4
decoded() { "$ffmpeg" -v error -i "$1" -f rawvideo - | sha256sum; }
[ "$(decoded untagged.mp4)" = "$(decoded tagged.mp4)" ] && echo "decoded bytes are equal"

compare() { # two files, a filter
    "$ffmpeg" -hide_banner -nostdin -i "$1" -i "$2" -lavfi "$3" -f null - 2>&1 | grep -E 'average:|VMAF score' | sed 's/.*\] //'
}
echo "tagged alike:   $(compare tagged.mp4 tagged.mp4 psnr)" | tee alike
echo "tagged unlike:  $(compare untagged.mp4 tagged.mp4 psnr)" | tee unlike
echo "tagged unlike:  $(compare untagged.mp4 tagged.mp4 libvmaf)" | tee vmaf

grep -q 'average:inf' alike || { echo "this has changed"; exit 1; }
grep -qE 'average:2[0-9]\.' unlike || { echo "this has changed"; exit 1; }
grep -qE 'score: (99|100)\.' vmaf || { echo "this has changed"; exit 1; }
