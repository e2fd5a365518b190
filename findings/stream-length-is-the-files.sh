#!/usr/bin/env bash
# Four seconds of picture beside sixteen of sound are as long as the sound, or four times that, by the container.
#
# Versions: FFmpeg 9.0 of imageio-ffmpeg 0.8.1, PyAV 18.1.0
# Seen: `stream.duration` of the video, which is the demuxer's, is 4 s in MP4 and 16 s in WMV; 16 s in Matroska where the picture begins
#   late, though the track's DURATION tag says when it ends; and 62 s in Matroska that was made live, as a pipe makes it: FFmpeg
#   divides the file's size by the bit rate of the sound, the only one that it knows. Nothing says that it is a guess.
# Expected: what a stream says of itself, or None, as for AVI's and Matroska's streams that begin at once.
# Why it matters: who checks that a file is whole by its length takes sound ones for cut off; progress bars and samplers that spread
#   moments over that length look where no picture is.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

sound=(-f lavfi -i sine=duration=16)
picture=(-f lavfi -i testsrc2=size=640x360:rate=25:duration=4)
h264=(-c:v libx264 -threads 1 -pix_fmt yuv420p)
"$ffmpeg" -v error "${picture[@]}" "${sound[@]}" "${h264[@]}" -c:a aac both.mp4
"$ffmpeg" -v error "${picture[@]}" "${sound[@]}" -c:v wmv2 -q:v 2 -c:a wmav2 both.wmv
"$ffmpeg" -v error "${sound[@]}" -itsoffset 8 "${picture[@]}" -map 0 -map 1 "${h264[@]}" -c:a libmp3lame late.mkv
"$ffmpeg" -v error "${sound[@]}" -itsoffset 8 "${picture[@]}" -map 0 -map 1 "${h264[@]}" -c:a libmp3lame -live 1 live.mkv

venv/bin/python - <<'PYTHON'
import av

seen = {}
for name in ("both.mp4", "both.wmv", "late.mkv", "live.mkv"):
    with av.open(name) as container:
        stream = container.streams.video[0]
        length = float(stream.duration * stream.time_base)
        shown = sum(1 for _ in container.decode(video=0)) / 25
    seen[name] = length
    print(f"{name}: {shown:.0f} s of picture, its stream says {length:.1f} s")
    assert shown == 4, "this has changed"
assert seen["both.mp4"] == 4, "this has changed"
assert 16 <= seen["both.wmv"] < 16.2, "this has changed"
assert 16 <= seen["late.mkv"] < 16.2, "this has changed"
assert seen["live.mkv"] > 40, "this has changed"
PYTHON
