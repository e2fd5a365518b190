"""Owns one video in the attack lab: its frames, its clean scores, and what an attack makes of it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from operators.fetch import fetch
from operators.schema import Row
from operators.storage import redact
from pipeline.lab.config import AttackRunConfig, LoadedTarget
from pipeline.lab.pictures import difference_png
from securevqa_core.attacks.attack import Attacked, Victim
from securevqa_core.attacks.codecs import through_h264, write_lossless
from securevqa_core.attacks.edits import ORDERS
from securevqa_core.attacks.measures import distortion
from securevqa_core.attacks.perceived import perceived_loss
from securevqa_core.attacks.run import run_attack
from securevqa_core.datasets.vmaf import Vmaf
from securevqa_core.decoding.frames import FramesRequest, WholeFrames, kept_frames
from securevqa_core.decoding.sandbox import sandbox_of_thread
from securevqa_core.defences import certified_range, noise_sd
from securevqa_core.errors import OutputError, UndefinedError, VideoError
from securevqa_core.randomness import Key, VideoDraw, fresh_draws, keyed_draws

__all__ = ["VMAF_NAMES", "KeptPictures", "Lab"]

_MAX_BYTES, _FETCH_SECONDS = 20 << 30, 600.0
_FAILED = "failed"
VMAF_NAMES = tuple(Vmaf.__slots__)
Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPictures:
    """Where the pictures of an attacked video go; None: nowhere."""

    lossless: Path | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lab:
    """A loaded target and an attacker, for one video after the other."""

    config: AttackRunConfig
    target: LoadedTarget
    surrogate: LoadedTarget | None  # what the attacker has in place of the target

    def clean_row(self, uri: str) -> Row:
        """Score a video as it is, twice; one that cannot be read is a row that says so."""
        try:
            video, digest = self._read(uri)
        except VideoError as error:
            return _failed(error)
        rng = self._rng(digest, 0)
        raw, score = self._scored(video.pixels, self._own_draws(digest))
        return {
            "status": "scored",
            "content_sha256": digest,
            "num_frames": len(video.pixels),
            "height": video.pixels.shape[1],
            "width": video.pixels.shape[2],
            "raw_clean": raw,
            "score_clean": score,
            "score_clean_again": self._scored(video.pixels, fresh_draws(rng, self.config.num_draws))[1],
        }

    def attacked_row(
        self, uri: str, clean: Row, *, goal: float | None, tile: Tensor | None, kept: KeptPictures
    ) -> Row:
        """Attack a video that `clean_row` scored; return what to add to that row."""
        started = time.perf_counter()
        try:
            video, digest = self._read(uri)
        except VideoError as error:
            return _failed(error)
        if digest != clean["content_sha256"]:
            raise OutputError(
                f"output {str(self.config.output)!r} has the clean score of another file at {redact(uri)!r}; "
                "attack this one in a new output"
            )
        rng = self._rng(digest, 1)
        attacked = self.victim(rng, digest=digest, of_surrogate=True)
        outcome = run_attack(video.pixels, attacked, self.config.attack, rng=rng, goal=goal, tile=tile)
        judge = self.victim(rng, digest=digest)
        raw, score = self._scored(outcome.frames, judge.draws_of(outcome.frames))
        return {
            "status": "attacked",
            "raw_attacked": raw,
            "score_attacked": score,
            "goal": None if goal is None else float(self.target.checkpoint.calibration.to_score(goal)),
            **_distortion(video.pixels, outcome.frames),
            **self._perceived(video.pixels, outcome.frames),
            **self._after_codecs(video.pixels, outcome.frames, judge),
            **self._certified(video.pixels, digest, num_queries=outcome.num_queries),
            **self._keep(video, outcome, kept, scores=(clean["score_clean"], score)),
            "num_gradients": outcome.num_gradients,
            "num_queries": outcome.num_queries,
            "seconds": time.perf_counter() - started,
        }

    def victim(self, rng: np.random.Generator, *, digest: str | None, of_surrogate: bool = False) -> Victim:
        """Return the target, or what the attacker has in its place, under the regime.

        Args:
            rng: where fresh draws come from.
            digest: of the video whose draws may be known; None: of several.
            of_surrogate: whether the surrogate is meant, where there is one.
        """
        regime = self.config.regime
        loaded = self.surrogate if of_surrogate and self.surrogate is not None else self.target
        return Victim(
            loaded.scorer,
            known_draws=self._own_draws(digest) if regime == "key" and digest is not None else None,
            num_draws=self.config.num_draws,
            rng=rng,
            key=Key.public(self.config.seed) if regime == "replay" else None,
            held_from=self.config.attack.held_from,
        )

    def frames(self, uri: str) -> Frames:
        """Return the frames that are attacked.

        Raises:
            VideoError: they cannot be read.
        """
        return self._read(uri)[0].pixels

    def _read(self, uri: str) -> tuple[WholeFrames, str]:
        with tempfile.TemporaryFile() as target:
            fetched = fetch(uri, target, max_bytes=_MAX_BYTES, timeout_seconds=_FETCH_SECONDS)
            request = FramesRequest(max_seconds=self.config.seconds, max_height=self.config.max_height)
            sandbox, file = sandbox_of_thread(request.limits), target.fileno()
            video = kept_frames(lambda sink: sandbox.frames(file, request, sink))
        return video, fetched.content_sha256

    def _own_draws(self, digest: str) -> tuple[VideoDraw, ...]:
        return keyed_draws(Key.public(self.config.seed), digest, self.config.num_draws)

    def _rng(self, digest: str, phase: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, int(digest[:16], 16), phase])

    def _scored(self, frames: Frames, draws: tuple[VideoDraw, ...]) -> tuple[float, float]:
        """Return the raw score of a video and its score in points."""
        scorer = self.target.scorer
        raw = scorer.measure(frames, draws).mean(axis=1)
        points = np.asarray(self.target.checkpoint.calibration.to_score(raw))
        return scorer.pool(raw), scorer.pool(points)

    def _after_codecs(self, clean: Frames, attacked: Frames, judge: Victim) -> dict[str, float]:
        """Return the scores of both videos after x264 at each rate."""
        scores = {}
        for crf in self.config.codec_crfs:
            for name, frames in (("clean", clean), ("attacked", attacked)):
                encoded = through_h264(frames, crf=crf)
                scores[f"score_{name}_crf{crf}"] = self._scored(encoded, judge.draws_of(encoded))[1]
        return scores

    def _certified(self, clean: Frames, digest: str, *, num_queries: int) -> dict[str, float | None]:
        """Return the range of scores under a perturbation of the attack's size, where that is certified.

        Where a file's draws stay its own, the attacker keeps the best of all the files it asked about.
        Nothing is certified of edits in time, which have no size, or of noise that the attacker knows.
        """
        sd = noise_sd(self.config.target.defences)
        if sd is None or self.config.attack.attack in ORDERS or self.config.regime == "key":
            return {}
        raw = self.target.scorer.measure(clean, self._own_draws(digest)).mean(axis=1)
        points = np.asarray(self.target.checkpoint.calibration.to_score(raw))
        radius = self.config.attack.epsilon * float(clean.size) ** 0.5
        num_scorings = 1 + (num_queries if self.config.regime == "replay" else 0)
        low, high = certified_range(points, noise_sd=sd, radius_l2=radius, num_scorings=num_scorings)
        return {"certified_low": low, "certified_high": high}

    def _perceived(self, clean: Frames, attacked: Frames) -> dict[str, float | None]:
        if not self.config.measures_vmaf:
            return {}
        try:
            return asdict(perceived_loss(clean, attacked))
        except UndefinedError:
            return dict.fromkeys(VMAF_NAMES)

    def _keep(
        self, video: WholeFrames, outcome: Attacked, kept: KeptPictures, *, scores: tuple[float, float]
    ) -> Row:
        """Write what is to be kept; return where the video lies, relative to the output."""
        if kept.picture is not None and outcome.frames.shape == video.pixels.shape:
            kept.picture.write_bytes(difference_png(video.pixels[0], outcome.frames[0], scores=scores))
        if kept.lossless is None:
            return {}
        kept.lossless.parent.mkdir(parents=True, exist_ok=True)
        write_lossless(kept.lossless, outcome.frames, fps=video.fps)
        return {"attacked_uri": str(kept.lossless.relative_to(self.config.output))}


def _failed(error: VideoError) -> Row:
    return {"status": _FAILED, "error_code": error.code, "error_message": str(error)}


def _distortion(clean: Frames, attacked: Frames) -> dict[str, Any]:
    try:
        return asdict(distortion(clean, attacked))
    except UndefinedError:
        return {"l2": None, "linf": None, "psnr": None, "ssim": None}
