"""Owns the options that several commands have, declared once: a dataclass whose fields become options.

@app.command()
@spread(ScoreOptions)
def command(manifest: str, *, options: ScoreOptions) -> None: ...

securevqa command MANIFEST --draws 4    ->    options.draws == 4
"""

from __future__ import annotations

import copy
import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from operators.uris import redact
from pipeline.commands.naming import called, given_text, option_of
from pipeline.commands.places import require_scratch
from pipeline.commands.terminal import events
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline.scoring.config import ScoreConfig
    from securevqa_core.randomness import Key

__all__ = ["ScoreOptions", "complete_models", "label_range_option", "spread"]

_Command = Callable[..., Result | None]


def complete_models(incomplete: str) -> list[str]:
    """Return the names of models that begin so, for a shell to complete."""
    from securevqa_core.model_names import MODELS  # noqa: PLC0415 - no command's help needs it

    return [name for name in MODELS if name.startswith(incomplete)]


def label_range_option(panel: str) -> Any:
    """Return the option of the scale that labels are on: two numbers."""
    help_ = "Worst and best label there can be; default: guessed, and said."
    return typer.Option(metavar="LOW HIGH", help=help_, rich_help_panel=panel)


def spread(kind: type[Any], **helps: str) -> Callable[[_Command], _Command]:
    """Make a command that takes `options: kind` from one option a field of the dataclass `kind`.

    `helps` say of a field what is so of this command alone. A part of a help text that speaks of another
    option, `, with --notice or --cap 1..8`, goes where the command has none of that name.
    """

    def decorate(command: _Command) -> _Command:
        def spread_command(**values: Any) -> Result | None:
            options = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            return command(**values, options=options)

        own, shared = (get_type_hints(one, include_extras=True) for one in (command, kind))
        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own[name])
            for name, one in inspect.signature(command).parameters.items()
            if name != "options"
        ]
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=shared[field.name],
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
            )
            for field in fields(kind)
        ]
        names = {one.name for one in parameters}
        parameters = [
            one.replace(annotation=_with_help(one.annotation, names, helps.get(one.name)))
            for one in parameters
        ]
        spread_command.__name__, spread_command.__doc__ = command.__name__, command.__doc__
        spread_command.__annotations__ = {one.name: one.annotation for one in parameters}
        spread_command.__annotations__["return"] = own["return"]
        spread_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return spread_command

    return decorate


def _with_help(annotation: Any, names: set[str], text: str | None) -> Any:
    """Return an option's annotation with its help as of a command with options of these names."""
    option = annotation.__metadata__[0]
    if not (text := text or option.help):
        return annotation
    option = copy.copy(option)
    option.help = _BESIDE.sub(lambda found: found[0] if found[1].replace("-", "_") in names else "", text)
    return Annotated[annotation.__origin__, option]


