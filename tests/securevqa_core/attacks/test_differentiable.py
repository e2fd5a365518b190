"""Scoring as a function of frames: it is the scoring that files get, and its gradients are right."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from byhand import score_by_hand
from media import bundled_clip, run_ffmpeg, spoil_packets
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.attacks.attack import Victim
from securevqa_core.attacks.differentiable import FrameScorer, Transform
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.errors import ConfigurationError, DecodeError
from securevqa_core.randomness import Key, VideoDraw, fresh_draws, keyed_draws
from securevqa_core.types import SamplingConfig

CPU = torch.device("cpu")
DRAWS = keyed_draws(Key.public(3), "ab" * 32, 2)


def _float(clip: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(clip.astype(np.float32))


@pytest.mark.parametrize("size", ["320:180", "100:90"])  # the smaller one is enlarged to be sampled
def test_frames_score_as_the_file_they_are_decoded_from_does(
    size: str, tmp_path: Path, model: nn.Module, small_sampling: SamplingConfig
) -> None:
    path = tmp_path / "clip.mp4"
    shape = f"-vf scale={size},setsar=1 -frames:v 12 -c:v libx264rgb -preset ultrafast -qp 0 -an"
    run_ffmpeg("-i", str(bundled_clip("bikes")), *shape.split(), str(path))
    found = score_by_hand(path, model, sampling=small_sampling, draws=DRAWS)

    scorer = FrameScorer(model, small_sampling)
    frames = read_frames(path, FramesRequest(max_frames=100)).pixels
    seen = scorer.fragments(_float(frames), DRAWS[0]).numpy()
    difference = np.abs(seen - found.fragments[0].astype(np.float32))
    # Patches of frames that keep their size are the decoder's to the last bit.
    assert difference.max() <= (0 if size == "320:180" else 1)
    resized = scorer.segments(_float(frames), DRAWS[0])
    plain = found.sample.frames[found.sample.segments].astype(np.float32)
    assert np.abs(resized.numpy() - plain).mean() < small_sampling.guardian_amplitude + 0.7
    # What is left is how FFmpeg and torch round the resized frames; raw scores span several units.
    assert scorer.measure(frames, DRAWS) == pytest.approx(found.raw, abs=0.1)


def test_gradients_agree_with_finite_differences(
    model: nn.Module, small_sampling: SamplingConfig, clip: NDArray[np.uint8]
) -> None:
    smooth = FrameScorer(model, small_sampling, rounds=False)
    frames = _float(clip)
    _, slope = smooth.gradient(frames, DRAWS)
    rng = torch.Generator().manual_seed(0)
    for direction in (slope, slope.sign(), slope * torch.rand(slope.shape, generator=rng)):
        step = 0.005 * direction / float((slope * direction).double().sum())
        with torch.no_grad():
            ahead, behind = (smooth(frames + sign * step, DRAWS).double().mean() for sign in (1, -1))
        assert float(ahead - behind) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(("is_random", "times"), [(False, 1), (True, len(DRAWS))])
def test_what_is_the_same_in_every_draw_is_done_once(
    model: nn.Module, small_sampling: SamplingConfig, clip: NDArray[np.uint8], is_random: bool, times: int
) -> None:
    seen = []

    def darker(frames: Tensor, draw: VideoDraw) -> Tensor:
        seen.append(draw)
        return frames * 0.9

    scorer = FrameScorer(model, small_sampling, transforms=[Transform(apply=darker, is_random=is_random)])
    together = scorer.measure(clip, DRAWS)
    assert len(seen) == times
    assert np.array_equal(together, np.concatenate([scorer.measure(clip, (draw,)) for draw in DRAWS]))
    seen.clear()
    _, slope = scorer.gradient(_float(clip), DRAWS)
    assert len(seen) == times
    alone = [scorer.gradient(_float(clip), (draw,))[1] for draw in DRAWS]
    torch.testing.assert_close(slope, torch.stack(alone).mean(dim=0))


def test_gradients_reach_every_pixel_that_a_branch_looks_at(
    scorer: FrameScorer, clip: NDArray[np.uint8]
) -> None:
    _, slope = scorer.gradient(_float(clip), DRAWS)
    assert torch.isfinite(slope).all()
    assert (slope != 0).float().mean() > 0.9  # the inter branch sees whole frames


@pytest.mark.parametrize("amplitude", [0, 1, 4])
def test_the_guardian_map_changes_what_both_backbones_see_by_its_amplitude(
    amplitude: int, model: nn.Module, small_sampling: SamplingConfig, clip: NDArray[np.uint8]
) -> None:
    seen: dict[str, list[Tensor]] = {}
    for level in (0, amplitude):
        scorer = FrameScorer(model, replace(small_sampling, guardian_amplitude=level))
        frames = _float(np.clip(clip, 8, 247))  # where nothing is clamped
        seen.setdefault("intra", []).append(scorer.fragments(frames, DRAWS[0]))
        seen.setdefault("inter", []).append(scorer.segments(frames, DRAWS[0]))
    for plain, guarded in seen.values():
        assert ((guarded - plain).abs() == amplitude).all()
        if amplitude:
            assert abs(float((guarded > plain).float().mean()) - 0.5) < 0.02


def test_the_guardian_map_changes_the_inputs_of_both_backbones(
    model: nn.Module, small_sampling: SamplingConfig, clip: NDArray[np.uint8]
) -> None:
    """Seen from inside: hooks on the backbones themselves, with and without the map, all else equal."""
    inputs: dict[str, list[Tensor]] = {"fragments_backbone": [], "inter_backbone": []}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, given, _output, kept=kept: kept.append(given[0])
        )
        for name, kept in inputs.items()
    ]
    for amplitude in (0, 1):
        FrameScorer(model, replace(small_sampling, guardian_amplitude=amplitude)).measure(clip, DRAWS[:1])
    for hook in hooks:
        hook.remove()
    for plain, guarded in inputs.values():
        assert ((plain - guarded).abs() > 0.01).float().mean() > 0.95


def test_a_draw_is_reproducible_and_another_one_differs(scorer: FrameScorer, clip: NDArray[np.uint8]) -> None:
    first, again, other = (
        scorer.measure(clip, fresh_draws(np.random.default_rng(seed), 1)) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_in_training_mode_is_refused(model: nn.Module, small_sampling: SamplingConfig) -> None:
    part = model.get_submodule("vqa_head")
    part.train()
    try:
        with pytest.raises(ConfigurationError, match="eval mode, got vqa_head in training mode"):
            FrameScorer(model, small_sampling)
    finally:
        part.eval()


def test_frames_of_another_kind_are_refused(scorer: FrameScorer) -> None:
    with pytest.raises(
        ConfigurationError, match=r"float \(t >= 1, h, w, 3\), got torch.uint8 \(1, 4, 4, 3\)"
    ):
        scorer(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), DRAWS)
    with pytest.raises(ConfigurationError, match=r"got torch.float32 \(0, 4, 4, 3\)"):
        scorer(torch.zeros(0, 4, 4, 3), DRAWS)
    with pytest.raises(ConfigurationError, match="at least 1 draw, got 0"):
        scorer(torch.zeros(1, 4, 4, 3), ())


def test_seeds_are_in_no_repr() -> None:
    assert repr(DRAWS[0]) == "VideoDraw()"


def test_only_the_first_frames_are_read_and_high_ones_are_shrunk(videos: dict[str, Path]) -> None:
    whole = read_frames(videos["bikes_h264.mp4"], FramesRequest(max_frames=5))
    assert whole.pixels.shape[0] == 5
    assert whole.fps == pytest.approx(25, abs=10)
    small = read_frames(videos["bikes_h264.mp4"], FramesRequest(max_frames=5, max_height=32))
    assert small.pixels.shape[1] == 32


@pytest.mark.parametrize(
    ("name", "code"), [("text.mp4", "not_a_video"), ("audio_only.mp4", "no_video_stream")]
)
def test_what_scoring_refuses_is_refused(name: str, code: str, videos: dict[str, Path]) -> None:
    with pytest.raises(DecodeError) as refused:
        read_frames(videos[name], FramesRequest(max_frames=5))
    assert refused.value.code == code


def test_seconds_are_counted_in_frames_of_the_file(videos: dict[str, Path]) -> None:
    one = read_frames(videos["bikes_h264.mp4"], FramesRequest(max_frames=1))
    assert one.fps is not None
    assert len(read_frames(videos["bikes_h264.mp4"], FramesRequest(max_seconds=0.3)).pixels) == math.ceil(
        0.3 * one.fps
    )


def test_no_frames_at_all_are_refused(videos: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"max_frames must be in 1\.\.100000, got 0"):
        read_frames(videos["bikes_h264.mp4"], FramesRequest(max_frames=0))
    with pytest.raises(ConfigurationError, match=r"max_seconds must be in 0\.001\.\.86400, got -1"):
        read_frames(videos["bikes_h264.mp4"], FramesRequest(max_seconds=-1))


def test_a_file_whose_first_frame_is_broken_says_so(videos: dict[str, Path], tmp_path: Path) -> None:
    broken = spoil_packets(videos["bikes_h264.mp4"], tmp_path / "broken.mp4", list(range(10)))
    with pytest.raises(DecodeError, match="none of the first 5 frames") as refused:
        read_frames(broken, FramesRequest(max_frames=5))
    assert refused.value.code == "no_frames"


def test_draws_out_of_range_are_refused(scorer: FrameScorer) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigurationError, match=r"num_draws must be in 1\.\.4096, got 0"):
        fresh_draws(rng, 0)
    with pytest.raises(ConfigurationError, match=r"num_draws must be in 1\.\.4096, got 5000"):
        keyed_draws(Key.public(3), "ab" * 32, 5000)
    with pytest.raises(ConfigurationError, match=r"num_draws must be in 1\.\.1024, got 0"):
        Victim(scorer, known_draws=None, num_draws=0, rng=rng)
