"""Owns who takes the whole frames of a video for a model that asks for statistics of them."""

from __future__ import annotations

from securevqa_core.models.tlvqm.reader import TlvqmReader
from securevqa_core.models.videval.reader import FeatureReader, FeatureSink
from securevqa_core.types import SamplingConfig

__all__ = ["statistics_sink"]


def statistics_sink(sampling: SamplingConfig) -> FeatureSink | None:
    """Return what takes the statistics that a model asks for, None where it asks for none."""
    if not sampling.has_statistics:
        return None
    return FeatureSink(sampling, reader=TlvqmReader if sampling.statistics_tlvqm else FeatureReader)
