"""Dataclasses from untrusted JSON: right types come back alike, wrong ones are one clear error."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnp_core.errors import ReportError
from rnp_core.plain_values import MOST_NESTED, from_plain, to_plain
from rnp_core.reports import render_report
from tests.helpers.hostile_report import write_example
from tests.helpers.reports import example_report

WRONG: tuple[Any, ...] = (
    math.inf, math.nan, -1, 10**30, 10**400, -1e308, True, None, "<b>", [1, "x"], {"a": []},
)  # fmt: skip
FORMS = ("json", "sarif", "mlbom", "card")


@dataclass(frozen=True)
class Inner:
    """One of the values of :class:`Outer`."""

    name: str
    share: float | None = None


@dataclass(frozen=True)
class Outer:
    """Every declared type that reports use."""

    count: int
    score: float
    flag: bool
    kind: Literal["a", "b"]
    rows: list[Inner]
    table: dict[str, list[float]]
    free: dict[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {
    "count": 3,
    "score": 0.5,
    "flag": True,
    "kind": "a",
    "rows": [{"name": "x", "share": None}, {"name": "y", "share": 1}],
    "table": {"t": [1, 2.5]},
    "free": {"any": [{"thing": None}]},
}


def test_right_values_come_back() -> None:
    found = from_plain(Outer, {**GOOD, "unknown": 1}, "outer")
    assert found == Outer(
        3, 0.5, True, "a", [Inner("x"), Inner("y", 1.0)], {"t": [1.0, 2.5]},
        {"any": [{"thing": None}]},
    )  # fmt: skip
    assert from_plain(Outer, {**GOOD, "count": 3.0}, "outer").count == 3


def test_a_number_that_json_lacks_comes_back_as_nan() -> None:
    for value in (None, math.nan, math.inf, -math.inf):
        assert math.isnan(from_plain(Outer, {**GOOD, "score": value}, "outer").score)
    found = from_plain(Outer, {**GOOD, "free": {"a": [math.inf]}}, "outer")
    assert found.free == {"a": [None]}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", "3", "expected an integer at outer.count, got '3'"),
        ("count", 2.5, "expected an integer at outer.count"),
        ("count", True, "expected an integer at outer.count"),
        ("count", 2**63, "expected an integer at outer.count"),
        ("score", "high", "expected a number at outer.score, got 'high'"),
        ("score", 10**400, "expected a number at outer.score"),
        ("score", False, "expected a number at outer.score"),
        ("flag", 1, "expected true or false at outer.flag"),
        ("kind", ["a"], "expected one of a, b at outer.kind"),
        ("rows", {}, "expected a list at outer.rows, got dict"),
        ("rows", [{"name": None}], r"expected text at outer.rows\[0\].name"),
        ("rows", [3], r"expected an object at outer.rows\[0\], got int"),
        ("table", [1], "expected an object at outer.table, got list"),
        ("table", {"t": ["x"]}, r"expected a number at outer.table.t\[0\]"),
        ("free", 7, "expected an object at outer.free"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(name: str, value: object, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        from_plain(Outer, {**GOOD, name: value}, "outer")


def test_free_values_nest_so_deep_and_no_deeper() -> None:
    value: Any = 0
    for _ in range(MOST_NESTED - 1):
        value = [value]
    from_plain(Outer, {**GOOD, "free": {"a": value}}, "outer")
    with pytest.raises(ReportError, match=f"at most {MOST_NESTED} levels"):
        from_plain(Outer, {**GOOD, "free": {"a": [value]}}, "outer")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(name=st.sampled_from(sorted(GOOD)), value=json_values)
def test_any_json_is_read_or_refused_and_can_be_written(name: str, value: Any) -> None:
    try:
        found = from_plain(Outer, {**GOOD, name: value}, "outer")
    except ReportError:
        return
    json.dumps(to_plain(vars(found)["free"]), allow_nan=False)


def places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below ``data``."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*place, key))


def test_reports_of_wrong_values_are_written_or_refused(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "run")
    good = example_report().to_dict()
    written = 0
    for number, place in enumerate(places(good)):
        data = copy.deepcopy(good)
        inner: Any = data
        for key in place[:-1]:
            inner = inner[key]
        for turn, value in enumerate(WRONG, number):
            form = FORMS[turn % len(FORMS)]
            inner[place[-1]] = value
            (folder / "report.json").write_text(json.dumps(data), encoding="utf-8")
            try:
                content = render_report(folder, form)
            except ReportError:
                continue
            written += 1
            if form != "card":
                json.loads(content, parse_constant=lambda name: pytest.fail(name))
    assert written > 100
