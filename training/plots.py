"""What an evaluation found, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.acting import Acting
from training.measures import Confusion, Figures, Reliability
from training.verdict import ENOUGH

_BLUE, _PALE, _RED, _GREEN, _GREY = "#2f6f9f", "#b8d3e6", "#b3261e", "#1a7f4b", "#8a959a"
_WIDTH = 8.5
_MOST_LABELS = 24


def _axes(height: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return figure, axes


def recall(visits: Figures, pictures: Figures) -> Figure:
    """Bars of recall per visit with their intervals, a dot for the same per picture; the weakest on top."""
    labels = sorted(visits.recall, key=lambda label: visits.recall[label].value or 0.0, reverse=True)
    figure, axes = _axes(0.9 + 0.3 * len(labels))
    shares = [visits.recall[label] for label in labels]
    values = np.array([share.value or 0.0 for share in shares])
    reach = np.array([share.interval for share in shares]).reshape(-1, 2)
    rows = np.arange(len(labels))
    axes.barh(rows, values, color=[_PALE if value >= ENOUGH else "#edc4c0" for value in values], height=0.7)
    spread = np.abs(reach.T - values)
    axes.errorbar(values, rows, xerr=spread, fmt="none", ecolor=_BLUE, capsize=3, linewidth=1.2, label="95 %, visits")
    dots = [pictures.recall[label].value or 0.0 for label in labels]
    axes.plot(dots, rows, "o", color="#22282b", markersize=4, label="per picture", clip_on=False)
    axes.axvline(ENOUGH, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(rows, [f"{label}  {share.hits}/{share.n}" for label, share in zip(labels, shares, strict=True)])
    axes.set_xlim(0.0, 1.0)
    _percents(axes.xaxis)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=8)
    return figure


def confusion(found: Confusion) -> Figure:
    """Rows: what it is; columns: what it was called. Coloured by the share of the row; the most confused labels."""
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    chosen = np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:_MOST_LABELS])
    counts = found.counts[np.ix_(chosen, chosen)]
    labels = [found.labels[place] for place in chosen]
    share = counts / np.maximum(found.counts[chosen].sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.34 * len(labels)
    figure, axes = _axes(side, side + 0.4)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 0.55 else _RED if row != column else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("was called", fontsize=9)
    axes.set_ylabel("is", fontsize=9)
    return figure


def costs(acting: Acting) -> Figure:
    """Friends scared and threats missed over the cost of a miss, with the configured point and the best one."""
    figure, axes = _axes(3.4)
    ratios = [point.ratio for point in acting.curve]
    for name, colour, shares in (
        ("threats missed", _RED, [point.misses for point in acting.curve]),
        ("friends scared", _BLUE, [point.scares for point in acting.curve]),
    ):
        values = np.array([share.value or 0.0 for share in shares])
        reach = np.array([share.interval for share in shares])
        axes.plot(ratios, values, color=colour, marker=".", label=name)
        axes.fill_between(ratios, reach[:, 0], reach[:, 1], color=colour, alpha=0.1, linewidth=0)
    axes.axvline(acting.chosen.ratio, color="#22282b", linewidth=1.0, label="as configured")
    if acting.best.ratio != acting.chosen.ratio:
        axes.axvline(acting.best.ratio, color=_GREEN, linewidth=1.0, linestyle="--", label="would cost least")
    axes.set_xscale("log", base=2)
    shown = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    axes.set_xticks(shown, [f"{ratio:g}" for ratio in shown])
    axes.set_xlabel("cost of a miss, where scaring a friend costs 1", fontsize=9)
    axes.set_ylabel("of the visits", fontsize=9)
    axes.set_ylim(bottom=0.0)
    _percents(axes.yaxis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def calibration(found: Reliability) -> Figure:
    """How sure it was against how often it was right; a dot's area is its number of pictures."""
    figure, axes = _axes(3.6, 4.2)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    most = max(one.n for one in found.bins)
    sizes = [12 + 180 * one.n / most for one in found.bins]
    axes.plot([one.sure for one in found.bins], [one.right for one in found.bins], color=_BLUE, linewidth=1.0)
    axes.scatter([one.sure for one in found.bins], [one.right for one in found.bins], s=sizes, color=_BLUE, alpha=0.75)
    axes.set(xlim=(0.0, 1.03), ylim=(0.0, 1.03), aspect="equal")
    axes.set_xlabel("how sure it was", fontsize=9)
    axes.set_ylabel("how often it was right", fontsize=9)
    _percents(axes.xaxis)
    _percents(axes.yaxis)
    return figure


def learning(points: Sequence[tuple[int, float]]) -> Figure:
    """Balanced accuracy over the number of visits it was trained on."""
    figure, axes = _axes(2.8, 6.0)
    groups = [count for count, _ in points]
    axes.plot(groups, [value for _, value in points], color=_BLUE, marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(groups, [str(count) for count in groups])
    axes.minorticks_off()
    axes.set_xlabel("visits it was trained on", fontsize=9)
    axes.set_ylabel("balanced accuracy", fontsize=9)
    _percents(axes.yaxis)
    axes.grid(axis="y", linewidth=0.4)
    return figure


def surest(known: Sequence[int], unknown: Sequence[int]) -> Figure:
    """How sure it is of what it knows, and of what it cannot know."""
    figure, axes = _axes(2.6, 6.0)
    middles = (np.arange(len(known)) + 0.5) / len(known)
    for shift, counts, colour, name in ((-0.02, known, _BLUE, "known"), (0.02, unknown, _RED, "unknown")):
        axes.bar(middles + shift, np.array(counts) / max(sum(counts), 1), width=0.038, color=colour, label=name)
    axes.set_xlabel("probability of the likeliest label", fontsize=9)
    axes.set_ylabel("of the pictures", fontsize=9)
    axes.set_xlim(0.0, 1.0)
    _percents(axes.xaxis)
    _percents(axes.yaxis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _percents(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
