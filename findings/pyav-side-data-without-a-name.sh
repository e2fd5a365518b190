#!/usr/bin/env bash
# A photograph with EXIF decodes in PyAV 18, and then cannot be asked which way up it is drawn.
#
# Versions: PyAV 18.1.0 (with its FFmpeg 8.1), Pillow 13.0.0
# Seen: `frame.side_data` of a JPEG with an EXIF block raises "ValueError: 31 is not a valid Type"; without EXIF it is
#   empty. FFmpeg attaches a kind of side data that PyAV's enumeration does not know, and the whole mapping is lost
#   with it.
# Expected: that an unknown kind is left out, or given by its number; and that what is known can still be read.
# Why it matters: code that looks for the display matrix of every frame, as it must for phones' videos, fails on
#   ordinary photographs, and will fail again with each kind of side data that FFmpeg adds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet av==18.1.0 pillow==13.0.0

venv/bin/python - <<'PYTHON'
import av
from PIL import Image

DESCRIPTION = 0x010E
exif = Image.Exif()
exif[DESCRIPTION] = "a note"
picture = Image.new("RGB", (64, 64), "teal")
picture.save("plain.jpg")
picture.save("exif.jpg", exif=exif)


def side_data(path):
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    try:
        return f"{len(list(frame.side_data))} entries"
    except ValueError as error:
        return f"ValueError: {error}"


seen = {path: side_data(path) for path in ("plain.jpg", "exif.jpg")}
print(seen)
assert seen["plain.jpg"] == "0 entries" and "not a valid Type" in seen["exif.jpg"], "this has changed"
PYTHON
