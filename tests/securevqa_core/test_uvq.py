"""UVQ 1.5 gives the published numbers, from the published files, on the pictures that its authors take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import media
import numpy as np
import pytest
import torch
from torch import Tensor

from securevqa_core import Scorer, zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.models.picture_sink import PictureSink
from securevqa_core.models.uvq import PICTURE_HEIGHT, PICTURE_WIDTH, Uvq
from securevqa_core.published import Assembled, PublishedFile, assemble, load_published
from securevqa_core.types import DecodeLimits, SamplingConfig
from securevqa_core.verification import fingerprint
from securevqa_core.weights import read, save

NETS = ("content_net", "distortion_net", "aggregation_net")
SMALL = replace(zoo.spec("uvq-1.5").sampling, picture_height=36, picture_width=64)
DRAW = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))

pytestmark = pytest.mark.usefixtures("one_thread")


def _file(name: str, state: dict[str, Any]) -> PublishedFile:
    return PublishedFile(name=name, sha256="5" * 64, size_bytes=7, state_dict=state)


@pytest.fixture(scope="module")
def imported(reference) -> Assembled:
    files = [_file(f"{net}.pth", reference.weights(f"uvq1p5_{net}")) for net in NETS]
    return assemble(files, architecture="uvq-1.5")


@pytest.mark.slow
def test_features_and_score_agree_with_published_code(reference, imported: Assembled) -> None:
    model = imported.model
    picture = torch.tanh(reference.unit_input("uvq_frame", (1, 1, 3, PICTURE_HEIGHT, PICTURE_WIDTH)))[:, 0]
    with torch.inference_mode():
        content, distortion = model.content(picture), model.distortion(picture)
        features = model.picture_features(picture)
        score = model.head(torch.empty(1, 0), features[:, None])
    assert (content.shape, distortion.shape) == ((1, 8, 8, 128), (1, 24, 24, 128))
    assert reference.error("uvq_content", content) < 1e-4
    assert reference.error("uvq_distortion_some", distortion[:, ::5, ::5]) < 1e-4
    assert reference.error("uvq_score", score) < 1e-4


def test_three_published_files_make_a_model(imported: Assembled) -> None:
    assert imported.status == "imported"
    assert [record["parts"] for record in imported.card["imported_from"]] == [(net,) for net in NETS]
    assert imported.calibration.to_score(3.0) == 50  # the middle of 1..5


def test_which_of_two_networks_a_file_holds_is_in_its_name_alone(reference) -> None:
    content = reference.weights("uvq1p5_content_net")
    with pytest.raises(
        CheckpointError, match=r"net\.pth is one of two networks .* 'content' or 'distortion'"
    ):
        load_published(zoo.build("uvq-1.5"), content, name="net.pth")
    model = zoo.build("uvq-1.5")
    assert load_published(model, content, name="DISTORTION_net.pth") == ("distortion_net",)
    assert torch.equal(model.distortion_net.features[17].conv.weight, content["features.17.conv.weight"])


def test_all_networks_in_one_file_are_told_apart_by_their_keys(reference) -> None:
    whole: dict[str, Tensor] = {}
    for net in NETS:
        for key, value in reference.weights(f"uvq1p5_{net}").items():
            whole |= {f"{net}.model.{key}": value, f"uvq1p5_core.{net}.model.{key}": value}
    assert load_published(zoo.build("uvq-1.5"), whole) == NETS
    with pytest.raises(CheckpointError, match=r"unexpected keys: stray\.weight$"):
        load_published(zoo.build("uvq-1.5"), whole | {"stray.weight": torch.zeros(1)})


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"\(k, 3, 1080, 1920\), got \(1, 3, 64, 64\)"):
        zoo.build("uvq-1.5").distortion(torch.zeros(1, 3, 64, 64))


class _Kept:
    def __init__(self) -> None:
        self.pictures: dict[int, np.ndarray] = {}

    def begin(self, num_moments: int, fps: float | None) -> None:  # noqa: ARG002 - of every sink
        self.pictures = {}

    def add(self, number: int, planes: Any) -> None:
        self.pictures[number] = np.stack(planes)


def _clip(folder: Path, size: str, seconds: float, more: str = "") -> Path:
    path = folder / "clip.mp4"
    source = f"testsrc2=size={size}:rate=10:duration={seconds}"
    media.run_ffmpeg(
        "-f", "lavfi", "-i", source, *more.split(), "-pix_fmt", "yuv420p", "-c:v", "libx264", str(path)
    )
    return path


def _request(sampling: SamplingConfig) -> DecodeRequest:
    return DecodeRequest(sampling=sampling, draws=(DRAW,), limits=DecodeLimits(timeout_seconds=200))


def test_pictures_are_those_that_ffmpeg_gives_at_their_size(tmp_path: Path) -> None:
    clip, kept = _clip(tmp_path, "320x240", 2.5), _Kept()
    extract_sample(str(clip), _request(SMALL), kept)
    assert list(kept.pictures) == [0, 10, 20]
    raw = tmp_path / "raw.rgb"
    chosen = "select='not(mod(n,10))',scale=w=64:h=36:flags=bicubic,format=rgb24"
    media.run_ffmpeg("-i", str(clip), "-vf", chosen, "-fps_mode", "passthrough", "-f", "rawvideo", str(raw))
    expected = np.frombuffer(raw.read_bytes(), np.uint8).reshape(3, 36, 64, 3)
    ours = np.stack(list(kept.pictures.values())).transpose(0, 2, 3, 1)
    assert np.abs(ours.astype(int) - expected).mean() < 1.5
    assert np.abs(ours[..., ::-1].astype(int) - expected).mean() > 20  # red is not blue


def test_upright_pictures_lie_on_their_side(tmp_path: Path) -> None:
    kept, lying = _Kept(), _Kept()
    extract_sample(str(_clip(tmp_path, "240x320", 0.2)), _request(SMALL), kept)
    turned = _clip(tmp_path, "240x320", 0.2, "-vf transpose=2")  # anticlockwise
    extract_sample(str(turned), _request(SMALL), lying)
    assert kept.pictures[0].shape == (3, 36, 64)
    ours, expected = kept.pictures[0].astype(int), lying.pictures[0]
    assert 4 * np.abs(ours - expected).mean() < np.abs(np.rot90(ours, 2, axes=(1, 2)) - expected).mean()


def test_pictures_come_through_the_decoding_process_as_decoded_here(tmp_path: Path) -> None:
    clip, kept, there = _clip(tmp_path, "320x240", 2.5), _Kept(), _Kept()
    extract_sample(str(clip), _request(SMALL), kept)
    with DecodeSandbox(DecodeLimits()) as sandbox:
        sandbox.decode(str(clip), _request(SMALL), there)
    assert list(there.pictures) == list(kept.pictures)
    assert all(np.array_equal(there.pictures[number], kept.pictures[number]) for number in kept.pictures)


def test_features_are_in_the_order_of_the_video_and_forgotten_with_the_next() -> None:
    sink = PictureSink(
        lambda picture: picture.mean(dim=(2, 3)), device=torch.device("cpu"), precision="float32"
    )
    for levels in ((0, 255, 51), (102, 102, 102)):
        sink.begin(30, 10.0)
        sink.add(10, tuple(np.full((2, 4), level, np.uint8) for level in levels))  # type: ignore[arg-type]
        sink.add(0, tuple(np.zeros((2, 4), np.uint8) for _ in range(3)))  # type: ignore[arg-type]
        expected = [-1, -1, -1, *(level / 127.5 - 1 for level in levels)]
        np.testing.assert_allclose(sink.features(), expected, atol=1e-6)
    assert sink.features().size == 0


@pytest.mark.slow
def test_a_video_is_scored_by_the_mean_of_its_pictures(tmp_path: Path, imported: Assembled) -> None:
    path = tmp_path / "uvq.safetensors"
    save(
        path,
        imported.model,
        architecture="uvq-1.5",
        status=imported.status,
        calibration=imported.calibration,
        card=imported.card,
    )
    checkpoint = read(path)
    clip, kept = _clip(tmp_path, "320x180", 1.5), _Kept()
    with Scorer(checkpoint, key=b"k" * 16) as scorer:
        scored = scorer.score(clip)
    extract_sample(str(clip), _request(zoo.spec("uvq-1.5").sampling), kept)
    model: Uvq = imported.model  # type: ignore[assignment]
    with torch.inference_mode():
        pictures = torch.from_numpy(np.stack(list(kept.pictures.values()))).float() / 127.5 - 1
        scores = model.head(torch.empty(1, 0), model.picture_features(pictures).view(1, 1, -1))
    assert scores.shape == (1, 2)
    assert scored.raw_score == pytest.approx(scores.mean().item(), abs=1e-4)
    assert 1 < scored.raw_score < 5


@pytest.mark.slow
def test_the_proof_of_a_checkpoint_runs_both_networks() -> None:
    model, sampling = zoo.build("uvq-1.5"), zoo.spec("uvq-1.5").sampling
    (before,) = fingerprint(model, sampling)
    for net in (model.content_net, model.distortion_net):
        with torch.no_grad():
            net.features[17].conv.weight.mul_(2)
        (after,) = fingerprint(model, sampling)
        assert after != before
        before = after
