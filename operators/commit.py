"""Owns how Ray Data's checkpoint is used: its commits, but not its filter.

A module of its own, as Ray imports it in every worker, and decoders have no use for the networks' libraries.
"""

from __future__ import annotations

from typing import Any

from ray.data.checkpoint.checkpoint_filter import CheckpointManager

__all__ = ["CommittedElsewhere"]


class CommittedElsewhere(CheckpointManager):
    """Cleans up after interrupted commits, but filters nothing: the driver reads only what is left to do.

    Ray's own filter is an actor pool that takes a CPU and a gigabyte, and would find nothing.
    """

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: Any = None
    ) -> tuple[None, int]:
        """Clean up; report nothing to filter."""
        self._clean_pending_checkpoints(data_file_dir, data_file_filesystem)
        return None, 0
