"""`securevqa` with a stub for its decode stage: one video decoded once stands for many, others are absent.

A file that is called `killer` takes down the worker that decodes it.

python -c "import stubbed; stubbed.main()" VIDEO EVERY score MANIFEST ...
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from operators.decode import Decode
from operators.fetch import FetchAttemptError
from operators.schema import Row
from pipeline import cli
from pipeline.scoring import run, score

_decoded: dict[str, Row] = {}  # in this worker


@dataclass(frozen=True, kw_only=True)
class StubDecode(Decode):
    """Takes every so many files, which have numbers for names, for `video`, and fails for the others."""

    video: str
    every: int

    def _sample(self, row: Row) -> Row:
        if Path(row["uri"]).stem == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        if int(Path(row["uri"]).stem) % self.every:
            raise FetchAttemptError("fetch_not_found", "a stub", 1)
        if self.video not in _decoded:
            _decoded[self.video] = super()._sample({"uri": self.video})
        return _decoded[self.video]


def main() -> None:
    """Run `securevqa` with what follows the video and the number."""
    _, video, every, *arguments = sys.argv
    vars(score)["runs_here"] = lambda *_: False  # the stub is for Ray's workers
    vars(run)["Decode"] = functools.partial(StubDecode, video=video, every=int(every))
    sys.argv = ["securevqa", *arguments]
    cli.main()
