"""Figures: what is drawn is what was measured, nothing is cut off or overlaps, the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from seg_al.reporting import figures
from seg_al.reporting.styles import styles_of

NAMES = ["random", "entropy", "margin", "coreset", "vaal", "mcdropout", "suggestive_annotation", "badge"]


def curves(names: Sequence[str] = NAMES, counts: Sequence[int] = (37, 74, 111), **more: object) -> pd.DataFrame:
    rows = [
        (name, count, 0.4 + 0.01 * order + 0.05 * k, 0.39 + 0.05 * k, 0.6 + 0.05 * k, 6)
        for order, name in enumerate(names)
        for k, count in enumerate(counts)
    ]
    return pd.DataFrame(rows, columns=["strategy", "labeled", "mean", "low", "high", "n"]).assign(**more)


def texts(figure: Figure) -> list[Text]:
    """Return what is written in a figure, drawn."""
    FigureCanvasAgg(figure).draw()
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def check_layout(figure: Figure) -> None:
    """Check that all text is inside the figure and no two texts overlap."""
    written = texts(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    hidden = set()  # ticks beyond the ends of an axis have labels that are not drawn
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    boxes = [
        (text.get_text(), text.get_window_extent(renderer), text.get_rotation())
        for text in written
        if text not in hidden
    ]
    for name, box, _ in boxes:
        assert box.x0 >= -1 and box.y0 >= -1, f"{name!r} is cut off"
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, f"{name!r} is cut off"
    for (one, a, turned), (two, b, turned_too) in combinations(boxes, 2):
        if turned % 90 == 0 and turned_too % 90 == 0:  # boxes of slanted text overlap where the text does not
            width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert width <= 1 or height <= 1, f"{one!r} overlaps {two!r}"
            assert width <= -2 or height < a.height / 2, f"no space between {one!r} and {two!r}"


def matrix(names: Sequence[str] = NAMES) -> pd.DataFrame:
    return pd.DataFrame(np.linspace(0, 0.9, len(names) ** 2).reshape(len(names), -1), index=names, columns=names)


def draw_all(names: Sequence[str]) -> dict[str, Figure]:
    seeds = dict.fromkeys(names, 6)
    table = curves(names)
    panels = [f"class_{k}" for k in range(11)]
    classes = pd.concat([table.assign(**{"class": panel}) for panel in panels])
    ratios = pd.DataFrame(np.linspace(0.6, 2.2, 11 * len(names)).reshape(11, -1), index=panels, columns=list(names))
    times = pd.DataFrame({"strategy": names, **{phase: range(len(names)) for phase in figures.PHASE_LOOKS}})
    rare = ratios * np.geomspace(0.04, 1, 11)[:, None]
    costs = table.assign(seconds=table["labeled"] * 31.7)
    return {
        "curves": figures.plot_bands(table.assign(n=5), names, seeds, "test mIoU (%)", level=(0.7, "all labeled")),
        "costs": figures.plot_bands(costs, names, seeds, "test mIoU (%)", x="seconds", xlabel="machine time (s)"),
        "panels": figures.plot_panels(classes, "class", panels, names, seeds, ylabel="IoU (%)", scale=100),
        "penalties": figures.plot_matrix(matrix(names), "share of budgets", totals=True),
        "intervals": figures.plot_intervals(table[table["labeled"] == 74], names, "AUBC − that of random (points)"),
        "ratios": figures.plot_ratios(ratios, names, "share of queried pixels / share in random's queries"),
        "rare": figures.plot_ratios(rare, names, "share of queried pixels / share in the pool"),
        "times": figures.plot_times(times),
    }


TWO_STUDIES = [f"camvid{kind}_study/{name}" for kind in ("", "_biased") for name in ("random", "mc_dropout", "vaal")]


@pytest.mark.parametrize(
    "names",
    [NAMES, NAMES[:1], [f"my ${k}_strategy" for k in range(14)], TWO_STUDIES, ["random", "a" * 45]],
    ids=["8", "1", "14", "two studies", "long"],
)
def test_no_text_overlaps_or_is_cut_off(names: list[str]) -> None:
    for figure in draw_all(names).values():
        check_layout(figure)


def test_one_column_figures_are_as_wide_as_a_column() -> None:
    drawn = draw_all(NAMES)
    for name in ("curves", "costs", "intervals", "ratios", "times"):
        assert drawn[name].get_size_inches()[0] == figures.WIDTH
        sizes = {text.get_fontsize() for text in texts(drawn[name])}
        assert min(sizes) >= 7  # points, on paper


def test_the_curve_is_the_mean_in_its_band() -> None:
    table = curves(["random", "vaal"])
    axes = figures.plot_bands(table, ["random", "vaal"], {"random": 6, "vaal": 6}, "mIoU").axes[0]
    line = next(line for line in axes.lines if line.get_color() == styles_of(["vaal"])["vaal"][0])
    np.testing.assert_allclose(line.get_xydata(), [[37, 41], [74, 46], [111, 51]])
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    assert len(bands) == 2
    corners = bands[1].get_paths()[0].vertices
    assert {(37.0, 39.0), (37.0, 60.0), (111.0, 49.0), (111.0, 70.0)} <= {(x, round(y, 6)) for x, y in corners.tolist()}


def test_boundless_bands_of_few_seeds_leave_the_means_readable() -> None:
    table = curves(["vaal"], low=-0.2, high=0.9)  # means from 0.40 to 0.50
    low, high = figures.plot_bands(table, ["vaal"], {}, "mIoU").axes[0].get_ylim()
    assert low < 40 and high > 50 and high - low < 60
    panels = figures.plot_panels(table, "strategy", ["vaal"], ["vaal"], {}, scale=100, band=True, sharey=True)
    assert panels.axes[0].get_ylim() == (low, high)
    narrow = figures.plot_bands(curves(["vaal"], low=0.39, high=0.52), ["vaal"], {}, "mIoU", level=(0.6, "all labeled"))
    low, high = narrow.axes[0].get_ylim()
    assert 35 < low < 39 and 60 < high < 65  # bands and level are inside


def test_points_of_fewer_seeds_are_hollow() -> None:
    table = curves(["vaal"], n=[6, 6, 4])
    figure = figures.plot_bands(table, ["vaal"], {"vaal": 6}, "mIoU")
    points = {
        line.get_markerfacecolor(): line.get_xdata().tolist()
        for line in figure.axes[0].lines
        if line.get_marker() == "D"
    }
    assert points == {"#d62728": [37, 74], "white": [111]}
    assert "not all seeds" in [text.get_text() for text in texts(figure)]


def test_a_strategy_looks_the_same_whatever_else_is_drawn() -> None:
    alone = figures.plot_bands(curves(["vaal"]), NAMES, {}, "mIoU")
    among = figures.plot_bands(curves(), NAMES, {}, "mIoU")
    for figure in (alone, among):
        legend = figure.legends[0]
        colors = {
            text.get_text(): line.get_color() for text, line in zip(legend.texts, legend.get_lines(), strict=True)
        }
        assert colors["vaal"] == "#d62728"


def test_strategies_can_be_told_apart_in_grey() -> None:
    styles = styles_of(NAMES)
    assert len({style[1:] for style in styles.values()}) == len(NAMES)  # by marker and line, without the colour
    assert len(set(styles_of([f"vaal_{k}" for k in range(60)]).values())) == 60  # none is drawn like another
    many = styles_of([f"mine{k}" for k in range(12)])
    assert len(set(many.values())) == 12
    # no colour so light that it is lost on white: grey value below 200 of 255
    for color, *_ in styles_of([*NAMES, "bald", "probcover", "typiclust", "dbal"]).values():
        red, green, blue = (int(to_hex(color)[k : k + 2], 16) for k in (1, 3, 5))
        assert 0.299 * red + 0.587 * green + 0.114 * blue < 200, color


def test_a_matrix_shows_its_numbers_and_column_means_without_the_diagonal() -> None:
    values = pd.DataFrame(
        [[1.0, 0.2, np.nan], [0.4, 1.0, 0.5], [0.6, 0.0, 1.0]], index=list("abc"), columns=list("abc")
    )
    written = [text.get_text() for text in figures.plot_matrix(values, "share", totals=True).axes[0].texts]
    assert written == ["1.00", ".20", ".40", "1.00", ".50", ".60", "0", "1.00", ".50", ".10", ".50"]


def test_figures_are_the_same_bytes_each_time_and_carry_no_date(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        figures.save(figures.plot_bands(curves(), NAMES, {}, "mIoU"), tmp_path / folder, "curves")
    for name in ("curves.svg", "curves.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not re.search(rb"<dc:date>", (tmp_path / "a/curves.svg").read_bytes())
