"""`--decoder` decides which backend reads, and counts as a setting."""

from __future__ import annotations

import pytest

from pipeline.commands.options import ScoreOptions
from pipeline.scoring.config import ScoreConfig
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import Key
from securevqa_core.types import SamplingConfig


def _config(**options: str) -> ScoreConfig:
    return ScoreOptions(**options).config(  # type: ignore[arg-type]
        manifest="m.csv", output="out", key=Key.public(0), model=None, checkpoint=None
    )


def test_the_decoder_reaches_the_settings_and_their_digest() -> None:
    assert _config().decoder == "auto"
    configs = [_config(decoder=name) for name in ("auto", "pyav", "decord")]
    assert [config.public_settings()["decoder"] for config in configs] == ["auto", "pyav", "decord"]
    assert len({config.config_id(SamplingConfig()) for config in configs}) == 3


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="decoder must be one of auto, pyav, decord, got 'nvdec'"):
        _config(decoder="nvdec")
