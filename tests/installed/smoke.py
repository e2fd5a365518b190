"""Shows that an installed SecureVQA works: run it with the Python of the environment that has it.

It makes a clip with PyAV, imports every module, verifies every checkpoint that ships, decodes the clip in the
sandbox and scores it in the core, then scores it through Ray and writes the page. The first failure ends it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import torch

import securevqa
from securevqa_core import weights, zoo
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.fragments import splice
from securevqa_core.inputs import decode_request, guarded_draws
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.scoring import inter_features, raw_scores, summarise
from securevqa_core.types import DecodeLimits

PACKAGES = ("securevqa_core", "securevqa")
DECOYS = (
    "operators",
    "pipeline",
)  # names that other distributions have too; here they break who imports them
EXTRAS = {
    "imageio_ffmpeg",
    "sklearn",
    "tensorboard",
}  # of securevqa[train]; what needs them says so
SHOWN = ("av", "decord", "numpy", "pyarrow", "ray", "torch", "torchvision")
NUM_FRAMES = 48
NUM_DRAWS = 2
CPU = torch.device("cpu")
TOLERANCE = 1e-3  # between a process of one thread and one of several, points
SECONDS = 300


def main() -> None:
    """Go through all steps, in a folder that is removed at the end."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in SHOWN)
    assert Path(weights.__file__).is_relative_to(sys.prefix), f"{weights.__file__} is not what was installed"
    print(f"Python {sys.version.split()[0]}, {', '.join(versions)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        put_decoys(folder / "decoys")
        write_clip(folder / "clip.mp4")
        import_all()
        verify_checkpoints()
        expected = score_in_core(folder / "clip.mp4")
        score_in_python(folder / "clip.mp4")
        score_with_ray(folder, expected)


def put_decoys(folder: Path) -> None:
    """Put packages of the same names as this project's folders before all else, in every process."""
    for name in DECOYS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of another distribution')")
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    files = importlib.metadata.distribution("securevqa").files or []
    owned = {file.parts[0] for file in files if not file.parts[0].startswith(("securevqa-", ".."))}
    assert owned == set(PACKAGES), owned


def write_clip(path: Path) -> None:
    """Encode noise that moves: two seconds of H.264, 320 by 256."""
    texture = np.random.default_rng(0).integers(0, 256, (256 + NUM_FRAMES, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuv420p"
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(texture[number : number + 256].copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def import_all() -> None:
    """Import every module of every package; only what an extra brings may be missing."""
    count = 0
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{name}."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if str(error.name).partition(".")[0] not in EXTRAS:
                    raise
            count += 1
    print(f"imported {count} modules", flush=True)


def verify_checkpoints() -> None:
    """Let every shipped checkpoint score the fixed input: its card has what it scored where it was made."""
    files = sorted(weights.SHIPPED.glob("*.safetensors"))
    assert len(files) >= 3, files
    for file in files:
        run("weights", "verify", str(file))
        print(f"verified {file.name}", flush=True)


def score_in_core(clip: Path) -> float:
    """Decode in the sandbox and score with the default checkpoint, without Ray."""
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    draws = keyed_draws(Key.public(0), digest, NUM_DRAWS)
    checkpoint = weights.default(zoo.DEFAULT_MODEL)
    model, sampling = weights.build(checkpoint), zoo.spec(zoo.DEFAULT_MODEL).sampling
    limits = DecodeLimits()
    with DecodeSandbox(limits) as sandbox:
        sample = sandbox.decode(str(clip), decode_request(sampling, draws, limits=limits))
    assert sample.decoder == "pyav", sample.warnings
    fragments = guarded_draws(
        splice(sample.patches),
        [draw.guardian_intra for draw in draws],
        amplitude=sampling.guardian_amplitude,
    )
    features = inter_features(
        model.inter,
        sample.frames,
        sample.segments,
        [draw.guardian_inter for draw in draws],
        sampling=sampling,
        device=CPU,
        precision="float32",
    )
    raw = raw_scores(model, fragments, features, device=CPU, precision="float32")
    return summarise(raw, checkpoint.calibration).score


def score_in_python(clip: Path) -> None:
    """Score as a script would, and print the score as the command does, without Ray."""
    scored = securevqa.score(clip, key=Key.public(0))
    assert scored.failure is None, scored
    assert securevqa.__version__ == importlib.metadata.version("securevqa")
    printed = run("score", str(clip), "--seed", "0")
    assert f"{scored.score:.1f} of 100" in printed, (printed, scored)
    print(f"scored {scored.score:.1f} in Python, and with the command", flush=True)


def score_with_ray(folder: Path, expected: float) -> None:
    """Score a manifest of the clip and of an absent file as the core did, and make the report's page."""
    manifest = folder / "manifest.csv"
    manifest.write_text("uri,channel\nclip.mp4,film\nabsent.mp4,film\n")
    draws = ("--seed", "0", "--draws", str(NUM_DRAWS))
    run("score", str(manifest), "--output", "run", *draws, "--address", "local")
    rows = {row["uri"].rpartition("/")[2]: row for row in pq.read_table("run/report").to_pylist()}
    scored, absent = rows["clip.mp4"], rows["absent.mp4"]
    assert scored["status"] == "scored", scored
    assert abs(scored["score"] - expected) < TOLERANCE, (scored, expected)
    assert scored["channel"] == "film", scored
    assert absent["error_code"] == "fetch_not_found", absent
    run("report", "run", "--html", "page.html")
    assert "<svg" in Path("page.html").read_text()
    print(f"scored {scored['score']:.1f} with {scored['decoder']}, and wrote the page", flush=True)


def run(*arguments: str) -> str:
    """Run `securevqa` of this environment and return what it printed, or show it if it failed."""
    program = Path(sys.executable).with_name("securevqa")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main()
