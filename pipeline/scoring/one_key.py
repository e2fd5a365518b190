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
    """Say before any work that earlier rows were drawn with another key, of an unfinished run too.

    An output is scored once more with the key that is given, or goes on where it has rows of it.

    Raises:
        ConfigurationError: rows that are to count lie there, and were drawn with another key, or in the
            output with one where none is given; or rows could count for no later run.
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
    if given.randomness == "ephemeral":
        raise _refused("output", output, held, made_with, given)
    where = f"output {redact(output)!r} holds {held} with key_id {made_with['key_id']}"
    if given.key_id in {row["key_id"] for row in rows}:
        if run is not None:
            events.note(f"{where}, and rows with {given.key_id} too, which is given: these count")
        return
    events.note(
        f"{where} ({_HOW[made_with['randomness']]}), and {_given(given)}: every video is scored once more; "
        "an earlier report stays in generations/"
    )


def _is_other(made_with: Row, given: Key) -> bool:
    """Tell whether rows were drawn with another key, and not without one."""
    return made_with.get("randomness", "ephemeral") != "ephemeral" and bool(
        made_with["key_id"] != given.key_id
    )


def _given(key: Key) -> str:
    if key.randomness == "ephemeral":
        return "no key is given"
    return f"the key that is given ({_HOW[key.randomness]}) has key_id {key.key_id}"


def _refused(name: str, place: str, held: str, made_with: Row, given: Key) -> ConfigurationError:
    return ConfigurationError(
        f"{name} {redact(place)!r} holds {held} with key_id {made_with['key_id']}, and {_given(given)}: give "
        f"its key ({_HOW[made_with['randomness']]}), as with another every video would be scored once more, "
        f"or {_ELSE[name]}"
    )
