"""Owns the table of models: what each is made of, how it samples a video, and how to build it untrained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from securevqa_core.calibration import Calibration
from securevqa_core.errors import ConfigurationError
from securevqa_core.model_names import DEFAULT_MODEL, require_model
from securevqa_core.models.convnext3d import ConvNext3dConfig
from securevqa_core.models.dover import Dover
from securevqa_core.models.efficientnet_lite import EfficientNetLite
from securevqa_core.models.fast_pathway import FAST_PATHWAY_DIM
from securevqa_core.models.fusion import ConcatenationHead, MapHead, PaperFusionHead, ReleasedFusionHead
from securevqa_core.models.motion_pathway import MotionPathway
from securevqa_core.models.nss_svr import NssSvr
from securevqa_core.models.scnn import Scnn
from securevqa_core.models.secure_vqa import FastVqa, SecureVqa
from securevqa_core.models.swin3d import Swin3dConfig
from securevqa_core.models.tlvqm.model import Tlvqm
from securevqa_core.models.uvq import PICTURE_HEIGHT, PICTURE_WIDTH, Uvq
from securevqa_core.models.videval.model import Videval
from securevqa_core.models.vsfa import MdtVsfa, Vsfa
from securevqa_core.models.vsfa_relatives import (
    Bvqa2022,
    Hvs5m,
    HvsMotion,
    TiVqa,
    VsfaFastPathway,
    VsfaMotion,
)
from securevqa_core.types import SamplingConfig

__all__ = ["DEFAULT_MODEL", "ModelSpec", "build", "names", "require_pixels", "spec"]

_UNTRAINED = Calibration(midpoint=0.0, scale=1.0)
_UNTRAINED_SHARE = Calibration(midpoint=0.5, scale=0.25)  # raw scores of 0..1: in the middle 100 times those
_UNTRAINED_STARS = Calibration(midpoint=3.0, scale=1.0)  # raw scores of 1..5: in the middle 25 points each
_UNTRAINED_OPINION = Calibration(midpoint=50.0, scale=25.0)  # raw scores in points of 100
# Whole frames alone, spread over the video; of fragments the least there can be, because none is looked at.
_WHOLE_FRAMES = SamplingConfig(
    num_clips=1,
    clip_frames=1,
    frame_interval=1,
    grid_size=1,
    patch_side=1,
    num_segments=1,
    segments_span=True,
    guardian_amplitude=0,
)
# The same where motion counts too: frames that follow each other, at eight places of the video.
_WHOLE_SEGMENTS = replace(_WHOLE_FRAMES, num_segments=8, segments_span=False)
# As many frames for a small backbone as two seconds of video need: 16, alone or in four places.
_FEW_FRAMES = replace(_WHOLE_FRAMES, segment_frames=16)
_FEW_SEGMENTS = replace(_WHOLE_SEGMENTS, num_segments=4, segment_frames=12)
# Statistics of whole frames at their own size, of which fragments and resized frames are not looked at.
_STATISTICS = replace(_WHOLE_FRAMES, segment_frames=1, segment_side=1, statistics_interval=2)
_FEWER_STATISTICS = replace(_STATISTICS, statistics_interval=0, statistics_rate=6, statistics_lines=720)
_FEWEST_STATISTICS = replace(_STATISTICS, statistics_interval=0, statistics_rate=3, statistics_lines=480)
# One picture a second.
_PICTURES = replace(
    _WHOLE_FRAMES,
    segment_frames=1,
    segment_side=1,
    picture_rate=1,
    picture_height=PICTURE_HEIGHT,
    picture_width=PICTURE_WIDTH,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One row of the zoo."""

    name: str
    description: str  # one sentence for people
    sampling: SamplingConfig  # which frames and patches the model expects
    make: Callable[[ModelSpec], nn.Module]  # builds the model with weights from torch's default generator
    swin: Swin3dConfig | None = None  # the intra backbone; None for a model without one
    num_draws: int = 1  # that a score is the mean of, where no other number is asked for
    calibration: Calibration = _UNTRAINED  # for weights that were never trained
    published_calibration: Calibration | None = None  # for the authors' checkpoint, where they have one


def names() -> tuple[str, ...]:
    """Return the names that `build` knows, in the order of the table."""
    return tuple(_ZOO)


