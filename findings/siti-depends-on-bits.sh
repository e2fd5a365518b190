#!/usr/bin/env bash
# FFmpeg's spatial and temporal information of a video grows fourfold when it is stored with ten bits.
#
# Versions: FFmpeg 9.0 (filter `siti`), of imageio-ffmpeg 0.8.1
# Seen: the same eight-bit clip, as it is and converted to ten bits: SI 107 and 432, TI 14 and 57, a factor of four.
#   With twelve bits the same as with ten, since the filter has it converted. The first frame counts with a TI of 0 in
#   average and minimum.
# Expected: numbers on one scale, whatever the storage; a conversion to ten bits adds no detail.
# Why it matters: SI and TI decide which clips a quality study or a training set takes. In a mixed collection every
#   ten-bit clip is an outlier of complexity, and a threshold sorts by format.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

for format in yuv420p yuv420p10le yuv420p12le; do
    "$ffmpeg" -hide_banner -nostdin -f lavfi -i testsrc2=size=320x180:rate=25:duration=1 \
        -vf "format=yuv420p,format=$format,siti=print_summary=1" -f null - >log 2>&1
    # Sums of no frames are printed before the summary proper: the last two averages count.
    grep -oE 'Average: [0-9.]+' log | tail -n 2 | grep -oE '[0-9.]+' | xargs echo "$format" | tee -a seen
done

venv/bin/python - <<'PYTHON'
seen = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in open("seen")}
for eight, ten, twelve in zip(*(seen[f"yuv420p{bits}"] for bits in ("", "10le", "12le"))):
    assert 3.8 < ten / eight < 4.2 and ten == twelve, "this has changed"
PYTHON
