"""docs/strategies.md lists every strategy, and no other."""

from __future__ import annotations

import re

from conftest import ROOT

import seg_al
from seg_al.strategies.base import Strategy
from seg_al.strategies.pooling import Pooling

TEXT = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


def exported(base: type) -> set[str]:
    """Return the names of the classes of a kind that a config may import."""
    found = {name: getattr(seg_al, name) for name in seg_al.__all__}
    return {name for name, value in found.items() if isinstance(value, type) and issubclass(value, base)}


def test_the_page_has_a_row_for_every_strategy() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", TEXT, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(exported(Strategy))
    for name, rest in rows:
        idea, trains, passes, paper, when = (cell.strip() for cell in rest.split("|"))
        assert idea and trains and passes and when and (paper or name in ("Random", "Replay")), name


def test_the_page_names_every_pooling_and_no_class_that_does_not_exist() -> None:
    assert all(f"`{name}(" in TEXT for name in exported(Pooling))
    named = set(re.findall(r"`(?:\w+=)?([A-Z]\w+)\(", TEXT))
    assert named <= set(seg_al.__all__), named - set(seg_al.__all__)


def test_every_strategy_is_exported_and_says_what_it_costs() -> None:
    def below(kind: type) -> set[type]:
        return {kind} | {deeper for child in kind.__subclasses__() for deeper in below(child)}

    own = {kind for kind in below(Strategy) if kind.__module__.startswith("seg_al.")}
    hidden = {kind for kind in own if kind.__name__ not in exported(Strategy)}
    assert all(kind.__subclasses__() for kind in hidden), "only bases may be left out of seg_al.__all__"
    for name in exported(Strategy):
        assert "Cost:" in (getattr(seg_al, name).__doc__ or ""), f"{name} does not say what it costs"
