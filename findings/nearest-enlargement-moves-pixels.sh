#!/usr/bin/env bash
# Enlarging by a whole number with PyTorch's "nearest" does not repeat each pixel that many times.
#
# Versions: torch 2.15.0 on a processor, NumPy 2.4.6
# Seen: seven values enlarged 41 times, to 287, by `F.interpolate(mode="nearest")` with `size`, or with
#   `scale_factor`: places 41, 82 and 164 have their left neighbour's value. So it is for 47, 55, 61, 82 and 83 of
#   the factors to 85. "nearest-exact" and `repeat_interleave` are right for all.
# Expected: where the factor is whole there is nothing to round. "nearest" is known to differ from other libraries'
#   where it shrinks, by half a pixel; here nothing shrinks, and places on the very edge fall to the wrong side.
# Why it matters: a mean that is taken of each patch, and given back to the patch by an enlargement, is taken from
#   some pixels of the neighbour's. Sizes that tests use mostly fit, and a few sizes of videos do not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.15.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import interpolate

values = torch.arange(7.0)
moved = {}
for factor in range(1, 86):
    wanted = values.repeat_interleave(factor)
    found = {
        "size": interpolate(values[None, None], size=7 * factor, mode="nearest"),
        "scale_factor": interpolate(values[None, None], scale_factor=factor, mode="nearest"),
        "exact": interpolate(values[None, None], size=7 * factor, mode="nearest-exact"),
    }
    places = {name: (one[0, 0] != wanted).nonzero().flatten().tolist() for name, one in found.items()}
    assert places["exact"] == [] and places["size"] == places["scale_factor"], "this has changed"
    if places["size"]:
        moved[factor] = places["size"]
print(torch.__version__, moved)
assert list(moved) == [41, 47, 55, 61, 82, 83], "this has changed"
assert moved[41] == [41, 82, 164], "this has changed"
PYTHON
