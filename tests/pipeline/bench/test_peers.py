"""Peers are compared on the same clips, each by what its whole command takes."""

from __future__ import annotations

from pathlib import Path

import media
import pytest

from pipeline.bench.peers import CLIPS, PEERS, VMAF, PeerClip, compare_peers
from securevqa_core import zoo


def test_the_peers_are_those_of_the_table() -> None:
    assert PEERS == (zoo.DEFAULT_MODEL, "fast-vqa", "dover", "uvq-1.5", "videval", "libvmaf")
    assert [clip.name for clip in CLIPS] == ["540p, 10 s", "1080p, 20 s"]


@pytest.mark.slow
def test_each_peer_is_measured_on_each_clip(tmp_path: Path) -> None:
    clip = PeerClip(height=90, width=160, seconds=0.5)
    told: list[str] = []
    costs = compare_peers(
        (clip,),
        ("nss-svr", "vsfa-scnn", VMAF),
        tmp_path,
        footage=media.bundled_clip("bikes"),
        told=told.append,
    )
    assert list(costs) == [("nss-svr", "90p, 0.5 s"), ("vsfa-scnn", "90p, 0.5 s"), (VMAF, "90p, 0.5 s")]
    assert told == ["making 90p, 0.5 s", *(f"{peer} on 90p, 0.5 s" for peer, _ in costs)]
    assert all(0 < cost.processor_seconds < 60 for cost in costs.values())
    scored = costs["nss-svr", "90p, 0.5 s"]
    assert {"securevqa", "decoding"} <= scored.peak_bytes.keys()
    assert 100e6 < scored.largest_bytes < 2e9
    assert scored.processor_seconds > costs[VMAF, "90p, 0.5 s"].processor_seconds
