"""Pictures for papers and reports. The only importer of matplotlib, and only when a picture is asked for."""

import io
from typing import Any

import numpy as np

# Okabe and Ito's palette, told apart with every common colour blindness: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#555555"
DPI = 150
BINS = 80


def weights_picture(weights: Any, document: dict[str, Any], objective: str, settings: dict[str, float]) -> bytes:
    """Draw the log ratios and the weights of a run, as a PNG.

    Left: density of the log ratio by split, with the weight that the objective gives over it. Right: density of the
    raw and of the trust-weighted weights of all steps, with the bound. Values beyond an axis are left out of the
    drawing, not of the densities.

    Args:
        weights: log_ratio, raw, trust_weighted and held_out, each [N].
        document: what `gipo inspect-weights --json` prints.
        objective: its name.
        settings: the objective's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state, and picks a window system where there is one.
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(_title(document, objective, settings), fontsize=11)
    _log_ratios(left, weights, objective)
    _weights(right, weights, document["splits"]["all"]["trust_weighted"]["bound"])
    for axes in (left, right):
        axes.spines["top"].set_visible(False)
    right.spines["right"].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _title(document: dict[str, Any], objective: str, settings: dict[str, float]) -> str:
    part = "held_out" if document["splits"]["held_out"]["transitions"] else "all"
    split = document["splits"][part]
    chosen = ", ".join(f"{name}={value:g}" for name, value in settings.items())
    shown = [
        objective + (f" ({chosen})" if chosen else ""),
        f"ESS {_share(split['raw']['ess_fraction'])} raw, "
        f"{_share(split['trust_weighted']['ess_fraction'])} trust-weighted",
        f"KL {split['kl']['k1']:.2f} nats",
        f"verdict: {document['verdict']}",
    ]
    return "   |   ".join(shown)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"


def _log_ratios(axes: Any, weights: Any, objective: str) -> None:
    low, high = np.quantile(weights.log_ratio, [0.002, 0.998])
    low, high = (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, BINS + 1)
    held_in = weights.log_ratio[~weights.held_out]
    _density(axes, held_in, edges, color=BLUE, alpha=0.45, label="held in", filled=True)
    _density(axes, weights.log_ratio[weights.held_out], edges, color=BLUE, label="held out")
    axes.set(xlabel="log ratio, log(π / β), in nats", ylabel="density", xlim=(low, high))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    curve = axes.twinx()
    for name, rows, style in (("A > 0", weights.advantage > 0, "-"), ("A < 0", weights.advantage < 0, ":")):
        _curve(curve, weights, np.flatnonzero(rows), style, color=ORANGE, label=f"{objective} weight, {name}")
    curve.set_ylabel("weight of a sample")
    shown = (weights.log_ratio >= low) & (weights.log_ratio <= high)
    curve.set_ylim(0, 1.3 * max(1e-6, float(weights.trust_weighted[shown].max(initial=0))))
    curve.spines["top"].set_visible(False)
    handles = [*axes.get_legend_handles_labels()[0], *curve.get_legend_handles_labels()[0]]
    curve.legend(handles=handles, frameon=False, loc="upper left", fontsize=9)


def _curve(axes: Any, weights: Any, rows: Any, line: str, **style: Any) -> None:
    """The weight over the log ratio: a function of it and of the sign of A, so the samples themselves draw it."""
    order = rows[np.argsort(weights.log_ratio[rows])]
    order = order[np.unique(np.linspace(0, max(0, order.size - 1), min(order.size, 4000)).astype(int))]
    axes.plot(weights.log_ratio[order], weights.trust_weighted[order], line, linewidth=2, **style)


def _weights(axes: Any, weights: Any, bound: float | None) -> None:
    top = min(20.0, max(1.5, float(np.quantile(weights.raw, 0.99)), 1.15 * (bound or 0)))
    edges = np.linspace(0, top, BINS + 1)
    _density(axes, weights.raw, edges, color=GREY, alpha=0.35, label="raw ratio π / β", filled=True)
    _density(axes, weights.trust_weighted, edges, color=GREEN, label="trust-weighted")
    if bound is not None and bound <= top:
        axes.axvline(bound, color=ORANGE, linestyle="--", linewidth=1.5, label=f"bound {bound:.3g}")
    axes.set(xlabel="weight", ylabel="density (log scale)", xlim=(0, top), yscale="log")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _density(axes: Any, column: Any, edges: Any, *, filled: bool = False, **style: Any) -> None:
    if not column.size:
        return
    density = np.histogram(column, edges)[0] / (column.size * np.diff(edges))
    axes.stairs(density, edges, fill=filled, linewidth=0 if filled else 1.8, **style)