_BESIDE = re.compile(r", with --([a-z-]+) [^;,]*")
_DRAWN, _JUDGED, _LIMITED, _RUN = "Where it looks", "Verdicts", "Limits", "Ray and the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How videos are scored, whatever is done with the scores."""

    uri_column: Annotated[str, typer.Option(help="Column of a manifest that holds the URIs.")] = "uri"
    allow_scheme: Annotated[
        list[str] | None,
        typer.Option(help="Schemes a URI may have; repeat; default: az, file, gs, https and s3."),
    ] = None
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse a manifest with a row that breaks a rule; else the row fails."),
    ] = False
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32"
    decoder: Annotated[str, typer.Option(help="auto (PyAV, decord where it fails), pyav or decord.")] = "auto"
    as_delivered: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC:QUALITY",
            help="Judge the rendition viewers get: x264:23, x265:28, av1:35, vp9:33; default: the upload.",
        ),
    ] = None
    key_file: Annotated[
        str | None,
        typer.Option(
            help="File with the key; default: SECUREVQA_KEY, else one for this call.", rich_help_panel=_DRAWN
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Public randomness, for research only; default: the key.", rich_help_panel=_DRAWN
        ),
    ] = None
    draws: Annotated[
        int | None,
        typer.Option(
            help="Times the random part is repeated, 1..16, with --notice or --cap 1..8; default: the "
            "model's own.",
            rich_help_panel=_DRAWN,
        ),
    ] = None
    pass_at: Annotated[
        float, typer.Option(help="Verdict pass from this score_lower up.", rich_help_panel=_JUDGED)
    ] = 60.0
    reject_below: Annotated[
        float, typer.Option(help="Verdict reject below this score_lower.", rich_help_panel=_JUDGED)
    ] = 40.0
    decode_timeout: Annotated[
        float, typer.Option(help="Seconds a file may take to decode.", rich_help_panel=_LIMITED)
    ] = 120.0
    fetch_timeout: Annotated[
        float, typer.Option(help="Seconds a file may take to fetch.", rich_help_panel=_LIMITED)
    ] = 600.0
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Largest object that is fetched.", rich_help_panel=_LIMITED)
    ] = 20 << 30
    scratch: Annotated[
        str | None,
        typer.Option(
            help="Folder for files being scored; default: the system's temporary one.", rich_help_panel=_RUN
        ),
    ] = None
    gpus_per_actor: Annotated[
        float, typer.Option(help="GPUs a model actor takes; 0: use CPUs.", rich_help_panel=_RUN)
    ] = 0.5
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster, or local: start Ray here; default: RAY_ADDRESS, else Ray for many videos.",
            rich_help_panel=_RUN,
        ),
    ] = None
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Score again what failed and may succeed now.", rich_help_panel=_RUN
        ),
    ] = False

    def config(
        self, *, manifest: str, output: str, key: Key, model: str | None, checkpoint: str | None
    ) -> ScoreConfig:
        """Return the settings of a scoring run.

        Raises:
            ConfigurationError: an option is out of range.
        """
        # Seconds of imports, which help need not wait for.
        from operators.limits import FetchLimits  # noqa: PLC0415
        from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES  # noqa: PLC0415
        from pipeline.scoring.config import ScoreConfig  # noqa: PLC0415
        from securevqa_core.types import DecodeLimits, Thresholds  # noqa: PLC0415

        if self.reject_below > self.pass_at:
            thresholds = f"--reject-below {self.reject_below:g} is above --pass-at {self.pass_at:g}"
            raise ConfigurationError(f"{thresholds}: what passes cannot be rejected")
        if self.scratch is not None:
            address = self.address or os.environ.get("RAY_ADDRESS") or "local"  # as Ray reads it
            require_scratch(self.scratch, is_on_nodes=address != "local")
        with called(timeout_seconds="decode_timeout"):
            decode_limits = DecodeLimits(timeout_seconds=self.decode_timeout)
        with called(timeout_seconds="fetch_timeout"):
            fetch_limits = FetchLimits(max_bytes=self.max_bytes, timeout_seconds=self.fetch_timeout)
        return ScoreConfig(
            manifest=manifest,
            output=output,
            model=model,
            checkpoint=checkpoint,
            retry_failed=self.retry_failed,
            uri_column=self.uri_column,
            strict=self.strict,
            allow_schemes=frozenset(self.allow_scheme or DEFAULT_ALLOW_SCHEMES),
            key=key,
            num_draws=self.draws,
            precision=self.precision,  # type: ignore[arg-type]  # validated by ScoreConfig
            thresholds=Thresholds(pass_at=self.pass_at, reject_below=self.reject_below),
            decode_limits=decode_limits,
            decoder=self.decoder,  # type: ignore[arg-type]  # validated by ScoreConfig
            as_delivered=self.as_delivered,
            fetch_limits=fetch_limits,
            scratch_dir=self.scratch,
            gpus_per_actor=self.gpus_per_actor,
            address=self.address,
        )

    def require_values(self) -> None:
        """Refuse options out of range before anything is listed or imported for long.

        Raises:
            ConfigurationError: one is.
        """
        from securevqa_core.randomness import Key  # noqa: PLC0415 - as above

        ScoreOptions.config(self, manifest="", output="", key=Key.ephemeral(), model=None, checkpoint=None)

    def require_manifest(self, locations: Sequence[str]) -> None:
        """Refuse an option of manifests where videos, folders and globs alone are named.

        Raises:
            ConfigurationError: it was given.
        """
        from pipeline.manifests.formats import suffix_of  # noqa: PLC0415 - as above

        if self.uri_column != type(self)().uri_column and not any(map(suffix_of, locations)):
            named = ", ".join(map(redact, locations))
            raise ConfigurationError(f"--uri-column is of manifests, got {self.uri_column!r} for {named}")

    def require_no_run(self) -> None:
        """Refuse options that only a run with an output looks at.

        Raises:
            ConfigurationError: one was given.
        """
        usual = type(self)()
        given = [name for name in self.of_runs() if getattr(self, name) != getattr(usual, name)]
        if given:
            value = given_text(getattr(self, given[0]))
            raise ConfigurationError(f"{option_of(given[0])} needs an --output{value}")

    def of_runs(self) -> tuple[str, ...]:
        """Return the options that only a run with an output looks at."""
        return ("address", "retry_failed")

    def key(self) -> Key:
        """Return the key that was given, or an ephemeral one, of which `say_ephemeral` tells once it is used.

        Raises:
            ConfigurationError: two were given, or one that is no key.
        """
        from pipeline.keys import forget_key_variable, given_key  # noqa: PLC0415 - as above
        from securevqa_core.randomness import KEY_VARIABLE, Key  # noqa: PLC0415

        if self.key_file is not None and self.seed is not None:
            raise ConfigurationError("--key-file and --seed exclude each other")
        given = "--seed" if self.seed is not None else "--key-file" if self.key_file is not None else None
        if given and os.environ.get(KEY_VARIABLE):
            events.note(f"{KEY_VARIABLE} is not looked at, as {given} is given")
        if self.seed is not None:
            forget_key_variable()
            return Key.public(self.seed)
        return given_key(self.key_file) or Key.ephemeral()
