"""The forward pass is measured as it runs: the same score whatever the batch, its operations counted."""

from __future__ import annotations

import pytest
import torch

from pipeline.bench.model import forwards, peak_flops
from securevqa_core.errors import ConfigurationError

DEVICE = torch.device("cpu")


@pytest.mark.slow
def test_every_precision_and_batch_is_a_row_of_the_same_score() -> None:
    told: list[str] = []
    rows = list(
        forwards(("secure-vqa-compact",), ("float32", "bfloat16"), (1, 3), device="cpu", told=told.append)
    )
    assert [(row.precision, row.batch) for row in rows] == [
        ("float32", 1), ("float32", 3), ("bfloat16", 1), ("bfloat16", 3),
    ]  # fmt: skip
    assert told[0] == "secure-vqa-compact, float32, 1"
    for row in rows:
        assert 0 < row.seconds < 60
        assert 0 < row.share_of_peak < 1
        assert row.flops == rows[0].flops > 1e8
        assert 100e6 < row.memory_bytes < 4e9
        assert row.videos_per_second == 1 / row.seconds
    assert rows[0].points == 0
    assert rows[1].points < 0.01  # of a batch
    assert 0 < rows[2].points < 1  # in half the digits


def test_the_peak_is_that_of_a_product_of_matrices() -> None:
    assert 1e8 < peak_flops(DEVICE, "float32") < 1e13


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"to be measured alone, got 'uvq-1\.5'"):
        next(forwards(("uvq-1.5",), ("float32",), (1,), device="cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="got 'cuda' and no GPU"):
            next(forwards(("nss-svr",), ("float32",), (1,), device="cuda"))
