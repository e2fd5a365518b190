"""A checkpoint is verified by its digest and by its scores of an input that every machine has."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from securevqa_core import weights, zoo
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.verification import FINGERPRINT, fingerprint, verify

NAME = "secure-vqa-compact"
Make = Callable[..., bytes]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return zoo.build(NAME, seed=7)


@pytest.fixture(scope="module")
def scores(model: nn.Module) -> tuple[float, ...]:
    return fingerprint(model, zoo.spec(NAME).sampling)


@pytest.fixture
def content(tmp_path: Path, model: nn.Module) -> Make:
    """Makes the bytes of a checkpoint with a card."""

    def make(**card: object) -> bytes:
        path = tmp_path / "model.safetensors"
        spec = zoo.spec(NAME)
        weights.save(
            path, model, architecture=NAME, calibration=spec.calibration, status="untrained", card=card
        )
        return path.read_bytes()

    return make


def test_fingerprint_is_one_score_a_position_and_follows_the_weights_alone(
    model: nn.Module, scores: tuple[float, ...]
) -> None:
    sampling = zoo.spec(NAME).sampling
    assert len(scores) == sampling.clip_frames // 2
    assert len(set(scores)) > 1
    torch.rand(3)  # other random state
    assert fingerprint(model, sampling) == scores
    assert fingerprint(zoo.build(NAME, seed=8), sampling) != scores


def test_what_was_recorded_is_found_again(content: Make, scores: tuple[float, ...]) -> None:
    data = content(**{FINGERPRINT: list(scores)})
    sha256 = hashlib.sha256(data).hexdigest()
    for digest in (None, sha256, sha256[:16].upper(), weights.read(data).checkpoint_id):
        found = verify(data, name="m", digest=digest)
        assert (found.sha256, found.scores, found.difference) == (sha256, scores, 0)
        assert found.checkpoint.architecture == NAME


def test_other_rounding_is_tolerated_and_other_weights_are_not(
    content: Make, scores: tuple[float, ...]
) -> None:
    rounded = [score * (1 + 1e-5) for score in scores]
    found = verify(content(**{FINGERPRINT: rounded}), name="m")
    assert found.difference == pytest.approx(1e-5, rel=0.1)
    wrong = [*scores[:-1], scores[-1] + 1e-3 * max(map(abs, scores))]
    with pytest.raises(
        CheckpointError, match=rf"m scores .* here, and .*{wrong[-1]}.* 0\.0001 of the largest"
    ):
        verify(content(**{FINGERPRINT: wrong}), name="m")


def test_a_card_without_scores_has_nothing_to_compare(content: Make, scores: tuple[float, ...]) -> None:
    found = verify(content(), name="m")
    assert (found.scores, found.difference) == (scores, None)


@pytest.mark.parametrize("odd", ["1", True, [], None])
def test_a_card_with_other_than_scores_is_refused(
    content: Make, scores: tuple[float, ...], odd: object
) -> None:
    for recorded in (odd or "high", [odd] * len(scores), [*scores, 1.5]):
        message = rf"m has fingerprint {re.escape(repr(recorded))} in its card, not {len(scores)} numbers"
        with pytest.raises(CheckpointError, match=message):
            verify(content(**{FINGERPRINT: recorded}), name="m")


def test_scores_in_a_card_that_are_not_finite_are_refused(content: Make, scores: tuple[float, ...]) -> None:
    data = content(**{FINGERPRINT: [1.5] * len(scores)})
    spoiled = data.replace(b"1.5", b"NaN")
    assert len(spoiled) == len(data)
    with pytest.raises(CheckpointError, match="m is damaged"):
        verify(spoiled, name="m")
    version = b'\\"format_version\\": 2'
    assert version in spoiled
    spoiled = spoiled.replace(version, version.replace(b"2", b"1"))  # as if it had no digest
    with pytest.raises(CheckpointError, match=rf"nan.*not {len(scores)} numbers"):
        verify(spoiled, name="m")


def test_another_digest_is_refused_and_so_is_what_is_none(content: Make) -> None:
    data = content()
    found = hashlib.sha256(data).hexdigest()
    with pytest.raises(CheckpointError, match=f"m has SHA-256 {found}, not {'0' * 64}"):
        verify(data, name="m", digest="0" * 64)
    for wrong in ("0" * 15, "0" * 65, "g" * 64, f"fast-vqa-{'0' * 16}"):
        with pytest.raises(ConfigurationError, match=f"got '{wrong}'"):
            verify(data, name="m", digest=wrong)


def test_damaged_and_foreign_weights_are_refused(content: Make) -> None:
    data = content()
    with pytest.raises(CheckpointError, match="m is not a safetensors file"):
        verify(data[:-1], name="m")
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    (start, _) = header["vqa_head.fc_last.bias"]["data_offsets"]
    at = 8 + length + start
    with pytest.raises(CheckpointError, match=r"not finite: vqa_head\.fc_last\.bias"):
        verify(data[:at] + b"\xff" * 4 + data[at + 4 :], name="m")


def test_scores_that_overflow_are_refused() -> None:
    spoiled = zoo.build(NAME)
    with torch.no_grad():
        spoiled.vqa_head.fc_last.weight.fill_(3e38)
        spoiled.vqa_head.fc_last.bias.fill_(3e38)
        spoiled.vqa_head.fc_hid.bias.fill_(1e3)
    with pytest.raises(CheckpointError, match=r"must be finite, got \[inf"):
        fingerprint(spoiled, zoo.spec(NAME).sampling)
