"""Owns that a run and the earlier rows that it looks at are drawn with one key."""

from __future__ import annotations

from operators.schema import Row
from operators.storage import redact
from pipeline.events import Events
from pipeline.runs.marks import shared_key
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import Key

__all__ = ["require_one_key"]

_HELD = {"output": "a run", "since_run": "a run", "incremental": "rows"}
_ELSE = {
    "output": "name another output",
    "since_run": "leave it out",
    "incremental": "name another folder",
}
_HOW = {"keyed": "--key-file or SECUREVQA_KEY", "public": "--seed"}


def require_one_key(config: ScoreConfig, events: Events) -> None:
    """Say before any work that earlier rows were drawn with another key, where they are looked at.

    Raises:
        ConfigurationError: rows that are to count lie there, and were drawn with another key; or they could
            count for no later run.
    """
    backlog, given = config.backlog, config.key
    for name, place in (("output", config.output), ("since_run", backlog.since_run)):
        run = None if place is None else RunDirectory(place).read_run()
        if run is not None:
            _compare_keys(name, str(place), run["provenance"], given=given, events=events)
    if backlog.incremental is None:
        return
    if (key := shared_key(RunDirectory(backlog.incremental))) is not None:
        _compare_keys("incremental", backlog.incremental, key, given=given, events=events)
    if given.randomness == "ephemeral":
        raise ConfigurationError(
            f"incremental needs a key ({_HOW['keyed']}), as rows that are drawn without one count for no "
            f"later run; got {redact(backlog.incremental)!r}"
        )


def _compare_keys(name: str, place: str, made_with: Row, *, given: Key, events: Events) -> None:
    randomness, key_id = made_with.get("randomness", "ephemeral"), made_with.get("key_id")
    if randomness == "ephemeral" or key_id == given.key_id:
        return
    held = f"{name} {redact(place)!r} holds {_HELD[name]} with key_id {key_id}"
    if name == "output" and given.randomness != "ephemeral":
        events.note(
            f"{held}, and this is {given.key_id}: every video is scored once more; the report stays in "
            "generations/"
        )
        return
    raise ConfigurationError(
        f"{held}: give its key ({_HOW[randomness]}), as with another every video would be scored once more, "
        f"or {_ELSE[name]}"
    )
