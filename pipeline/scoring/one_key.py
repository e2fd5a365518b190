"""Owns that a run and the earlier rows that it looks at are drawn with one key."""

from __future__ import annotations

from operators.schema import Row
from operators.storage import redact
from pipeline.events import Events
from pipeline.runs.marks import committed_keys, shared_key
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import Key

__all__ = ["require_one_key"]

_ELSE = {
    "output": "name another output",
    "since_run": "leave it out",
    "incremental": "name another folder",
}
_HOW = {"keyed": "--key-file or SECUREVQA_KEY", "public": "--seed"}


def require_one_key(config: ScoreConfig, events: Events) -> None:
    """Refuse before any work earlier rows of another key, those of an unfinished run too.

    An output that holds rows of several keys goes on with any of them.

    Raises:
        ConfigurationError: rows that are to count lie there, and were drawn with another key; or they could
            count for no later run.
    """
    backlog, given = config.backlog, config.key
    _require_key_of_output(config, events)
    if backlog.since_run is not None:
        run = RunDirectory(backlog.since_run).read_run()
        if run is not None and _is_other(run["provenance"], given):
            raise _refused("since_run", backlog.since_run, "a run", run["provenance"], given)
    if backlog.incremental is None:
        return
    key = shared_key(RunDirectory(backlog.incremental))
    if key is not None and _is_other(key, given):
        raise _refused("incremental", backlog.incremental, "rows", key, given)
    if given.randomness == "ephemeral":
        raise ConfigurationError(
            f"incremental needs a key ({_HOW['keyed']}), as rows that are drawn without one count for no "
            f"later run; got {redact(backlog.incremental)!r}"
        )


def _require_key_of_output(config: ScoreConfig, events: Events) -> None:
    output, given = config.output, config.key
    directory = RunDirectory(output)
    run = directory.read_run()
    if run is not None and not _is_other(run["provenance"], given):
        return
    rows = committed_keys(directory) if config.backlog.incremental is None else []
    others = [row for row in rows if _is_other(row, given)]
    if run is None and not others:
        return
    made_with, held = (others[-1], "rows") if run is None else (run["provenance"], "a run")
    if given.key_id not in {row["key_id"] for row in rows}:
        raise _refused("output", output, held, made_with, given)
    if run is not None:
        events.note(
            f"output {redact(output)!r} holds {held} with key_id {made_with['key_id']}, and rows with "
            f"{given.key_id} too, which is given: these count, and the report is made of them; the other "
            "stays in generations/"
        )


def _is_other(made_with: Row, given: Key) -> bool:
    """Tell whether rows were drawn with another key, and not without one."""
    return made_with.get("randomness", "ephemeral") != "ephemeral" and made_with["key_id"] != given.key_id


def _refused(name: str, place: str, held: str, made_with: Row, given: Key) -> ConfigurationError:
    got = "no key is given"
    if given.randomness != "ephemeral":
        got = f"the key that is given ({_HOW[given.randomness]}) has key_id {given.key_id}"
    return ConfigurationError(
        f"{name} {redact(place)!r} holds {held} with key_id {made_with['key_id']}, and {got}: give its key "
        f"({_HOW[made_with['randomness']]}), as with another every video would be scored once more, or "
        f"{_ELSE[name]}"
    )
