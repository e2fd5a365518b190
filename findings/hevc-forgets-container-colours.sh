#!/usr/bin/env bash
# HEVC frames lose the colours that their container declares; H.264 and AV1 frames keep them.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1); files made by FFmpeg 9.0 of imageio-ffmpeg 0.8.1
# Seen: three streams whose own headers say nothing of colour are put into MP4 as PQ and BT.2020. Every stream then
#   says PQ. Its first decoded frame says PQ for H.264 and AV1, and "unspecified" (2) for HEVC.
# Expected: that a frame carries what its stream says, or that all codecs do alike.
# Why it matters: whoever asks the frame whether to tone-map shows, scores or trains on washed-out high dynamic range,
#   for a codec that much of it is in. Ask the stream where the frame says "unspecified".
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

for encoder in libx264 libsvtav1 libx265; do
    "$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:duration=0.2 -pix_fmt yuv420p10le \
        -c:v "$encoder" "plain-$encoder.mp4" 2>log
    "$ffmpeg" -v error -i "plain-$encoder.mp4" -c copy \
        -color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc "$encoder.mp4"
done

venv/bin/python - <<'PYTHON'
import av

PQ, UNSPECIFIED = 16, 2
seen = {}
for encoder in ("libx264", "libsvtav1", "libx265"):
    with av.open(f"{encoder}.mp4") as container:
        stream = container.streams.video[0]
        declared = int(stream.codec_context.color_trc)
        decoded = int(next(container.decode(stream)).color_trc)
    print(f"{encoder:10} transfer of the stream {declared:2}, of its first frame {decoded:2}")
    seen[encoder] = (declared, decoded)
assert seen == {"libx264": (PQ, PQ), "libsvtav1": (PQ, PQ), "libx265": (PQ, UNSPECIFIED)}, "this has changed"
PYTHON
