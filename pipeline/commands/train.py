"""Owns `securevqa train`: a labelled manifest in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.naming import called, option_of
from pipeline.commands.options import complete_models, label_range_option, spread
from pipeline.commands.places import folder_option
from pipeline.commands.terminal import events, resumable
from pipeline.manifests.scales import LABEL_FORMATS, LABEL_FORMATS_HELP, LabelRange
from pipeline.results import Result
from pipeline.text import counted
from securevqa_core.errors import ConfigurationError
from securevqa_core.training.config import TrainConfig
from securevqa_core.types import DecodeLimits

if TYPE_CHECKING:
    from pipeline.evaluation.listed import LabelledSource
    from pipeline.training.config import TrainRun

__all__ = ["TrainOptions", "train_command"]

_DEFAULT = TrainConfig()
NAMED_AT_MOST = 5  # files
_LABELLED, _SPLITS, _STEPS = "Videos and labels", "Splits", "Steps"
_LOSSES, _BRANCHES, _RUN = "Losses", "Branches", "Ray and the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a model is trained, on what, and where."""

    uri_column: Annotated[
        str, typer.Option(help="Column that holds the URIs.", rich_help_panel=_LABELLED)
    ] = "uri"
    allow_scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="Schemes a URI may have; repeat; default: az, file, gs, https and s3.",
            rich_help_panel=_LABELLED,
        ),
    ] = None
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of the labels; default: mos or label.", rich_help_panel=_LABELLED),
    ] = None
    label_range: Annotated[tuple[float, float] | None, label_range_option(_LABELLED)] = None
    labels_format: Annotated[
        str | None,
        typer.Option(help=LABEL_FORMATS_HELP, rich_help_panel=_LABELLED),
    ] = None
    video_root: Annotated[
        str | None,
        typer.Option(
            help="Where a label file's paths start; default: its folder.", rich_help_panel=_LABELLED
        ),
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN=VALUE that rows must have; repeat; default: all rows.", rich_help_panel=_LABELLED
        ),
    ] = None
    split_column: Annotated[
        str, typer.Option(help="Column of train, val and test.", rich_help_panel=_SPLITS)
    ] = "split"
    source_column: Annotated[
        str, typer.Option(help="Column of what clips were made from.", rich_help_panel=_LABELLED)
    ] = "source"
    reference_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the same videos undistorted, frame by frame; default: none.",
            rich_help_panel=_LABELLED,
        ),
    ] = None
    validation_share: Annotated[
        float, typer.Option(help="Of the sources, where the manifest has no split.", rich_help_panel=_SPLITS)
    ] = 0.15
    splits: Annotated[int, typer.Option(help="Random splits of --finetune.", rich_help_panel=_SPLITS)] = 10
    test_share: Annotated[
        float, typer.Option(help="Of the sources, in each split of --finetune.", rich_help_panel=_SPLITS)
    ] = 0.2
    seed: Annotated[int, typer.Option(help="Decides everything that is random.", rich_help_panel=_STEPS)] = (
        _DEFAULT.seed
    )
    epochs: Annotated[int, typer.Option(help="Times every clip is seen.", rich_help_panel=_STEPS)] = (
        _DEFAULT.epochs
    )
    steps_per_epoch: Annotated[
        int, typer.Option(help="0: as many as use every clip once.", rich_help_panel=_STEPS)
    ] = _DEFAULT.steps_per_epoch
    batch_size: Annotated[int, typer.Option(help="Clips in a batch of a worker.", rich_help_panel=_STEPS)] = (
        _DEFAULT.batch_size
    )
    clips_per_content: Annotated[
        int,
        typer.Option(
            help="Side by side in a batch, of one reference or else of one source.", rich_help_panel=_STEPS
        ),
    ] = _DEFAULT.clips_per_content
    accumulate: Annotated[int, typer.Option(help="Batches that make one step.", rich_help_panel=_STEPS)] = (
        _DEFAULT.accumulate
    )
    optimiser: Annotated[str, typer.Option(help="adamw or adam.", rich_help_panel=_STEPS)] = (
        _DEFAULT.optimiser
    )
    learning_rate: Annotated[float, typer.Option(help="Of the head.", rich_help_panel=_STEPS)] = (
        _DEFAULT.learning_rate
    )
    backbone_factor: Annotated[
        float, typer.Option(help="Learning rate of the backbones / that of the head.", rich_help_panel=_STEPS)
    ] = _DEFAULT.backbone_factor
    weight_decay: Annotated[float, typer.Option(help="Not of norms and biases.", rich_help_panel=_STEPS)] = (
        _DEFAULT.weight_decay
    )
    warmup_epochs: Annotated[float, typer.Option(help="Of a linear rise.", rich_help_panel=_STEPS)] = (
        _DEFAULT.warmup_epochs
    )
    max_gradient_norm: Annotated[float, typer.Option(help="0: no clipping.", rich_help_panel=_STEPS)] = (
        _DEFAULT.max_gradient_norm
    )
    ema_decay: Annotated[
        float, typer.Option(help="Of the averaged weights; 0: none.", rich_help_panel=_STEPS)
    ] = _DEFAULT.ema_decay
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.", rich_help_panel=_STEPS)] = (
        _DEFAULT.precision
    )
    losses: Annotated[str, typer.Option(help="paper or released.", rich_help_panel=_LOSSES)] = _DEFAULT.losses
    rank_weight: Annotated[
        float | None,
        typer.Option(
            help="Of the rank loss; default: 1 for paper, 0.3 for released.", rich_help_panel=_LOSSES
        ),
    ] = None
    rank_softness: Annotated[
        float, typer.Option(help="Of the paper's soft ranks.", rich_help_panel=_LOSSES)
    ] = _DEFAULT.rank_softness
    distance_weight: Annotated[
        float,
        typer.Option(help="Of the distance of scores from standardised labels.", rich_help_panel=_LOSSES),
    ] = _DEFAULT.distance_weight
    pair_weight: Annotated[
        float, typer.Option(help="Of the order of clips of one content in a batch.", rich_help_panel=_LOSSES)
    ] = _DEFAULT.pair_weight
    adversarial_epsilon: Annotated[
        float,
        typer.Option(
            help="Levels that half of a batch is moved by, to score higher or lower.", rich_help_panel=_LOSSES
        ),
    ] = _DEFAULT.adversarial_epsilon
    adversarial_steps: Annotated[
        int, typer.Option(help="Gradients taken on the way.", rich_help_panel=_LOSSES)
    ] = _DEFAULT.adversarial_steps
    distils: Annotated[
        bool,
        typer.Option(
            "--distil", help="Learn the scores of the first weights, not the labels.", rich_help_panel=_LOSSES
        ),
    ] = _DEFAULT.distils
    difference_weight: Annotated[
        float,
        typer.Option(
            help="Of what fragments have lost, where there are references.", rich_help_panel=_LOSSES
        ),
    ] = _DEFAULT.difference_weight
    inter: Annotated[
        str, typer.Option(help="Inter branch: cached, frozen or trained.", rich_help_panel=_BRANCHES)
    ] = _DEFAULT.inter
    num_feature_draws: Annotated[
        int, typer.Option(help="Guardian maps of each video for --inter cached.", rich_help_panel=_BRANCHES)
    ] = _DEFAULT.num_feature_draws
    num_statistics_draws: Annotated[
        int,
        typer.Option(
            help="Guardian maps of each draw for a statistics stem; 0: ever new ones.",
            rich_help_panel=_BRANCHES,
        ),
    ] = _DEFAULT.num_statistics_draws
    train_segments: Annotated[
        int, typer.Option(help="Of the inter branch in a step; 0: all.", rich_help_panel=_BRANCHES)
    ] = _DEFAULT.train_segments
    flip: Annotated[bool, typer.Option(help="Mirror clips at random.", rich_help_panel=_STEPS)] = (
        _DEFAULT.flip
    )
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Between saves within an epoch.", rich_help_panel=_STEPS)
    ] = _DEFAULT.checkpoint_minutes
    cached_draws: Annotated[
        int, typer.Option(help="Draws of each training video kept on disk.", rich_help_panel=_RUN)
    ] = 8
    cache_dir: Annotated[
        str | None, typer.Option(help="Cache of pixels; default: OUTPUT/cache.", rich_help_panel=_RUN)
    ] = None
    decode_timeout: Annotated[
        float, typer.Option(help="Seconds a file may take to decode.", rich_help_panel=_RUN)
    ] = 120.0
    workers: Annotated[
        int, typer.Option(help="Training processes; 0: one, or one a GPU.", rich_help_panel=_RUN)
    ] = 0
    use_gpu: Annotated[str, typer.Option(help="auto, yes or no.", rich_help_panel=_RUN)] = "auto"
    threads: Annotated[
        int, typer.Option(help="Of a worker on the CPU; 0: its share of the cores.", rich_help_panel=_RUN)
    ] = 0
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster; default: RAY_ADDRESS, else Ray is started here.", rich_help_panel=_RUN
        ),
    ] = None

    def config(
        self, *, manifest: str, output: str, model: str | None, init: str | None, finetune: bool
    ) -> TrainRun:
        """Return the settings of a training.

        Raises:
            ConfigurationError: an option is out of range.
        """
        names = set(TrainConfig.__slots__) & set(TrainOptions.__slots__)
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        from pipeline.training.config import TrainRun  # noqa: PLC0415 - seconds of imports

        with called(timeout_seconds="decode_timeout"):
            limits = DecodeLimits(timeout_seconds=self.decode_timeout)
        return TrainRun(
            manifest=manifest,
            output=output,
            train=TrainConfig(**settings),
            model=model,
            init=init,
            finetune=finetune,
            num_splits=self.splits,
            test_share=self.test_share,
            validation_share=self.validation_share,
            label_column=self.label_column,
            label_range=self.scale() or LabelRange(),
            split_column=self.split_column,
            source_column=self.source_column,
            reference_column=self.reference_column,
            num_cached_draws=self.cached_draws,
            cache_dir=self.cache_dir,
            workers=self.workers,
            use_gpu=self.use_gpu,  # type: ignore[arg-type]  # validated by TrainRun
            threads=self.threads,
            address=self.address,
            decode_limits=limits,
        )

    def require_used(self, *, finetune: bool) -> None:
        """Refuse options that would not be looked at.

        Raises:
            ConfigurationError: one was given.
        """
        usual = type(self)()
        needed = {"splits": "--finetune", "test_share": "--finetune"} if not finetune else {}
        if not self.adversarial_epsilon:
            needed["adversarial_steps"] = "--adversarial-epsilon"
        if self.inter != "cached":
            needed["num_feature_draws"] = "--inter cached"
        if self.difference_weight and self.reference_column is None:
            needed["difference_weight"] = "--reference-column"
        for name, other in needed.items():
            if getattr(self, name) != getattr(usual, name):
                raise ConfigurationError(
                    f"{option_of(name)} needs {other}, got {getattr(self, name)!r} without"
                )

    def scale(self) -> LabelRange | None:
        """Return the scale of the labels that was given, None where it is to be guessed."""
        if self.label_range is not None:
            return LabelRange(low=self.label_range[0], high=self.label_range[1])
        return LABEL_FORMATS.get(self.labels_format or "")

    def source(self, location: str) -> LabelledSource:
        """Return where the labelled videos are listed."""
        # Seconds of imports, which help need not wait for.
        from pipeline.evaluation.listed import LabelledSource  # noqa: PLC0415
        from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES  # noqa: PLC0415

        return LabelledSource(
            location=location,
            label_format=self.labels_format,
            video_root=self.video_root,
            uri_column=self.uri_column,
            allow_schemes=frozenset(self.allow_scheme or DEFAULT_ALLOW_SCHEMES),
        )


