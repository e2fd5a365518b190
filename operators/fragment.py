"""Owns the intra-branch fragment stage: splice the patches and add the guardian map (Eqs. 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.schema import FRAGMENTED, Row, pixels_of, rows_of
from operators.stage import run_stage
from securevqa_core.fragments import splice
from securevqa_core.inputs import guarded_draws
from securevqa_core.types import SamplingConfig

__all__ = ["Fragment"]


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """patches -> fragments, uint8, each draw under a guardian map of its own."""

    sampling: SamplingConfig

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `FRAGMENTED` for every row of `SAMPLED`."""
        return run_stage(rows_of(table), self._fragment, stage="fragment", schema=FRAGMENTED)

    def _fragment(self, row: Row) -> Row:
        grid, side = self.sampling.grid_size, self.sampling.patch_side
        shape = (self.sampling.num_clips, self.sampling.clip_frames, grid, grid, side, side, 3)
        spliced = splice(pixels_of(row, "patches", np.uint8, -1, *shape))
        amplitude = self.sampling.guardian_amplitude
        return {"fragments": guarded_draws(spliced, row["intra_seeds"], amplitude=amplitude)}
