"""Labels are numbers on 0..100, and one that breaks a rule is named with its place."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.manifests.labels import label_column, labels_of, row_numbers, scale_doubt, settled_scale
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ConfigurationError, ManifestError


def test_labels_are_mapped_to_points_and_missing_ones_stay_missing() -> None:
    table = pa.table({"mos": ["1", "3", "", None, "5.0"]})
    assert labels_of(table, "mos", LabelRange(low=1, high=5)) == [0, 50, None, None, 100]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("five", "row 2: column 'mos' must be a number, got 'five'"),
        (5.5, r"row 2: column 'mos' must be in 1\.\.5, got 5\.5"),
        (float("nan"), "row 2: column 'mos' must be finite, got nan"),
    ],
)
def test_a_label_out_of_its_range_is_named(value: object, message: str) -> None:
    first = "2" if isinstance(value, str) else 2.0
    with pytest.raises(ManifestError, match=message):
        labels_of(pa.table({"mos": [first, value]}), "mos", LabelRange(low=1, high=5))


def test_rows_are_those_of_the_file_though_some_are_left_out() -> None:
    table = pa.table({"video_id": ["a", "b"], "uri": ["/a.mp4", "/b.mp4"], "mos": ["2", "five"]})
    rows = row_numbers(table)
    with pytest.raises(ManifestError, match=r"row 2, video '/b\.mp4': column 'mos' must be a number"):
        labels_of(table.slice(1), "mos", LabelRange(), rows=rows)
    with pytest.raises(ManifestError, match=r"^video '/b\.mp4': column 'mos' must be a number"):
        settled_scale(table, "mos", None, tell=lambda _line: None)


@pytest.mark.parametrize(("low", "high"), [(5, 1), (2, 2), (0, float("inf"))])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigurationError, match=f"low < high, got {low:g} and {high:g}"):
        LabelRange(low=low, high=high)


def test_the_label_column_is_found_or_must_be_named() -> None:
    assert label_column(["uri", "label"], None) == "label"
    assert label_column(["uri", "label", "mos"], "mos") == "mos"
    assert label_column(["uri", "MOS"], None) == "MOS"
    assert label_column(["uri", "mos", "MOS"], None) == "mos"
    with pytest.raises(ManifestError, match="got MOS, Label"):
        label_column(["uri", "MOS", "Label"], None)
    with pytest.raises(ManifestError, match="got mos, label"):
        label_column(["uri", "label", "mos"], None)
    with pytest.raises(ManifestError, match="got uri, rating"):
        label_column(["uri", "rating"], None)
    with pytest.raises(ManifestError, match="no label column 'dmos', only uri, mos"):
        label_column(["uri", "mos"], "dmos")


@pytest.mark.parametrize(
    ("labels", "scale", "doubt"),
    [
        (
            [1.22, 3, 4.64],
            LabelRange(),
            "labels span 1.22..4.64 of 0..100: if they are on 1..5, say --label-range 1 5",
        ),
        (
            [0.2, None, 0.9],
            LabelRange(),
            "labels span 0.2..0.9 of 0..100: if they are on 0..1, say --label-range 0 1",
        ),
        ([70, 75], LabelRange(), "labels span 70..75 of 0..100"),
        ([3, 3.1], LabelRange(low=1, high=5), "labels span 3..3.1 of 1..5"),
        ([1.22, 4.64], LabelRange(low=1, high=5), None),
        ([20, 70], LabelRange(), None),
        ([50], LabelRange(), None),
        ([None, None], LabelRange(), None),
    ],
)
def test_labels_that_cover_little_of_their_scale_are_doubted(
    labels: list[float | None], scale: LabelRange, doubt: str | None
) -> None:
    points = labels_of(pa.table({"mos": pa.array(labels, pa.float64())}), "mos", scale)
    assert scale_doubt(points, scale) == doubt


@pytest.mark.parametrize(
    ("labels", "scale", "said"),
    [
        (
            [1.2, None, 4.8],
            (1, 5),
            "span 1.2..4.8: taken to be on 1..5; --label-range LOW HIGH says",
        ),
        ([0.1, 0.9], (0, 1), "taken to be on 0..1"),
        ([0.5, 4.0], (0, 5), "taken to be on 0..5"),
        ([2, 9], (0, 10), "taken to be on 0..10"),
        ([3, 70], (0, 100), "taken to be on 0..100"),
        ([41.9, 74.1], (0, 100), "span 41.9..74.1: taken to be on 0..100; --label-range LOW HIGH says"),
        ([3, 3], (0, 100), "span 3..3: taken to be on 0..100"),
        ([None, None], (0, 100), None),
    ],
)
def test_the_scale_of_labels_is_guessed_and_said(
    labels: list[float | None], scale: tuple[float, float], said: str | None
) -> None:
    told: list[str] = []
    table = pa.table({"mos": pa.array(labels, pa.float64())})
    found = settled_scale(table, "mos", None, tell=told.append)
    assert (found.low, found.high) == scale
    assert len(told) == (said is not None)
    assert all(said is not None and said in line for line in told)


def test_a_scale_that_was_given_stands_and_is_doubted_aloud() -> None:
    told: list[str] = []
    table = pa.table({"mos": [3.0, 4.5]})
    assert settled_scale(table, "mos", LabelRange(), tell=told.append) == LabelRange()
    assert told == ["labels span 3..4.5 of 0..100: if they are on 1..5, say --label-range 1 5"]


def test_labels_that_no_usual_scale_holds_need_one() -> None:
    with pytest.raises(ManifestError, match=r"span -2..140, which no usual scale holds: say --label-range"):
        settled_scale(pa.table({"mos": [-2.0, 140.0]}), "mos", None, tell=lambda _line: None)
