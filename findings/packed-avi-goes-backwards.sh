#!/usr/bin/env bash
# Pictures of an Xvid AVI with B pictures come out in their order, with time stamps in another.
#
# Versions: FFmpeg 9.0 of imageio-ffmpeg 0.8.1 (libxvid), PyAV 18.1.0, NumPy 2.4.6
# Seen: libxvid packs a B picture behind the one that it is predicted from, and leaves the next packet all but empty. The decoder gives
#   99 pictures in the order in which they are shown, and each the stamp of the packet that it came with: every second goes back in time.
#   Sorted by `pts`, as one does with frames that were sought, all but one stand at another's place. Encoded by `mpeg4`, the same film has
#   its pictures and stamps in one order, as has what `-bsf:v mpeg4_unpack_bframes` makes of the packed file.
# Expected: ascending stamps from a decoder that puts pictures in order, or none in a container that holds none.
# Why it matters: AVI of that kind are two decades of downloads; what looks frames up by time trembles, and measures of motion see it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 imageio-ffmpeg==0.8.1 numpy==2.4.6
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

numbered=(-f lavfi -i "color=gray:size=320x192:rate=25:duration=4,format=yuv420p,geq=lum=20+2*N:cb=128:cr=128")
"$ffmpeg" -v error "${numbered[@]}" -c:v libxvid -q:v 2 -bf 2 packed.avi
"$ffmpeg" -v error "${numbered[@]}" -c:v mpeg4 -q:v 2 -bf 2 plain.avi
"$ffmpeg" -v error -i packed.avi -c copy -bsf:v mpeg4_unpack_bframes unpacked.avi

venv/bin/python - <<'PYTHON'
import av
import numpy as np


def frames(name):
    with av.open(name) as container:
        decoded = list(container.decode(video=0))
    levels = [np.asarray(frame.to_ndarray(format="gray")).mean() for frame in decoded]
    return np.array(levels), np.array([frame.pts for frame in decoded])


seen = {}
for name in ("packed.avi", "plain.avi", "unpacked.avi"):
    levels, times = frames(name)
    backwards = int((np.diff(times) < 0).sum())
    misplaced = int((np.argsort(times) != np.arange(len(times))).sum())
    seen[name] = (backwards, misplaced)
    print(f"{name}: {len(times)} pictures, each lighter than the last: {bool((np.diff(levels) > 0).all())}; "
          f"{backwards} steps back in time, {misplaced} at another's place when sorted")
    assert (np.diff(levels) > 0).all(), "this has changed"
assert seen["packed.avi"][0] > 20, "this has changed"
assert seen["packed.avi"][1] > 40, "this has changed"
assert seen["plain.avi"] == seen["unpacked.avi"] == (0, 0), "this has changed"
PYTHON
