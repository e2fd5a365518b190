"""Owns an evaluation from labelled videos to its files: scoring every contestant, comparing, writing.

OUTPUT/
  manifest.parquet     the rows that are looked at, where videos are scored
  runs/NAME/           the run directory of each contestant that is scored
  evaluation.json      the comparison
  scatter.png  residuals.png
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage import join
from pipeline.evaluation.compare import Comparison, compare
from pipeline.evaluation.plots import residuals_png, scatter_png
from pipeline.evaluation.scored import Scored, read_scored
from pipeline.events import Events
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.score import score
from pipeline.training.config import CHECKPOINT_FILE
from securevqa_core import zoo

__all__ = [
    "Contestant",
    "contestants",
    "evaluate_runs",
    "named_runs",
    "score_contestants",
]

MANIFEST_NAME = "manifest.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """What scores a run of the evaluation."""

    name: str
    model: str | None = None
    checkpoint: str | None = None


def contestants(models: Sequence[str], checkpoints: Sequence[str]) -> list[Contestant]:
    """Return one contestant a model and a checkpoint, the default where there are none; names are unique.

    Raises:
        ConfigurationError: no such model.
    """
    for model in models:
        zoo.spec(model)
    entrants = [Contestant(name=model, model=model) for model in models]
    entrants += [Contestant(name=_checkpoint_name(one), checkpoint=one) for one in checkpoints]
    entrants = entrants or [Contestant(name=zoo.DEFAULT_MODEL)]
    names = _unique([one.name for one in entrants])
    return [replace(one, name=name) for one, name in zip(entrants, names, strict=True)]


def named_runs(uris: Sequence[str], *, taken: Sequence[str] = ()) -> dict[str, RunDirectory]:
    """Return finished runs by the names of their folders, made unique among themselves and `taken`."""
    names = _unique([*taken, *(_stem(uri) for uri in uris)])[len(taken) :]
    return {name: RunDirectory(uri) for name, uri in zip(names, uris, strict=True)}


def score_contestants(
    table: pa.Table,
    entered: Sequence[Contestant],
    directory: RunDirectory,
    *,
    configure: Callable[[Contestant, str, str], ScoreConfig],
    events: Events,
) -> dict[str, RunDirectory]:
    """Score a table with every contestant, each into its own run directory; what is finished is kept.

    Args:
        table: of `read_labelled`.
        entered: who scores.
        directory: of the evaluation.
        configure: (contestant, manifest, output) -> settings of its run.
        events: say what goes on.

    Returns:
        The finished runs by name.
    """
    directory.require_writable()
    content = io.BytesIO()
    pq.write_table(table, content)
    directory.write_file(content.getvalue(), MANIFEST_NAME)
    finished = {}
    for one in entered:
        output = join(directory.uri, f"runs/{one.name}")
        events.note(f"scoring with {one.name}")
        score(configure(one, join(directory.uri, MANIFEST_NAME), output), events=events)
        finished[one.name] = RunDirectory(output)
    return finished


def evaluate_runs(
    runs: dict[str, RunDirectory],
    settings: EvaluationSettings,
    directory: RunDirectory,
    *,
    late_labels: Mapping[str, pa.Table] | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Comparison:
    """Compare finished runs with their labels and write the evaluation's files.

    Args:
        runs: by name.
        settings: which rows count, how they are grouped, and what their labels are.
        directory: of the evaluation.
        late_labels: by name of a run, where its report does not hold them: of `read_late_labels`.
        tell: as of `read_scored`.

    Raises:
        OutputError: a run is not finished, or the files cannot be written.
        ManifestError: a column is missing, or a label breaks a rule.
        UndefinedError: no row is left to compare.
    """
    directory.require_writable()
    scored: list[Scored] = []
    told: set[str] = set()

    for name, run in runs.items():
        labels = (late_labels or {}).get(name)
        say = _once(tell, told, before=f"{name}: " if scored else "")
        scored.append(read_scored(name, run, settings, labels=labels, tell=say))
        settings = replace(settings, label_range=scored[0].label_range)  # one scale for all
    comparison = compare(scored, settings)
    name = scored[0].label_name
    for picture, draw in (("scatter.png", scatter_png), ("residuals.png", residuals_png)):
        directory.write_file(
            draw(comparison.scores, comparison.labels, comparison.curves, label_name=name), picture
        )
    directory.write_json(comparison.record, "evaluation.json")
    return comparison


def _once(tell: Callable[[str], None], told: set[str], *, before: str) -> Callable[[str], None]:
    """Return what tells a line with a text before it, unless the same was told of an earlier run."""

    def say(line: str) -> None:
        if line not in told:
            told.add(line)
            tell(f"{before}{line}")

    return say


def _checkpoint_name(uri: str) -> str:
    """Return the name of a file, or of its folder where it has the name that training gives to each."""
    folder, _, file = uri.rpartition("/")
    place = folder.rstrip("/").rpartition("/")[2]
    return place if file == CHECKPOINT_FILE and place not in {"", ".", ".."} else _stem(uri)


def _stem(uri: str) -> str:
    name = uri.rstrip("/").rpartition("/")[2]
    return name.removesuffix(".safetensors") or "run"


def _unique(names: Sequence[str]) -> list[str]:
    """Return names with -2, -3, ... added where one came before."""
    taken: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.append(candidate)
    return taken
