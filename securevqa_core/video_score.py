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
    """The score of one clip of one draw, and where in the video it was taken.

    Attributes:
        draw: which draw, 0, 1, ...
        score: 0..100.
        start_seconds: of its first frame; None where the video does not tell time.
        end_seconds: of its last frame, for as long as it is shown.
    """

    draw: int
    score: float
    start_seconds: float | None
    end_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a video could not be scored.

    Attributes:
        stage: fetch, decode or score.
        code: of `securevqa_core.errors.ERROR_CODES`.
        message: what failed, in words.
    """

    stage: str
    code: str
    message: str

    @property
    def retryable(self) -> bool:
        """Whether the same file may succeed another time."""
        return ERROR_CODES[self.code].retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScore:
    """One video: its score, or why there is none. Notebooks show it with its clips over time.

    Attributes:
        name: the path, or what it was.
        score: predicted quality, 0..100, mean over draws; None where `failure` says why.
        score_sd: standard deviation over draws, points; None for one draw.
        score_lower: one-sided 95% lower bound of `score`, 0..100, which verdicts use.
        raw_score: mean model output before calibration, without bounds.
        suspicion: 0..1, of an attack; None: not asked for, or there is no rendition.
        suspicion_reasons: what speaks for an attack, in words; None: not asked for.
        rendition_score: 0..100, of the rendition that `suspicion` is taken from; None: there is none.
        upload_score: 0..100, before `score` was held to a cap; None: it was to none. `raw_score` and
            `clips` are the upload's.
        clips: scores of draw after draw, clip after clip; empty where there is no score.
        warnings: what was damaged or odd, but not fatal.
        failure: why there is no score; None where there is one.
        video: size, rate and length; None where the file was not understood.
        decoder: which decoder read it; None where none did.
        content_sha256: of the bytes; with the key it decides where the score looked; None where it was not
            read.
        size_bytes: of the file, or of the frames; None where it was not read.
        checkpoint_id: model and first digits of the digest of the file of weights.
        checkpoint_status: trained, imported or untrained: scores of untrained weights mean nothing.
        as_delivered: codec and quality of the rendition that was judged; None: the video itself.
        key_id: digest of the key.
        randomness: keyed, ephemeral or public.
        decode_seconds: that reading and decoding took; None where it was not decoded.
        model_seconds: that the model took, over all draws; None where it was not scored.
    """

    name: str
    score: float | None
    score_sd: float | None
    score_lower: float | None
    raw_score: float | None
    suspicion: float | None
    suspicion_reasons: tuple[str, ...] | None
    rendition_score: float | None
    upload_score: float | None
    clips: tuple[ClipScore, ...]
    warnings: tuple[str, ...]
    failure: Failure | None
    video: VideoInfo | None
    decoder: str | None
    content_sha256: str | None
    size_bytes: int | None
    checkpoint_id: str
    checkpoint_status: str
    as_delivered: str | None
    key_id: str
    randomness: str
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
