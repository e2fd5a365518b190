"""Holds other signals of an attack against the drop that `score --notice` goes by, in one table.

python examples/suspicion_signals.py clean.parquet --attacked attacks/patch --attacked attacks/flicker

They are what disagrees within a score (draws, moments, branches, places of the picture), what of it the
rendition takes away, and what other models say. Videos are given as to examples/suspicion.py, and values kept
as they come. No signal is fitted: each is held against the limit that one in a hundred clean videos exceeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from securevqa_core import weights
from securevqa_core.calibration import Calibration
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.fragments import splice
from securevqa_core.inputs import decode_request, guarded_draws
from securevqa_core.loaded import LoadedModel, load_model
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.rendition import Rendition
from securevqa_core.scorer import Scorer
from securevqa_core.scoring import branch_outputs, inter_features
from securevqa_core.types import DecodeLimits

CLEAN = "clean"
KEY = Key.public(1)
LIMITS = DecodeLimits()
NUM_USUAL = 24  # of the clean videos, the first: they give the features of a usual one
_Outputs = list[tuple[Tensor, Tensor]]  # of each clip, draw after draw: (1, c, t, h, w) and (1, segments, k)


def main() -> None:
    """Take the signals of clean and attacked videos, and hold one kind against the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="Parquet with a column `uri` of local paths")
    parser.add_argument("--attacked", action="append", default=[], help="output of the attack lab; repeat")
    parser.add_argument("--checkpoint", help="file or model of two branches; default: what ships")
    parser.add_argument("--rendition", default="x264:23")
    parser.add_argument(
        "--against", action="append", default=[], help="model whose score is compared; repeat"
    )
    parser.add_argument("--kept", type=Path, default=Path("signals.jsonl"), help="values as they come")
    arguments = parser.parse_args()
    clean = [row["uri"] for row in pq.read_table(arguments.manifest, columns=["uri"]).to_pylist()]
    videos = [(CLEAN, uri) for uri in clean]
    for place in map(Path, arguments.attacked):
        rows = pq.read_table(place / "attack.parquet").to_pylist()
        done = [row["attacked_uri"] for row in rows if row["status"] == "attacked"]
        videos += [(place.name, str(place / uri)) for uri in done]
    lines = arguments.kept.read_text().splitlines() if arguments.kept.exists() else []
    known = {row["uri"]: row for row in map(json.loads, lines)}
    if missing := [uri for _, uri in videos if uri not in known]:
        with arguments.kept.open("a") as kept:
            for row in taken(missing, clean[:NUM_USUAL], arguments):
                known[row["uri"]] = row
                kept.write(json.dumps(row) + "\n")
                kept.flush()
    say([{"kind": kind} | known[uri]["signals"] for kind, uri in videos])


