"""Training from a manifest to a checkpoint: real Ray Train, killed and resumed, alone and in a group."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cli
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cli import call, wait_until
from labelled import TINY, labelled_videos
from processes import descendants, title
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError
from rich.console import Console

from operators.decode import FetchLimits
from pipeline.commands.train import TrainOptions
from pipeline.events import Events
from pipeline.training import launch, worker
from pipeline.training.config import CHECKPOINT_FILE, TrainRun
from pipeline.training.launch import Placement, our_error, placement
from pipeline.training.split import Split, TrainingSet
from pipeline.training.train import _jobs, require_readable
from pipeline.training.worker import RESULT_FILE, Job, agreement, calibrate
from securevqa_core import weights
from securevqa_core.calibration import fit_calibration
from securevqa_core.errors import ConfigurationError, ManifestError, OutputError, RunError
from securevqa_core.training.cache import CacheConfig, build_cache, local_video
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.loop import TrainingData, fit
from securevqa_core.training.state import METRICS_FILE, STATE_FILE
from securevqa_core.verification import verify

CONFIG = TrainConfig(
    epochs=3, steps_per_epoch=3, batch_size=2, warmup_epochs=1, train_segments=1, checkpoint_minutes=0
)
RUN = TrainRun(manifest="", output="out", train=CONFIG, sampling=TINY, num_cached_draws=2, threads=1)
MODEL = "secure-vqa-compact"

# The command line cannot make the pictures small, so the call behind it is made.
DRIVER = """
import sys, pyarrow.parquet as pq
from dataclasses import replace
sys.path[:0] = {paths!r}
from test_train import RUN
from pipeline.training.train import train
from rich.console import Console
from pipeline.events import Events
run = replace(RUN, manifest={manifest!r}, output={output!r}, **{settings!r})
print(train(run, pq.read_table({manifest!r}), events=Events(Console())))
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources at four qualities, one for each split, and a row whose file is no video."""
    folder = tmp_path_factory.mktemp("labelled")
    videos = labelled_videos(folder)
    splits = dict(zip(sorted({video.source for video in videos}), ("train", "val", "test"), strict=True))
    (folder / "text.mp4").write_text("This is not a video.\n" * 100)
    videos.append(local_video(folder / "text.mp4", label=50.0, source="text"))
    rows = [
        {
            "uri": video.uri,
            "mos": video.label,
            "source": video.source,
            "split": splits.get(video.source, "train"),
        }
        for video in videos
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder / "manifest.parquet"


def start(manifest: Path, output: Path, **settings: Any) -> subprocess.Popen[str]:
    program = DRIVER.format(
        paths=[str(Path(__file__).parent), str(Path(__file__).parents[2] / "support")],
        manifest=str(manifest),
        output=str(output),
        settings=settings,
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        output, complaints = process.communicate(timeout=240)
    except BaseException:  # a test that is interrupted leaves no driver behind
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, f"{output}\n{complaints}"
    return output


def without_ray(manifest: Path, folder: Path) -> Any:
    """The model that the core alone makes of the same rows."""
    rows = pq.read_table(manifest).to_pylist()
    parts = []
    for split, draws, clips in (("train", 2, 1), ("val", 1, TINY.num_clips)):
        videos = [
            local_video(row["uri"], label=row["mos"], source=row["source"])
            for row in rows
            if row["split"] == split
        ]
        config = CacheConfig(sampling=replace(TINY, num_clips=clips), num_draws=draws, seed=0)
        parts.append(build_cache(videos, folder / "cache", config, num_workers=1)[0])
    model = weights.build(weights.seeded(MODEL))
    data = TrainingData(train=parts[0], validation=parts[1])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fit(model, data, CONFIG, output=folder / "out", device=torch.device("cpu"))
    torch.set_num_threads(before)
    return model


@pytest.mark.ray
def test_a_killed_driver_s_training_ends_where_one_without_ray_does(manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    driver = start(manifest, output, model=MODEL)
    wait_until(lambda: (output / STATE_FILE).exists() or driver.poll() is not None, seconds=240)
    driver.send_signal(signal.SIGKILL)
    complaints = driver.communicate()[1]
    assert driver.returncode == -signal.SIGKILL, complaints
    assert not (output / RESULT_FILE).exists()
    told = finish(start(manifest, output, model=MODEL))
    assert "1 video left out, which cannot be read" in told
    # Which epochs the resumed command tells depends on how far the orphaned workers came before they ended.
    epochs = [json.loads(line)["epoch"] for line in (output / METRICS_FILE).read_text().splitlines()]
    assert epochs == list(range(CONFIG.epochs))

    expected = without_ray(manifest, tmp_path / "without")
    checkpoint = weights.read(output / CHECKPOINT_FILE)
    for name, value in expected.state_dict().items():
        assert torch.equal(checkpoint.tensors[name], value), name
    assert (checkpoint.architecture, checkpoint.status) == (MODEL, "trained")
    assert verify((output / CHECKPOINT_FILE).read_bytes(), name="it").difference == 0
    card: Any = checkpoint.card
    assert card["rows"] == {"used": 9, "unreadable": 1, "unlabelled": 0, "test": 4}
    assert card["settings"]["train"]["learning_rate"] == CONFIG.learning_rate
    result = json.loads((output / RESULT_FILE).read_text())
    assert result["checkpoint_id"] == checkpoint.checkpoint_id
    assert result["num_videos"] == {"train": 4, "validation": 4, "test": 0}
    assert len((output / METRICS_FILE).read_text().splitlines()) == CONFIG.epochs
    (left_out,) = json.loads((output / "left_out.json").read_text())
    assert left_out["error_code"] == "not_a_video"
    split = json.loads((output / "split.json").read_text())
    used = {uri for part in split.values() for uri in part}
    tested = {row["uri"] for row in pq.read_table(manifest).to_pylist() if row["split"] == "test"}
    assert not used & tested


@pytest.mark.ray
def test_ctrl_c_while_workers_train_ends_in_a_line_that_says_how_to_go_on(
    manifest: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = ["--epochs", "500", "--cached-draws", "1", "--batch-size", "2", "--threads", "1"]
    driver = cli.start("train", str(manifest), "--output", str(output), *options)
    wait_until(lambda: (output / METRICS_FILE).exists() or driver.poll() is not None, seconds=240)
    started = descendants(driver.pid)
    driver.send_signal(signal.SIGINT)
    done = cli.finish(driver)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted: run the same command again to finish the rest"
    wait_until(lambda: not any(map(title, started)), seconds=30)


def workers(driver: subprocess.Popen[str]) -> list[int]:
    return [pid for pid in descendants(driver.pid) if "RayTrainWorker" in title(pid)]


@pytest.mark.ray
def test_repeated_splits_are_trained_by_a_group_that_loses_a_worker(manifest: Path, tmp_path: Path) -> None:
    table = pq.read_table(manifest).drop_columns(["split"])
    pq.write_table(table.slice(0, table.num_rows - 1), tmp_path / "manifest.parquet")
    settings = {"model": MODEL, "finetune": True, "num_splits": 2, "workers": 2}
    output = tmp_path / "out"
    driver = start(tmp_path / "manifest.parquet", output, **settings)
    state = output / "split-00" / STATE_FILE
    wait_until(lambda: state.exists() or driver.poll() is not None, seconds=240)
    os.kill(workers(driver)[0], signal.SIGKILL)
    finish(driver)
    summary = json.loads((output / "finetune.json").read_text())
    assert len(summary["splits"]) == 2
    for name, found in summary["test"].items():
        values = [split["test"][name] for split in summary["splits"] if split["test"][name] is not None]
        assert found["num_splits"] == len(values)
        if len(values) == 2:
            assert (found["mean"], found["sd"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    for folder in ("split-00", "split-01"):
        split = json.loads((output / folder / "split.json").read_text())
        parts = [{Path(uri).stem.rpartition("_")[0] for uri in split[part]} for part in split]
        assert not parts[0] & parts[1]
        assert not parts[1] & parts[2]
        assert not parts[0] & parts[2]
        assert weights.read(output / folder / CHECKPOINT_FILE).status == "trained"


def test_a_split_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    videos = labelled_videos(tmp_path, num_crfs=1)
    split = Split(train=tuple(videos[:2]), validation=tuple(videos[2:]), test=())
    job = Job(output=tmp_path / "split-07", train=[], validation=[], test=[], card={})
    with pytest.raises(RunError, match=r"none of 2 train videos of 'split-07' can be read"):
        require_readable(split, job)


@pytest.mark.parametrize(
    ("settings", "resources", "expected"),
    [
        ({}, {"CPU": 3.0}, Placement(num_workers=1, use_gpu=False, threads=8)),
        ({"workers": 2}, {"CPU": 3.0}, Placement(num_workers=2, use_gpu=False, threads=4)),
        ({"workers": 2, "threads": 3}, {"CPU": 3.0}, Placement(num_workers=2, use_gpu=False, threads=3)),
        ({}, {"CPU": 16.0, "GPU": 4.0}, Placement(num_workers=4, use_gpu=True, threads=2)),
        ({"use_gpu": "no"}, {"CPU": 16.0, "GPU": 4.0}, Placement(num_workers=1, use_gpu=False, threads=8)),
    ],
)
def test_workers_are_placed_on_what_the_cluster_has(
    settings: dict[str, Any], resources: dict[str, float], expected: Placement
) -> None:
    run = replace(RUN, **{"threads": 0} | settings)
    assert placement(run, resources, cores=8) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_gpu": "yes"}, "workers must be <= 0, the GPUs that Ray has, got 1"),
        ({"workers": 4}, "workers must be <= 3, the CPUs that Ray has, got 4"),
    ],
)
def test_too_small_a_cluster_is_refused_and_not_waited_for(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        placement(replace(RUN, **settings), {"CPU": 3.0}, cores=8)


@pytest.mark.slow
@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_the_workers_do_is_told_before_the_first_epoch_is_there(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "POLL_SECONDS", 0.05)
    output, sink = tmp_path / "out", io.StringIO()
    job = Job(output=output, train=[], validation=[], test=[], card={})
    console = Console(file=sink, force_terminal=is_terminal, color_system=None, width=80)
    with launch._told(output, [output], Events(console)):
        wait_until(lambda: "starting the workers" in sink.getvalue(), seconds=10)
        output.mkdir()
        worker._tell_stage(output, job, "computing statistics")
        wait_until(lambda: "out: computing statistics" in sink.getvalue(), seconds=10)
        worker._tell_stage(output, job, "training")
        wait_until(lambda: "out: training" in sink.getvalue(), seconds=10)
        epoch = {"epoch": 0, "loss": 1.5, "validation_srcc": None}
        seconds = {"train_seconds": 3, "validation_seconds": 1}
        (output / METRICS_FILE).write_text(json.dumps(epoch | seconds) + "\n")
    told = "out epoch 0: loss 1.5000, validation SRCC undefined, 4 s"
    assert told in sink.getvalue()
    stages = ["starting the workers", "out: computing statistics", "out: training"]
    assert is_terminal or sink.getvalue().splitlines() == [*stages, told]


def test_what_a_worker_refuses_is_told_apart_from_the_loss_of_a_worker() -> None:
    refused = ConfigurationError("batch_size must be smaller")
    wrapped = UserExceptionWithTraceback(refused, "traceback")
    lost = WorkerGroupError("", {0: RuntimeError("connection reset"), 1: RuntimeError("died")})
    assert our_error(WorkerGroupError("", {0: RuntimeError("connection reset"), 1: wrapped})) is refused
    assert our_error(lost) is None


def test_a_second_training_of_one_output_waits_and_is_refused(tmp_path: Path) -> None:
    with worker._only_writer(tmp_path):
        message = f"output '{tmp_path}' is being written by another training for 0.2 s"
        with pytest.raises(OutputError, match=message), worker._only_writer(tmp_path, seconds=0.2):
            pass
    with worker._only_writer(tmp_path, seconds=0):
        pass


def test_the_calibration_is_fitted_or_says_that_it_is_not() -> None:
    labels = np.linspace(5, 95, 30)
    raw = labels / 100 + 0.05 * np.random.default_rng(0).standard_normal(30)
    found, note = calibrate(raw.tolist(), labels.tolist())
    assert found == fit_calibration(raw, labels)
    assert note == "fitted on the validation split"
    spread, note = calibrate([1.0, 3.0], [10.0, 90.0])
    assert (spread.midpoint, spread.scale) == (2.0, 1.0)
    assert note.startswith("not fitted: ")


def test_agreement_that_is_not_defined_is_null() -> None:
    assert set(agreement([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).values()) == {None}
    assert agreement([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])["srcc"] == 1


def test_every_setting_of_training_is_an_option() -> None:
    options = {field.name: field.default for field in fields(TrainOptions)}
    for field in fields(TrainConfig):
        assert options[field.name] == field.default, field.name
    config = TrainOptions(learning_rate=0.5, splits=3, labels_format="konvid-1k").config(
        manifest="m", output="o", model=None, init=None, finetune=True
    )
    assert (config.train.learning_rate, config.num_splits, config.label_range.high) == (0.5, 3, 5)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("output", "s3://bucket/out", "output must be a folder, got 's3://bucket/out'"),
        ("output", "", "output must be a folder, got ''"),
        ("cache_dir", "s3://bucket/cache", "cache_dir must be a folder, got 's3://bucket/cache'"),
        ("num_splits", 0, r"num_splits must be in .*, got 0"),
        ("test_share", 1.0, r"test_share must be in .*, got 1\.0"),
        ("validation_share", 0.0, r"validation_share must be in .*, got 0\.0"),
        ("workers", -1, r"workers must be in .*, got -1"),
        ("threads", -1, r"threads must be in .*, got -1"),
        ("use_gpu", "maybe", "use_gpu must be one of auto, yes, no, got 'maybe'"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(RUN, **{setting: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such-model"], "model must be one of"),
        (["--init", "/no/such/file"], "checkpoint '/no/such/file' cannot be read"),
        (
            ["--init", str(weights.shipped("nss-svr")), "--model", "secure-vqa-compact"],
            "does not fit the model; missing keys",
        ),
        (["--epochs", "0"], "epochs must be in"),
        (["--output", "s3://bucket/out"], "output must be a local folder"),
        (
            ["--model", "vsfa-lite", "--reference-column", "uri"],
            "--difference-weight > 0 needs a model with fragments where videos have references",
        ),
    ],
)
def test_wrong_calls_end_before_anything_is_started(
    arguments: list[str], message: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", str(manifest), "--output", str(tmp_path / "out"), *arguments) in {1, 2}
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_of_other_settings_is_refused_with_those_that_differ(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("train", str(manifest), "--output", str(tmp_path), "--model", MODEL)
    run = TrainOptions(epochs=1, batch_size=2, inter="cached").config(
        manifest=str(manifest), output=str(tmp_path), model=MODEL, init=None, finetune=False
    )
    settings = run.public_settings() | {"init_checkpoint_id": weights.seeded(MODEL, seed=0).checkpoint_id}
    (tmp_path / "train.json").write_text(json.dumps(settings))
    assert call(*given, "--epochs", "2", "--batch-size", "3") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "loading the model" not in complaint
    differences = "epochs: 1 -> 2; batch_size: 2 -> 3; inter: cached -> frozen"
    assert f"is of another training: {differences}; " in complaint
    assert complaint.endswith("choose another --output, or the same settings")
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"finished")
    assert call(*given, "--epochs", "2", "--batch-size", "2") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert complaint.endswith(f"another --output and --init {tmp_path / CHECKPOINT_FILE}")
    (tmp_path / "train.json").write_text("{")
    assert call(*given, "--batch-size", "2") == 1
    assert f"output '{tmp_path}' cannot be written" in capsys.readouterr().err


def test_an_output_that_holds_something_else_is_refused_as_it_is(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cache", "report"):
        (tmp_path / name).mkdir()
    (tmp_path / "run.json").write_text("{}")
    assert call("train", str(manifest), "--output", str(tmp_path)) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert f"with train.json, got '{tmp_path}', which holds cache, report, run.json" in complaint
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "report", "run.json"}


def test_a_step_of_more_clips_than_there_are_is_refused_before_they_are_cached(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(manifest)
    repeats = pa.array([2 if uri.endswith("text.mp4") else 1 for uri in table["uri"].to_pylist()])
    pq.write_table(table.append_column("repeats", repeats), tmp_path / "m.parquet")
    (tmp_path / "out" / "cache").mkdir(parents=True)  # of an earlier training, and no other thing
    assert call("train", str(tmp_path / "m.parquet"), "--output", str(tmp_path / "out")) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "must be <= 6 training videos (5 files, some of them repeated), got 12 x 1 x 1" in complaint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cache"]


def test_settings_are_recorded_without_secrets() -> None:
    run = replace(RUN, manifest="s3://user:secret@bucket/m.parquet", fetch_limits=FetchLimits())
    assert "secret" not in json.dumps(run.public_settings())


def test_a_copy_on_the_other_side_of_the_split_is_refused_before_anything_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = labelled_videos(tmp_path / "videos", num_crfs=1)
    copy = local_video(shutil.copy(first.uri, tmp_path / "copy.mp4"), label=first.label, source="another")
    split = Split(train=(first, second), validation=(copy,))
    known = TrainingSet(videos=(first, second, copy), given=split, num_test_rows=0, num_unlabelled=0)
    monkeypatch.setattr(
        "pipeline.training.train.fill_cache",
        lambda videos, folder, config, **_: build_cache(videos, folder, config, num_workers=1),
    )
    init = weights.seeded(MODEL, seed=0)
    with pytest.raises(ManifestError, match=r"one part .*mp4' \(train\), .*copy\.mp4' \(validation\)"):
        _jobs(RUN, known, [split], init, output=tmp_path / "out", events=Events(Console()))
