"""Owns the measuring of VMAF between a clip and what it was made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from securevqa_core import ffmpeg
from securevqa_core.datasets.steps import ClipFormat, Filter, Hold, filter_chain
from securevqa_core.errors import DatasetError

__all__ = ["Vmaf", "measure_vmaf"]

_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
_FULL_RANGE = 2  # FFmpeg's number
_LOG = "vmaf.json"  # relative, because a path may hold what ends an option of a filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Vmaf:
    """Means over the frames of a clip, 0..100."""

    vmaf: float  # v0.6.1
    vmaf_neg: float  # v0.6.1 NEG: no gain from enhancement


def measure_vmaf(
    distorted: Path,
    reference: Path,
    *,
    clip: ClipFormat,
    scratch: Path,
    same: Sequence[Filter | Hold] = (),
) -> Vmaf:
    """Compare two clips of the same length, frame by frame in order.

    Args:
        distorted: the clip to measure.
        reference: what it was made from.
        clip: size that both are brought to, and number of frames that both must have.
        scratch: an existing folder for temporary files.
        same: filters and holds that the reference gets too, so that what they do is not measured.

    Raises:
        DatasetError: FFmpeg failed, one of the clips has fewer frames, of which FFmpeg alone would repeat the
            last, or their colour tags or frame rates differ.
    """
    _require_alike(distorted, reference)
    models = "|".join(f"version={version}\\:name={name}" for name, version in _MODELS.items())
    in_order = f"settb=1/1000,setpts=N*40,scale={clip.width}:{clip.height}"
    matched = "".join(f"{filter_chain(step, clip)}," for step in same)
    graph = (
        f"[0:v]{in_order}[d];[1:v]{matched}{in_order}[r];"
        f"[d][r]libvmaf=model='{models}':log_fmt=json:log_path={_LOG}:n_threads=1:shortest=1"
    )
    inputs = [
        part for path in (distorted, reference) for part in ("-threads", "1", "-i", str(path.absolute()))
    ]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        sink = ["-fps_mode", "passthrough", "-f", "null", "-"]
        ffmpeg.run([*inputs, "-lavfi", graph, *sink], folder=Path(folder))
        measured = json.loads(Path(folder, _LOG).read_text())
    num_measured = len(measured["frames"])
    if num_measured != clip.num_frames:
        raise DatasetError(
            f"{distorted} and {reference} must share {clip.num_frames} frames, got {num_measured}"
        )
    pooled = measured["pooled_metrics"]
    return Vmaf(vmaf=float(pooled["vmaf"]["mean"]), vmaf_neg=float(pooled["vmaf_neg"]["mean"]))


def _require_alike(distorted: Path, reference: Path) -> None:
    """Refuse clips of other tags or another clock: FFmpeg would convert one of them, and measure that too."""
    ours, theirs = map(_tags, (distorted, reference))
    for name, value in ours.items():
        if value != theirs[name]:
            raise DatasetError(
                f"{distorted} and {reference} must share their {name}, got {value} and {theirs[name]}"
            )


def _tags(path: Path) -> dict[str, object]:
    """Return what FFmpeg knows of the colours and the clock of a clip, by its first frame."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            frame = next(container.decode(stream))
    except (av.FFmpegError, OSError, IndexError, StopIteration) as error:
        raise DatasetError(f"{path} cannot be decoded: {error}") from error
    return {
        "matrix": int(frame.colorspace),
        "range": "full" if int(frame.color_range) == _FULL_RANGE else "limited",  # which no tag means too
        "primaries": int(frame.color_primaries),
        "transfer": int(frame.color_trc),
        "frame rate": None if rate is None else round(float(rate), 1),
    }
