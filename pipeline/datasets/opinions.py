"""Owns the opinions of a data set's clips: which clips get one, and those that earlier calls left."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from securevqa_core.datasets.build import AS_IS, ClipRecord
from securevqa_core.datasets.folder import DatasetFolder
from securevqa_core.errors import ConfigurationError
from securevqa_core.opinions.predicted import Opinion, teacher_id
from securevqa_core.opinions.versions import DEFAULT_TEACHER

__all__ = ["Opinions", "OpinionsOf", "Rated", "rate", "read_rated"]

OpinionsOf = Literal["none", "pristine", "all"]
Rated = Mapping[str, Opinion]  # `uri` of a record -> opinion of the clip


class Teacher(Protocol):
    """Who is asked."""

    def opinion_of(self, path: Path) -> Opinion:
        """Return the opinion that people would have of a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """Which clips are given an opinion, and whose.

    Raises:
        ConfigurationError: no such clips or teacher.
    """

    of: OpinionsOf = "all"
    teacher: str = DEFAULT_TEACHER

    def __post_init__(self) -> None:
        if self.of not in get_args(OpinionsOf):
            raise ConfigurationError(
                f"opinions must be one of {', '.join(get_args(OpinionsOf))}, got {self.of!r}"
            )
        teacher_id(self.teacher)

    @property
    def teacher_id(self) -> str:
        """Return what tells this teacher from others."""
        return teacher_id(self.teacher)

    def wanted(self, records: Sequence[ClipRecord]) -> list[str]:
        """Return the `uri` of every record whose clip gets an opinion."""
        families = {"pristine", AS_IS} if self.of == "pristine" else {one.family for one in records}
        return [] if self.of == "none" else [one.uri for one in records if one.family in families]


def read_rated(
    view_id: str, records: Sequence[ClipRecord], folder: DatasetFolder, opinions: Opinions
) -> Rated | None:
    """Return the wanted opinions of a view's clips, None where one is missing."""
    wanted = opinions.wanted(records)
    kept = _kept(view_id, folder, opinions.teacher_id) if wanted else {}
    return {uri: kept[uri] for uri in wanted} if kept.keys() >= set(wanted) else None


def rate(
    view_id: str,
    records: Sequence[ClipRecord],
    folder: DatasetFolder,
    opinions: Opinions,
    teacher: Teacher,
    *,
    is_stopped: Callable[[], bool],
) -> Rated | None:
    """Return the wanted opinions of a view's clips, and keep them; None when told to stop.

    Raises:
        DatasetError: a clip cannot be decoded.
    """
    kept = _kept(view_id, folder, opinions.teacher_id)
    for uri in opinions.wanted(records):
        if is_stopped():
            return None
        if uri not in kept:
            kept[uri] = teacher.opinion_of(folder.clip(uri))
    clips = {uri: asdict(opinion) for uri, opinion in kept.items()}
    folder.write(folder.opinions(view_id), json.dumps({"teacher": opinions.teacher_id, "clips": clips}))
    return {uri: kept[uri] for uri in opinions.wanted(records)}


def _kept(view_id: str, folder: DatasetFolder, identity: str) -> dict[str, Opinion]:
    """Return the opinions of a view that earlier calls made; none where they are damaged or another's."""
    try:
        found = json.loads(folder.opinions(view_id).read_text())
        if found["teacher"] == identity:
            return {uri: Opinion(**opinion) for uri, opinion in found["clips"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # they are made again
    return {}
