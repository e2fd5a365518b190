#!/usr/bin/env bash
# VMAF's first model that looks at colour takes a video without any for a perfect copy.
#
# Versions: FFmpeg 9.0 with libvmaf and its model vmaf_v1.0.16_3d0h, of imageio-ffmpeg 0.8.1
# Seen: a clip against itself with saturation halved loses more than 20 points, with saturation taken away altogether
#   none, nor with every hue turned by half a circle. The luma planes are the same each time, and vmaf_v0.6.1, which
#   reads luma alone, sees nothing.
# Expected: that losing all colour costs at least as much as losing half of it.
# Why it matters: the new model is chosen for its view of chroma. A pipeline that drops the chroma planes, a grey
#   camera, a broken decoder pass it with full marks, and an optimiser that trades colour away is paid for going all
#   the way.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')

"$ffmpeg" -v error -f lavfi -i testsrc2=size=640x360:rate=25:duration=1 -pix_fmt yuv420p -c:v ffv1 clip.mkv

vmaf() { # model, filter of the distorted side
    "$ffmpeg" -v error -i clip.mkv -i clip.mkv -lavfi \
        "[0:v]$2[d];[d][1:v]libvmaf=model=version=$1:log_fmt=json:log_path=vmaf.json" -f null -
    venv/bin/python -c 'import json; print(round(json.load(open("vmaf.json"))["pooled_metrics"]["vmaf"]["mean"], 1))'
}
for model in vmaf_v0.6.1 vmaf_v1.0.16_3d0h; do
    for filter in null hue=s=0.5 hue=s=0 hue=h=180; do
        score=$(vmaf "$model" "$filter")
        echo "$model $filter $score" | tee -a scores
    done
done

venv/bin/python - <<'PYTHON'
scores = {(model, edit): float(score) for model, edit, score in map(str.split, open("scores"))}
old, new = ({edit: scores[model, edit] for _, edit in scores} for model in ("vmaf_v0.6.1", "vmaf_v1.0.16_3d0h"))
assert len(set(old.values())) == 1, "this has changed"
assert new["hue=s=0.5"] < new["null"] - 20, "this has changed"
assert new["hue=s=0"] == new["hue=h=180"] == new["null"], "this has changed"
PYTHON
