"""Owns what is said of a data set: how many clips of which family and split, and what comes next."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from rich.table import Table

from pipeline.datasets.build import Built
from pipeline.results import Result
from pipeline.text import counted
from securevqa_core.datasets.config import BuildConfig

__all__ = ["summary"]

_SPLITS = ("train", "val", "test")


def summary(built: Built, config: BuildConfig) -> Result:
    """Count clips and sources, name what is in one group, what is left, and which parts chance left empty."""
    clips = Counter((one.family, one.split) for one in built.records)
    sources = Counter(split for _, split in {(one.source, one.split) for one in built.records})
    families = sorted({one.family for one in built.records})
    shown = [f"one group, so one split: {', '.join(group)}" for group in built.groups]
    if built.left_out:
        shown.append(f"{len(built.left_out)} left out, named above")
    if built.num_views_left:
        shown.append(
            f"{counted(built.num_views_left, 'view')} left: the same command without a budget makes them"
        )
    shares = {"train": 1 - config.val_share - config.test_share}
    shares |= {"val": config.val_share, "test": config.test_share}
    empty = [f"{name} of share {share:g}" for name, share in shares.items() if share and not sources[name]]
    if empty:
        shown.append(
            f"no source is in {', '.join(empty)}: each falls to a split by its name and --seed, whatever "
            "others there are; `securevqa train --split-column none` draws a split of its own"
        )
    record = {
        "manifest": str(built.manifest),
        "clips": len(built.records),
        "families": {name: {split: clips[name, split] for split in _SPLITS} for name in families},
        "sources": {split: sources[split] for split in _SPLITS},
        "groups": [list(group) for group in built.groups],
        "left_out": [asdict(one) for one in built.left_out],
        "views_left": built.num_views_left,
    }
    return Result(record=record, shown=[_table(built), *shown, f"manifest: {built.manifest}"])


def _table(built: Built) -> Table:
    """Count clips of each family in each split, and sources."""
    clips = Counter((record.family, record.split) for record in built.records)
    sources = Counter(split for _, split in {(record.source, record.split) for record in built.records})
    table = Table(title=f"{counted(len(built.records), 'clip')} of {counted(sources.total(), 'source')}")
    table.add_column("family")
    for name in (*_SPLITS, "all"):
        table.add_column(name, justify="right")
    for family in sorted({record.family for record in built.records}):
        counts = [clips[family, split] for split in _SPLITS]
        table.add_row(family, *map(str, (*counts, sum(counts))))
    table.add_section()
    of_splits = Counter(record.split for record in built.records)
    table.add_row("clips", *(str(of_splits[split]) for split in _SPLITS), str(of_splits.total()))
    table.add_row("sources", *(str(sources[split]) for split in _SPLITS), str(sources.total()))
    return table