def spec(name: str) -> ModelSpec:
    """Return what the zoo knows of a model.

    Raises:
        ConfigurationError: no such name.
    """
    require_model(name)
    return _ZOO[name]


def require_pixels(name: str, *, purpose: str) -> None:
    """Refuse a model of whole frames, read as a video is decoded, where it would be given pixels.

    Raises:
        ConfigurationError: no such name, or such a model.
    """
    if spec(name).sampling.has_statistics:
        raise ConfigurationError(
            f"model must read pixels {purpose}, got {name!r}, which reads whole frames as they are decoded"
        )


def build(name: str, *, seed: int = 0) -> nn.Module:
    """Return an untrained model in eval mode, float32, on the CPU.

    The weights depend on nothing but the arguments, and torch's global random state is left as it was.

    Raises:
        ConfigurationError: no such name, or `seed` is negative.
    """
    chosen = spec(name)
    if seed < 0:
        raise ConfigurationError(f"seed must be >= 0, got {seed}")
    # `torch.manual_seed` would also reseed the accelerators, which fork_rng is told to leave alone.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return chosen.make(chosen).float().eval()


def _paper(chosen: ModelSpec) -> nn.Module:
    swin = _swin(chosen)
    return SecureVqa(swin, PaperFusionHead(intra_dim=swin.out_dim, inter_dim=FAST_PATHWAY_DIM, dropout=0.5))


def _compact(chosen: ModelSpec, *, head: type[ConcatenationHead] = PaperFusionHead) -> nn.Module:
    swin = _swin(chosen)
    # Of 96 + 256 channels half would be too many to drop.
    made = head(intra_dim=swin.out_dim, inter_dim=FAST_PATHWAY_DIM, dropout=0.2)
    return SecureVqa(swin, made, inter=MotionPathway)


def _released(chosen: ModelSpec) -> nn.Module:
    swin = _swin(chosen)
    return SecureVqa(
        swin, ReleasedFusionHead(intra_dim=swin.out_dim, inter_dim=FAST_PATHWAY_DIM, dropout=0.5)
    )


def _fast_vqa(chosen: ModelSpec, *, dropout: float = 0.5) -> nn.Module:
    swin = _swin(chosen)
    return FastVqa(swin, MapHead(intra_dim=swin.out_dim, dropout=dropout))


def _dover(chosen: ModelSpec) -> nn.Module:
    return Dover(_swin(chosen), ConvNext3dConfig(), dropout=0.5)


def _swin(chosen: ModelSpec) -> Swin3dConfig:
    assert chosen.swin is not None
    return chosen.swin


def _published(offset: float, divisor: float) -> Calibration:
    """Return the published mapping sigmoid((s - offset) / divisor), on 0..100."""
    return Calibration(midpoint=offset, scale=divisor)