def taken(videos: list[str], usual: list[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield each video with its signals."""
    model = load_model(weights.find(arguments.checkpoint), precision="float32", device="cpu")
    others = [Scorer(name, key=KEY) for name in arguments.against]
    rendition = Rendition.parse(arguments.rendition)
    torch.set_num_threads(1)
    with DecodeSandbox(LIMITS) as sandbox:
        both = [one for uri in usual for one in looked(uri, None, model, sandbox)]
        usual_of = tuple(torch.stack(one).mean(dim=0) for one in zip(*both, strict=True))
        for uri in videos:
            upload, delivered = (looked(uri, one, model, sandbox) for one in (None, rendition))
            found = signals(upload, delivered, usual_of, model)
            for other, name in zip(others, arguments.against, strict=True):
                found[f"score above {name}'s"] = found["score"] - (other.score(uri).score or 0.0)
            yield {"uri": uri, "signals": found}


def looked(uri: str, rendition: Rendition | None, model: LoadedModel, sandbox: DecodeSandbox) -> _Outputs:
    """Return what both branches make of each clip of a video, or of its rendition."""
    sampling = model.spec.sampling
    draws = keyed_draws(KEY, hashlib.sha256(Path(uri).read_bytes()).hexdigest(), model.spec.num_draws)
    sample = sandbox.decode(uri, decode_request(sampling, draws, limits=LIMITS, rendition=rendition))
    common: dict[str, Any] = {"device": model.device, "precision": model.precision}
    features = inter_features(
        model.model.inter,
        sample.frames,
        sample.segments,
        [draw.guardian_inter for draw in draws],
        sampling=sampling,
        **common,
    )
    fragments = guarded_draws(
        splice(sample.patches),
        [draw.guardian_intra for draw in draws],
        amplitude=sampling.guardian_amplitude,
    )
    outputs = branch_outputs(model.model, fragments, features, **common)
    return [(intra, inter) for intra, inter in outputs if inter is not None]


def signals(
    upload: _Outputs, rendition: _Outputs, usual: tuple[Tensor, ...], model: LoadedModel
) -> dict[str, float]:
    """Return the signals of one video, in points of its score."""
    calibration, num_draws = model.checkpoint.calibration, model.spec.num_draws

    def raw(fragments: _Outputs, motion: _Outputs) -> Tensor:
        """Return (clips of all draws, t): what the head makes of branches that may be of two videos."""
        with torch.inference_mode():
            pairs = zip(fragments, motion, strict=True)
            return torch.cat([model.model.head(one[0], other[1]) for one, other in pairs]).double()

    def draws_of(scores: Tensor) -> Tensor:
        return points(scores.reshape(num_draws, -1).mean(dim=1), calibration)

    as_usual = [(usual[0], usual[1])] * len(upload)
    scores = raw(upload, upload)
    score = draws_of(scores).mean()
    places = [local(one, model) for one in (upload, rendition)]
    alone = [draws_of(raw(upload, as_usual)).mean(), draws_of(raw(as_usual, upload)).mean()]
    found = {
        "score": score,
        "drop": score - draws_of(raw(rendition, rendition)).mean(),
        "drop, of fragments": score - draws_of(raw(rendition, upload)).mean(),
        "drop, of motion": score - draws_of(raw(upload, rendition)).mean(),
        "drop, largest of a place": (places[0] - places[1]).max(),
        "score of the best place, above the median": places[0].max() - places[0].median(),
        "score_sd": draws_of(scores).std(),
        "standard deviation over moments": points(scores, calibration).std(),
        "fragments alone above motion alone": alone[0] - alone[1],
        "motion alone above fragments alone": alone[1] - alone[0],
    }
    return {name: float(value) for name, value in found.items()}


def local(outputs: _Outputs, model: LoadedModel) -> Tensor:
    """Return (h, w) points: what each cell of the grid scores by itself, over all draws and moments."""
    maps = []
    with torch.inference_mode():
        for intra, inter in outputs:
            cells = intra[0].flatten(2).permute(2, 0, 1)[..., None, None]  # (h w, c, t, 1, 1)
            scores = model.model.head(cells, inter.expand(len(cells), -1, -1)).double().mean(dim=1)
            maps.append(scores.view(intra.shape[3:]))
    return points(torch.stack(maps).mean(dim=0), model.checkpoint.calibration)


def points(raw: Tensor, calibration: Calibration) -> Tensor:
    """Return scores of 100 for raw ones."""
    return torch.as_tensor(calibration.to_score(raw.numpy()))


def say(rows: list[dict[str, Any]]) -> None:
    """Print one line a signal: its AUC and how many it notices of each attack at one in a hundred clean."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != CLEAN))
    values = {kind: [row for row in rows if row["kind"] == kind] for kind in (CLEAN, *kinds)}
    print(f"{len(values[CLEAN])} clean videos")
    print(f"| | limit | {' | '.join(f'{kind} ({len(values[kind])})' for kind in kinds)} |")
    print("|---|" + "---|" * (len(kinds) + 1))
    for name in (one for one in rows[0] if one not in {"kind", "score"}):
        clean = np.array([row[name] for row in values[CLEAN]])
        limit = np.sort(clean)[::-1][len(clean) // 100]  # that one in a hundred is above
        cells = []
        for kind in kinds:
            attacked = np.array([row[name] for row in values[kind]])
            area = ((attacked[:, None] > clean) + 0.5 * (attacked[:, None] == clean)).mean()
            cells.append(f"{area:.2f}, {(attacked > limit).sum()}")
        print(f"| {name} | {limit:.1f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
