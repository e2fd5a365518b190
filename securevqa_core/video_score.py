"""Owns what is known of one scored video, or of one that could not be scored, and how a notebook shows it."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import Any

from securevqa_core.errors import ERROR_CODES
from securevqa_core.types import VideoInfo

__all__ = ["ClipScore", "Failure", "VideoScore"]

_INCHES = (6.0, 2.4)
_DOTS_PER_INCH = 120
_BLUE, _GREY = "#1f4e79", "#7f7f7f"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore:
    """The score of one clip of one draw, and where in the video it was taken."""

    draw: int  # 0..
    score: float  # 0..100
    start_seconds: float | None  # of its first frame; None where the video does not tell time
    end_seconds: float | None  # of its last frame, for as long as it is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a video could not be scored."""

    stage: str  # fetch, decode or score
    code: str  # of `securevqa_core.errors.ERROR_CODES`
    message: str  # what failed, in words

    @property
    def retryable(self) -> bool:
        """Whether the same file may succeed another time."""
        return ERROR_CODES[self.code].retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScore:
    """One video: its score, or why there is none. Notebooks show it with its clips over time."""

    name: str  # the path, or what it was
    score: float | None  # predicted quality, 0..100, mean over draws; None where `failure` says why
    score_sd: float | None  # standard deviation over draws, points; None for one draw
    score_lower: float | None  # one-sided 95% lower bound of `score`, which verdicts use
    raw_score: float | None  # mean model output before calibration
    suspicion: float | None  # 0..1, of an attack; None: not asked for, or there is no rendition
    suspicion_reasons: tuple[str, ...] | None  # in words; None: not asked for
    rendition_score: float | None  # of the rendition that `suspicion` is taken from
    clips: tuple[ClipScore, ...]  # draw after draw, clip after clip
    warnings: tuple[str, ...]  # what was damaged or odd, but not fatal
    failure: Failure | None
    video: VideoInfo | None  # size, rate and length; None where the file was not understood
    decoder: str | None
    content_sha256: str | None  # of the bytes; with the key it decides where the score looked
    size_bytes: int | None
    checkpoint_id: str
    checkpoint_status: str  # trained, imported or untrained: scores of untrained weights mean nothing
    as_delivered: str | None  # codec and quality of the rendition that was judged; None: the video itself
    key_id: str  # digest of the key
    randomness: str  # keyed, ephemeral or public
    decode_seconds: float | None
    model_seconds: float | None

    def plot(self, axes: Any = None) -> Any:
        """Draw the score of every clip over time, and the mean with its lower bound.

        Args:
            axes: of matplotlib, to draw on; None makes a figure with `matplotlib.pyplot`.

        Returns:
            The axes.

        Raises:
            ValueError: the video was not scored.
        """
        if self.score is None:
            raise ValueError(f"{self.name!r} has no score to draw: {self.failure}")
        if axes is None:
            from matplotlib import pyplot  # noqa: PLC0415 - half a second that scoring does not need

            _, axes = pyplot.subplots(figsize=_INCHES, layout="constrained")
        name: str | None = "clips"  # once in the legend
        for place, clip in enumerate(self.clips, 1):
            ends = (
                (clip.start_seconds, clip.end_seconds) if self._tells_time() else (place - 0.3, place + 0.3)
            )
            axes.plot(ends, [clip.score] * 2, color=_BLUE, alpha=0.6, lw=3, label=name)
            name = None
        axes.axhline(self.score, color=_GREY, linewidth=1, label="score")
        if self.score_sd is not None:
            axes.axhspan(
                self.score_lower, self.score, color=_GREY, alpha=0.2, linewidth=0, label="to its lower bound"
            )
        if self._tells_time():
            axes.set(xlabel="time (s)", xlim=(0, self._last_second()))
        else:
            axes.set(xlabel="clip")
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(ylim=(0, 100), ylabel="score (of 100)")
        axes.legend(frameon=False, fontsize="small", ncols=3, loc="best")
        axes.set_title(self._headline(), fontsize="medium", parse_math=False)
        return axes

    def _repr_png_(self) -> bytes | None:
        """Return the plot, for notebooks; None where there is no score."""
        if self.score is None:
            return None
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
        from matplotlib.figure import Figure  # noqa: PLC0415

        figure = Figure(figsize=_INCHES, layout="constrained", dpi=_DOTS_PER_INCH)
        self.plot(figure.subplots())
        content = io.BytesIO()
        FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
        return content.getvalue()

    def _repr_html_(self) -> str:
        """Return what notebooks show: the score or the failure, what was odd, and the plot."""
        video = self.video
        rows = [("score", self._headline())]
        if video is not None:
            rows.append(("video", f"{video.codec}, {video.width} x {video.height}{_lasting(video)}"))
        rows += [("warning", warning) for warning in self.warnings]
        if self.checkpoint_status == "untrained":
            rows.append(("checkpoint", "untrained: this score means nothing"))
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        png = self._repr_png_()
        image = "" if png is None else f'<img alt="" src="data:image/png;base64,{b64encode(png).decode()}">'
        return f"<table><caption>{escape(self.name)}</caption>{cells}</table>{image}"

    def _tells_time(self) -> bool:
        """Return whether clips are parts of a time line: those of a single frame are not."""
        is_moving = self.video is None or self.video.num_frames > 1
        return is_moving and all(clip.start_seconds is not None for clip in self.clips)

    def _last_second(self) -> float:
        lasting = None if self.video is None else self.video.duration_seconds
        return max([lasting or 0.0, *(clip.end_seconds or 0.0 for clip in self.clips)])

    def _headline(self) -> str:
        if self.score is None:
            return f"not scored: {self.failure}"
        if self.score_sd is None:
            return f"{self.score:.1f} of 100"
        return f"{self.score:.1f} of 100 (sd {self.score_sd:.1f}, at least {self.score_lower:.1f})"


def _lasting(video: VideoInfo) -> str:
    if video.num_frames == 1:
        return ", one frame"
    seconds = video.duration_seconds
    if seconds is None:
        return ""
    return f", {seconds:.1f} s" if seconds >= 1 else f", {seconds:.2g} s"