_COMPACT = ModelSpec(
    name="secure-vqa-compact",
    description="SecureVQA's parts at small cost: Swin and fast pathway on statistics of what they see.",
    # Pairs of frames, because a statistic of motion needs two, at four places of each half of the video.
    sampling=SamplingConfig(
        num_clips=2,
        clip_frames=8,
        num_temporal_fragments=4,
        frame_interval=1,
        num_segments=8,
        segment_frames=16,
        segment_side=112,
    ),
    swin=Swin3dConfig(
        stem="statistics",
        embed_dim=96,
        depths=(2,),
        num_heads=(4,),
        base_size=(8, 224, 224),
        fragment_bias_stages=(0,),
    ),
    make=_compact,
    num_draws=4,  # they cost about what decoding 540p once does, and order encodings of one video better
)
_SCNN = replace(
    _COMPACT,
    name="secure-vqa-scnn",
    description="secure-vqa-compact on larger fragments, seen by S-CNN beside their statistics.",
    # Of 224 pixels a side as before; each pair of frames has offsets of its own, to see more of the picture.
    sampling=replace(_COMPACT.sampling, grid_size=4, patch_side=56, aligned_frames=2),
    swin=Swin3dConfig(
        stem="distortions",
        embed_dim=96,
        depths=(2,),
        num_heads=(4,),
        window_size=(4, 4, 4),
        base_size=(8, 224, 224),
        fragment_bias_stages=(0,),
        fragment_grid=4,
    ),
)
# Models of whole frames: name, frames, scale of an untrained one, network, what it is.
_OF_WHOLE_FRAMES: tuple[
    tuple[str, SamplingConfig, Calibration, Callable[[ModelSpec], nn.Module], str], ...
] = (
    (
        "vsfa", _WHOLE_FRAMES, _UNTRAINED, lambda _: Vsfa(),
        "VSFA: ResNet-50 on whole frames, a recurrent network, temporal pooling.",
    ),
    (
        "mdtvsfa", _WHOLE_FRAMES, _UNTRAINED_SHARE, lambda _: MdtVsfa(),
        "MDTVSFA: VSFA, bounded and mapped to perceptual quality, for mixed training data.",
    ),
    (
        "tivqa", _WHOLE_FRAMES, _UNTRAINED, lambda _: TiVqa(),
        "TiVQA: VSFA on whole frames and on their texture, local binary patterns.",
    ),
    (
        "bvqa-2022", _WHOLE_SEGMENTS, _UNTRAINED_SHARE, lambda _: Bvqa2022(),
        "BVQA-2022: MDTVSFA with a ResNet-50 of image quality, and the fast pathway beside it.",
    ),
    (
        "vsfa-temporal", _WHOLE_SEGMENTS, _UNTRAINED, lambda _: VsfaFastPathway(),
        "VSFA behind the paper's temporal information: ResNet-50 of objects, and the fast pathway.",
    ),
    (
        "hvs-5m", _WHOLE_SEGMENTS, _UNTRAINED, lambda _: Hvs5m(),
        "HVS-5M: ConvNeXt on content and edges, weighted by saliency, and the fast pathway.",
    ),
    (
        "vsfa-lite", _FEW_FRAMES, _UNTRAINED, lambda _: Vsfa(EfficientNetLite()),
        "VSFA on 16 frames with EfficientNet-Lite0 in place of ResNet-50.",
    ),
    (
        "vsfa-scnn", _FEW_FRAMES, _UNTRAINED, lambda _: Vsfa(Scnn()),
        "VSFA on 16 frames with S-CNN, which knows distortions, in place of ResNet-50.",
    ),
    (
        "mdtvsfa-lite", _FEW_FRAMES, _UNTRAINED_SHARE, lambda _: MdtVsfa(EfficientNetLite()),
        "MDTVSFA on 16 frames with EfficientNet-Lite0 in place of ResNet-50.",
    ),
    (
        "tivqa-lite", _FEW_FRAMES, _UNTRAINED, lambda _: TiVqa(EfficientNetLite()),
        "TiVQA on 16 frames and their texture, with EfficientNet-Lite0 in place of ResNet-50.",
    ),
    (
        "vsfa-temporal-lite", _FEW_SEGMENTS, _UNTRAINED, lambda _: VsfaMotion(EfficientNetLite()),
        "VSFA with EfficientNet-Lite0 in place of ResNet-50, and this project's motion pathway "
        "in place of SlowFast's.",
    ),
    (
        "hvs-5m-lite", _FEW_SEGMENTS, _UNTRAINED, lambda _: HvsMotion(EfficientNetLite()),
        "HVS-5M with EfficientNet-Lite0 in place of ConvNeXt-XL, and this project's motion "
        "pathway in place of SlowFast's.",
    ),
    (
        "videval", _STATISTICS, _UNTRAINED_OPINION, lambda _: Videval(),
        "VIDEVAL: sixty statistics of whole frames, every second one, and support vector regression.",
    ),
    (
        "videval-720p", _FEWER_STATISTICS, _UNTRAINED_OPINION, lambda _: Videval(),
        "VIDEVAL on six frames a second, at most 720 lines.",
    ),
    (
        "videval-480p", _FEWEST_STATISTICS, _UNTRAINED_OPINION, lambda _: Videval(),
        "VIDEVAL on three frames a second, at most 480 lines.",
    ),
    (
        "uvq-1.5", _PICTURES, _UNTRAINED_STARS, lambda _: Uvq(),
        "UVQ 1.5: what a picture shows, and what was done to it, by two EfficientNets.",
    ),
    (
        "tlvqm", replace(_STATISTICS, statistics_tlvqm=True), _UNTRAINED_OPINION, lambda _: Tlvqm(),
        "TLVQM: 75 statistics of motion and of pictures, and support vector regression; to be trained.",
    ),
)  # fmt: skip
_SPECS = (
    _COMPACT,
    replace(
        _COMPACT,
        name="secure-vqa-compact-concatenation",
        description="secure-vqa-compact without fusion, its branches side by side: the paper's Table VIII.",
        make=functools.partial(_compact, head=ConcatenationHead),
    ),
    *(
        replace(
            _COMPACT,
            name=f"secure-vqa-compact-guardian-{amplitude}",
            description=f"secure-vqa-compact with a guardian map of {amplitude} levels in place of one.",
            sampling=replace(_COMPACT.sampling, guardian_amplitude=amplitude),
        )
        for amplitude in (2, 4, 8)
    ),
    replace(
        _COMPACT,
        name="secure-vqa-compact-intra",
        description="secure-vqa-compact's intra branch alone: the paper's Table IX.",
        sampling=replace(_COMPACT.sampling, num_segments=0),
        make=functools.partial(_fast_vqa, dropout=0.2),
    ),
    _SCNN,
    ModelSpec(
        name="nss-svr",
        description="The baseline: 42 natural scene statistics and support vector regression, no network.",
        sampling=SamplingConfig(
            num_clips=1,
            clip_frames=6,
            num_temporal_fragments=3,
            frame_interval=1,
            num_segments=0,
            guardian_amplitude=0,
        ),
        make=lambda chosen: NssSvr(grid_size=chosen.sampling.grid_size),
    ),
    ModelSpec(
        name="secure-vqa",
        description="SecureVQA as the paper describes it.",
        sampling=SamplingConfig(),
        swin=Swin3dConfig(),
        make=_paper,
    ),
    ModelSpec(
        name="secure-vqa-released",
        description="SecureVQA with the fusion head of the authors' published code.",
        sampling=SamplingConfig(),
        swin=Swin3dConfig(),
        make=_released,
    ),
    ModelSpec(
        name="fast-vqa",
        description="FAST-VQA-B: fragments and Swin-T with gated relative position bias.",
        sampling=SamplingConfig(num_segments=0, guardian_amplitude=0),
        swin=Swin3dConfig(),
        make=_fast_vqa,
        published_calibration=_published(-0.110198185, 0.04178565),
    ),
    ModelSpec(
        name="fast-vqa-m",
        description="FAST-VQA-M: 4 x 4 fragments of 16 frames, small windows, no fragment bias.",
        sampling=SamplingConfig(
            grid_size=4, clip_frames=16, aligned_frames=8, num_segments=0, guardian_amplitude=0
        ),
        # An input of 16 x 128 x 128 then runs with windows of 2 x 2 x 2, as the published weights did.
        swin=Swin3dConfig(window_size=(4, 4, 4), fragment_bias_stages=(), fragment_grid=4),
        make=_fast_vqa,
        published_calibration=_published(0.023889644, 0.030781006),
    ),
    ModelSpec(
        name="faster-vqa",
        description="FasterVQA: one clip of 8 temporal fragments of 4 frames, aligned in groups of 8 frames.",
        sampling=SamplingConfig(
            num_clips=1, num_temporal_fragments=8, aligned_frames=8, num_segments=0, guardian_amplitude=0
        ),
        swin=Swin3dConfig(),
        make=_fast_vqa,
        published_calibration=_published(0.14759505, 0.03613452),
    ),
    ModelSpec(
        name="dover",
        description="DOVER: a technical score from fragments and an aesthetic one from whole frames, fused.",
        sampling=SamplingConfig(num_clips=3, num_segments=1, segments_span=True, guardian_amplitude=0),
        # A base of one frame and one pixel: its window never shrinks, however small the input.
        swin=Swin3dConfig(base_size=(1, 1, 1)),
        make=_dover,
        published_calibration=_published(0.0, 1.0),  # the fused score is standardised already
    ),
    *(
        ModelSpec(name=name, description=words, sampling=sampling, make=make, calibration=calibration)
        for name, sampling, calibration, make, words in _OF_WHOLE_FRAMES
    ),
)
_ZOO = {row.name: row for row in _SPECS}
