"""The schemas of what is deployed refuse what is misspelt, missing, of another type or out of its list."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kuberay import faults

RENDERED = sorted((Path(__file__).parents[2] / "deploy" / "kuberay" / "rendered").glob("*.yaml"))
RESOURCES = [one for path in RENDERED for one in yaml.safe_load_all(path.read_text())]
# Whose keys are the author's own.
OPEN = {"annotations", "data", "labels", "limits", "matchLabels", "rayStartParams", "requests"}

Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where every value of a resource stands, itself first."""
    yield at
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield from places(member, (*at, key))


def at(resource: Any, place: Place) -> Any:
    for key in place:
        resource = resource[key]
    return resource


def is_closed(resource: Any, place: Place) -> bool:
    return isinstance(at(resource, place), dict) and not (place and place[-1] in OPEN)


CLOSED = [
    (number, place) for number, one in enumerate(RESOURCES) for place in places(one) if is_closed(one, place)
]
KIND = [("apiVersion",), ("kind",)]  # which schema it is
VALUES = [
    (number, place)
    for number, one in enumerate(RESOURCES)
    for place in places(one)
    if place and place not in KIND
]
FIELDS = [(number, place) for number, place in VALUES if is_closed(RESOURCES[number], place[:-1])]


def changed(number: int, place: Place, value: Any) -> list[str]:
    """The faults of a rendering in which one value is another."""
    one = copy.deepcopy(RESOURCES[number])
    at(one, place[:-1])[place[-1]] = value
    return faults(one)


def without(number: int, place: Place) -> list[str]:
    one = copy.deepcopy(RESOURCES[number])
    del at(one, place[:-1])[place[-1]]
    return faults(one)


def everywhere(key: str) -> list[tuple[int, Place]]:
    """Where a field of that name stands in any rendering."""
    found = [(number, place) for number, place in FIELDS if place[-1] == key]
    assert found, key
    return found


def test_the_places_go_down_to_the_bottom() -> None:
    """From the resource itself to the path of a probe in a pod of a group of a cluster of a nightly job."""
    assert {len(place) for _, place in CLOSED} == set(range(15))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(CLOSED), st.text("abcdefghijklmnopqrstuvwxyz", min_size=3).map("x".__add__))
def test_an_unknown_field_is_refused_at_any_depth(where: tuple[int, Place], name: str) -> None:
    number, place = where
    assert any(name in fault for fault in changed(number, (*place, name), "whatever"))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(FIELDS), st.data())
def test_a_misspelt_field_is_refused_at_any_depth(where: tuple[int, Place], data: st.DataObject) -> None:
    number, place = where
    right = str(place[-1])
    cut = data.draw(st.integers(0, len(right) - 1))
    wrong = data.draw(st.sampled_from([right[:cut] + right[cut + 1 :], right[: cut + 1] + right[cut:]]))
    one = copy.deepcopy(RESOURCES[number])
    parent = at(one, place[:-1])
    parent[wrong] = parent.pop(right)
    assert any(repr(wrong) in fault for fault in faults(one))


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.sampled_from(VALUES))
def test_a_value_of_another_type_is_refused_at_any_depth(where: tuple[int, Place]) -> None:
    number, place = where
    value = at(RESOURCES[number], place)
    wrong: list[Any] = [None, 1.5]
    wrong += [["a list"]] if not isinstance(value, list) else [{"an": "object"}]
    wrong += [True] if isinstance(value, str) or type(value) is int else ["a text"]
    for one in wrong:
        assert changed(number, place, one), (place, one)


@pytest.mark.parametrize("number", range(len(RESOURCES)))
def test_a_resource_says_what_it_is(number: int) -> None:
    for place in KIND:
        with pytest.raises(LookupError, match="no schema is known"):
            without(number, place)
        with pytest.raises(LookupError, match="Wrong"):
            changed(number, place, "Wrong")


@pytest.mark.parametrize(
    "key",
    [
        "metadata",
        "schedule",
        "jobTemplate",
        "headGroupSpec",
        "template",
        "groupName",
        "minReplicas",
        "maxReplicas",
        "containers",
        "containerPort",
        "mountPath",
        "port",
        "preference",
        "weight",
        "nodeSelectorTerms",
    ],
)
def test_a_required_field_is_missed_wherever_it_is(key: str) -> None:
    for number, place in everywhere(key):
        if key == "metadata" and len(place) > 1:  # of a pod's template, where none is needed
            continue
        assert any(repr(key) in fault and "required" in fault for fault in without(number, place)), place


@pytest.mark.parametrize(
    "key",
    [
        "effect",
        "imagePullPolicy",
        "mode",
        "operator",
        "restartPolicy",
        "submissionMode",
        "type",
        "upscalingMode",
    ],
)
def test_a_value_out_of_its_list_is_refused_wherever_it_is(key: str) -> None:
    for number, place in everywhere(key):
        value = at(RESOURCES[number], place)
        for wrong in ("Wrong", value.swapcase(), value + "s"):
            assert any(repr(wrong) in fault for fault in changed(number, place, wrong)), place


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["2 Gi", "24GiB", "1,5", "", "-"])
def test_a_quantity_that_is_none_is_refused_wherever_it_is(quantity: str) -> None:
    quantities = [(n, p) for n, p in VALUES if len(p) > 1 and p[-2] in {"requests", "limits"}]
    for number, place in [*quantities, *everywhere("sizeLimit")]:
        assert changed(number, place, quantity), place


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("replicas", 2**31),
        ("activeDeadlineSeconds", 0),
        ("initialDelaySeconds", 2**31),
        ("backoffLimit", -(2**31) - 1),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_wherever_it_is(key: str, value: int) -> None:
    for number, place in everywhere(key):
        assert changed(number, place, value), place
