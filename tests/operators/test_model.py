"""Model stages give each video what it would be given alone, on a GPU many of them at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from operators import model
from operators.model import FusedScore, InterFeature, ModelSetup, ModelStages
from operators.schema import FEATURED, FRAGMENTED, ROW_KEY, Row, pixels_of, row_table, rows_of
from operators.stage import FAILED, SCORED
from securevqa_core import scoring, weights, zoo

SAMPLING = replace(zoo.spec("secure-vqa-compact").sampling, num_clips=1, num_segments=2)
CLIPS = (SAMPLING.num_clips, SAMPLING.clip_frames, *(SAMPLING.fragment_side,) * 2, 3)
NAMES = ["a", "failed", "b", "broken", "c"]
SIZES: list[int] = []
FETCHED: list[Any] = []  # from Ray's store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModelSetup:
    monkeypatch.setattr(model.ray, "get", lambda reference: FETCHED.append(reference) or reference)
    FETCHED.clear()
    checkpoint: Any = weights.default("secure-vqa-compact")
    return ModelSetup(checkpoint=checkpoint, sampling=SAMPLING, precision="float32", device="cpu")


def _rows() -> pa.Table:
    rng, tables = np.random.default_rng(0), []
    side = SAMPLING.segment_side
    for number, name in enumerate(NAMES):
        row: Row = {ROW_KEY: name, "video_id": name, "uri": name}
        num_draws = 1 + number % 2
        row |= {
            "fragments": rng.integers(0, 256, (num_draws, *CLIPS), dtype=np.uint8),
            "frames": rng.integers(0, 256, (20, side, side, 3), dtype=np.uint8),
            "num_looks": 1,
            "segments": np.stack([np.arange(16), np.arange(16) + 4]),
            "inter_seeds": [bytes([number, draw]) * 16 for draw in range(num_draws)],
        }
        if name == "failed":
            row |= {"status": FAILED, "stage": "decode", "error_code": "decode_failed"}
        if name == "broken":
            row["segments"] = np.full((2, 16), 99)
        tables.append(row_table(row, FRAGMENTED))
    return pa.concat_tables(tables).combine_chunks()


def _features(stage: InterFeature) -> dict[str, Row]:
    return {row[ROW_KEY]: row for table in stage(_rows()) for row in rows_of(table)}


@pytest.fixture
def is_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stage on a processor do as one on a GPU does."""
    alone = scoring._outputs

    def many(branch: Any, clips: Any, **here: Any) -> Any:
        def counted(pixels: torch.Tensor) -> torch.Tensor:
            SIZES.append(len(pixels))
            return branch(pixels)

        return alone(counted, clips, **here | {"batch_size": 3})

    monkeypatch.setattr(scoring, "_outputs", many)
    SIZES.clear()


def test_videos_share_batches_and_get_what_they_would_alone(setup: ModelSetup, request: Any) -> None:
    expected = _features(InterFeature(setup))
    assert [expected[name]["status"] for name in NAMES] == [None, FAILED, None, FAILED, None]
    request.getfixturevalue("is_batched")
    stage = InterFeature(setup)
    stage._is_batched = True
    found = _features(stage)
    assert list(found) == NAMES
    for name in NAMES:
        if expected[name]["status"] == FAILED:
            assert found[name]["error_code"] == expected[name]["error_code"]
            continue
        ours, alone = (pixels_of(one[name], "features", np.float32, -1) for one in (found, expected))
        np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-4)


def test_the_last_stage_scores_several_videos_at_once(setup: ModelSetup, request: Any) -> None:
    rows = [row for row in _features(InterFeature(setup)).values() if row["status"] != FAILED]
    table = pa.concat_tables([row_table(row, FEATURED) for row in rows]).combine_chunks()
    stage = FusedScore.__new__(FusedScore)
    InterFeature.__init__(stage, setup)  # type: ignore[arg-type]  # without the rest of a run
    stage._clean = None

    def scores() -> list[Row]:
        return list(rows_of_scores(stage, table))

    alone = scores()
    request.getfixturevalue("is_batched")
    stage._is_batched = True
    together = scores()
    assert 3 in SIZES
    assert [len(row["clip_scores"]) for row in together] == [1, 1, 1]
    for ours, expected in zip(together, alone, strict=True):
        assert ours["status"] == SCORED
        assert ours["score"] == pytest.approx(expected["score"], abs=1e-2)
        assert ours["model_seconds"] > 0


def rows_of_scores(stage: FusedScore, table: pa.Table) -> Any:
    for outcome in stage._run(table, stage._scores, stage="score", schema=model.OUTCOME):
        yield from rows_of(outcome)


class KeptScores(FusedScore):
    """The last stage without the rest of a run: it keeps what it is given, and makes scores of it."""

    def __init__(self, setup: ModelSetup) -> None:
        InterFeature.__init__(self, setup)  # type: ignore[arg-type]
        self._clean = None
        self.given: list[list[str]] = []

    def __call__(self, table: pa.Table) -> Any:
        self.given.append(table[ROW_KEY].to_pylist())
        return self._run(table, self._scores, stage="score", schema=model.OUTCOME)


def test_one_actor_does_both_stages_with_one_model(setup: ModelSetup) -> None:
    expected = {
        row[ROW_KEY]: row
        for features in InterFeature(setup)(_rows())
        for row in rows_of_scores(KeptScores(setup), features)
    }
    FETCHED.clear()
    model._loaded.cache_clear()
    stages = ModelStages(setup, last=KeptScores)
    last: Any = stages._last
    assert last._model is stages._inter._model
    assert len(FETCHED) == 1
    found = {row[ROW_KEY]: row for table in stages(_rows()) for row in rows_of(table)}
    assert last.given == [NAMES]  # all videos of a block at once, as a GPU wants them
    for name in NAMES:
        for column in ("status", "error_code", "score", "score_sd", "clip_scores"):
            assert found[name][column] == expected[name][column], (name, column)