@spread(TrainOptions)
def train_command(
    labelled_manifest: Annotated[str, typer.Argument(help="Manifest with a label column, or a label file.")],
    output: Annotated[
        Path, folder_option("--output", "-o", help="Folder for the training and its result, local.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Architecture, as in `securevqa models`; default: that of --init, else secure-vqa-compact.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint to start from: a file, a URI, or a model's name for what ships; "
            "default: seeded weights."
        ),
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Repeated random 80:20 splits; mean and sd.")
    ] = False,
    *,
    options: TrainOptions,
) -> Result:
    """Train a model on LABELLED_MANIFEST; the same command again goes on where it was interrupted."""
    options.require_used(finetune=finetune)
    _require_new_or_ours(output)
    with resumable():
        run = options.config(
            manifest=labelled_manifest, output=str(output), model=model, init=init, finetune=finetune
        )
        with events.doing("looking for labelled videos"):
            from pipeline.evaluation.listed import read_labelled  # noqa: PLC0415 - as above, without tensors
            from pipeline.manifests.labelled import EvaluationSettings  # noqa: PLC0415

            settings = EvaluationSettings(
                label_column=options.label_column,
                label_range=options.scale(),
                where=tuple(options.where or ()),
            )
            table, settings = read_labelled(options.source(labelled_manifest), settings, tell=events.note)
        run = replace(run, label_range=settings.label_range or run.label_range)
        with events.doing("loading"):
            from pipeline.training.train import train  # noqa: PLC0415 - seconds of imports

        result = train(run, table, events=events)
    return Result(record=result, shown=list(_lines(result, run)))


def _require_new_or_ours(output: Path) -> None:
    """Refuse a folder that holds something and no training; its cache may have outlived one."""
    from pipeline.training.config import SETTINGS_FILE  # noqa: PLC0415 - as above

    held = (
        {one.name for one in output.iterdir() if not one.name.startswith(".")} if output.is_dir() else set()
    )
    if held - {"cache"} and SETTINGS_FILE not in held:
        raise ConfigurationError(
            f"output must be a new folder, or one of a training, with {SETTINGS_FILE}, "
            f"got {str(output)!r}, which holds {', '.join(sorted(held)[:NAMED_AT_MOST])}"
        )


def _lines(result: dict[str, Any], run: TrainRun) -> Iterator[str]:
    if run.finetune:
        for name, measure in result["test"].items():
            yield (
                f"{name}: mean {_number(measure['mean'])}, sd {_number(measure['sd'])}, "
                f"{counted(measure['num_splits'], 'split')}"
            )
        yield f"written: {run.output}/finetune.json"
        return
    yield f"best epoch {result['best_epoch']}, on validation:"
    for name, value in result["validation"].items():
        yield f"  {name}: {_number(value)}"
    yield f"written: {run.output}/checkpoint.safetensors, checkpoint_id {result['checkpoint_id']}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
