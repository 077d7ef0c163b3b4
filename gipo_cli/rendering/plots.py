"""Pictures for papers and reports. The only importer of matplotlib, and only when a picture is asked for."""

import io
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from gipo_cli.diagnostics.columns import Computed, Rows, walk
from gipo_cli.diagnostics.order_statistics import quantile

# Okabe and Ito's palette, told apart with every common colour blindness: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#555555"
DPI = 150
BINS = 80
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# The rest of the palette, yellow apart, which is too faint for dots.
METHOD_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#D55E00", "#56B4E9", "#000000")
ABREAST = 3  # panels in a row
LONGEST_LABEL = 30
POINTS = 4000  # that draw a curve
MOST_DRAWN = 2**20  # rows that a curve is drawn from
ROUGH = 0.01  # mean step between neighbours of them, as a share of the largest weight, of what is no curve
MANY = 30  # points of a line that are not marked one by one


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
    low, high = quantile(weights.log_ratio, [0.002, 0.998])
    low, high = (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, BINS + 1)
    held_in, held_out = Rows(Computed(np.logical_not, weights.held_out)), Rows(weights.held_out)
    _density(axes, held_in.of(weights.log_ratio), edges, color=BLUE, alpha=0.45, label="held in", filled=True)
    _density(axes, held_out.of(weights.log_ratio), edges, color=BLUE, label="held out")
    axes.set(xlabel="log ratio, log(π / β), in nats", ylabel="density", xlim=(low, high))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    curve = axes.twinx()
    x, advantage, weight = _drawn(weights)
    for name, rows, style in (("A > 0", advantage > 0, "-"), ("A < 0", advantage < 0, ":")):
        _curve(curve, x[rows], weight[rows], style, color=ORANGE, label=f"{objective} weight, {name}")
    curve.set_ylabel("weight of a sample")
    most = (w[(low <= x) & (x <= high)].max(initial=0) for x, w in walk(weights.log_ratio, weights.trust_weighted))
    curve.set_ylim(0, 1.3 * max(1e-6, float(max(most))))
    curve.spines["top"].set_visible(False)
    handles = [*axes.get_legend_handles_labels()[0], *curve.get_legend_handles_labels()[0]]
    curve.legend(handles=handles, frameon=False, loc="upper left", fontsize=9)


def _drawn(weights: Any) -> tuple[Any, ...]:
    """Log ratio, advantage and weight of all rows, or of MOST_DRAWN or so of them, drawn at random."""
    draw, share, found = np.random.default_rng(0), MOST_DRAWN / len(weights.log_ratio), []
    for blocks in walk(weights.log_ratio, weights.advantage, weights.trust_weighted):
        rows = draw.random(len(blocks[0])) < share  # all of them where it is 1 or more
        found.append([block[rows] for block in blocks])
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def _curve(axes: Any, log_ratio: Any, weight: Any, line: str, **style: Any) -> None:
    """The weight over the log ratio: mostly a function of it and of the sign of A, so the samples draw it.

    Where it is none, as with ratios per dimension or weights that go with the size of A, its mean is drawn.
    """
    order = np.argsort(log_ratio)
    at, weight = log_ratio[order], weight[order]
    shown = np.unique(np.linspace(0, max(0, order.size - 1), min(order.size, POINTS)).astype(int))
    if shown.size > 1 and np.abs(np.diff(weight[shown])).mean() > ROUGH * weight.max():
        parts = [part for part in np.array_split(np.arange(order.size), BINS) if part.size]
        at, weight = (np.array([column[part].mean() for part in parts]) for column in (at, weight))
    else:
        at, weight = at[shown], weight[shown]
    axes.plot(at, weight, line, linewidth=2, **style)


def _weights(axes: Any, weights: Any, bound: float | None) -> None:
    top = min(20.0, max(1.5, *quantile(weights.raw, [0.99]), 1.15 * (bound or 0)))
    edges = np.linspace(0, top, BINS + 1)
    _density(axes, weights.raw, edges, color=GREY, alpha=0.35, label="raw ratio π / β", filled=True)
    _density(axes, weights.trust_weighted, edges, color=GREEN, label="trust-weighted")
    if bound is not None and bound <= top:
        axes.axvline(bound, color=ORANGE, linestyle="--", linewidth=1.5, label=f"bound {bound:.3g}")
    axes.set(xlabel="weight", ylabel="density (log scale)", xlim=(0, top), yscale="log")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _density(axes: Any, column: Any, edges: Any, *, filled: bool = False, **style: Any) -> None:
    if not len(column):
        return
    counts = sum(np.histogram(block, edges)[0] for (block,) in walk(column))
    density = counts / (len(column) * np.diff(edges))
    axes.stairs(density, edges, fill=filled, linewidth=0 if filled else 1.8, **style)


def log_picture(log: Any) -> bytes:
    """Draw what a log holds, as a PNG: returns, lengths and, where it has them, log-probs.

    The fourth panel shows whether one policy acted throughout: the spread of the log-probs along the log, or by the
    version of the policy where the log names it. A drift or a step there means that several took part.

    Args:
        log: `Trajectories`, or anything with its fields.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_log_probs = log.log_probs_origin != "none" and np.isfinite(log.behaviour_log_probs).all()
    figure = Figure(figsize=(10, 6.6 if has_log_probs else 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 if has_log_probs else 1, 2).ravel()
    figure.suptitle(_log_title(log), fontsize=11)
    _counts(panels[0], log.episode_returns, "undiscounted return of an episode")
    _counts(panels[1], log.episode_lengths, "length of an episode, in steps")
    if has_log_probs:
        joint = log.behaviour_log_probs.reshape(log.transitions, -1).sum(-1)
        edges = _edges(joint, 0.001)
        _density(panels[2], joint, edges, color=BLUE, alpha=0.45, filled=True)
        panels[2].set(xlabel="log-prob of a step, in nats", ylabel="density", xlim=(edges[0], edges[-1]))
        _bands(panels[3], log, joint)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _log_title(log: Any) -> str:
    # A name from a file is text, not one of matplotlib's formulas.
    shown = [log.name[:40], log.environment or "environment not named", f"{log.transitions:,} steps"]
    shown += [f"{log.episodes:,} episodes"]
    shown += (
        ["no log-probs"] if log.log_probs_origin == "none" else [f"log-probs {log.log_probs_origin}, {log.convention}"]
    )
    return "   |   ".join(shown).replace("$", r"\$")


def _edges(column: np.ndarray, beyond: float) -> np.ndarray:
    """Bins from one outer quantile to the other; a few around a column that is one number."""
    low, high = np.quantile(column, [beyond, 1 - beyond])
    low, high = (low, high) if high - low > 1e-9 * max(1.0, abs(low)) else (low - 0.5, high + 0.5)
    return np.linspace(low, high, BINS + 1)


def _counts(axes: Any, column: np.ndarray, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if not np.isfinite(column).all():
        axes.text(0.5, 0.5, "not finite", ha="center", transform=axes.transAxes)
        axes.set(xlabel=label, yticks=[])
        return
    edges = _edges(column, 0.0)
    axes.stairs(np.histogram(column, edges)[0], edges, fill=True, color=BLUE, alpha=0.45)
    for share, style in ((0.25, ":"), (0.5, "-"), (0.75, ":")):
        axes.axvline(np.quantile(column, share), color=ORANGE, linestyle=style, linewidth=1.5)
    axes.set(xlabel=f"{label} (lines: quartiles)", ylabel="episodes", xlim=(edges[0], edges[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _bands(axes: Any, log: Any, joint: np.ndarray) -> None:
    """Median, middle half and middle nine tenths of the log-probs, along the log or by version."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if log.policy_versions is None or np.ptp(log.policy_versions) == 0:
        order, position, label = np.arange(len(joint)), np.arange(len(joint)), "step in the log"
    else:
        order = np.argsort(log.policy_versions, kind="stable")
        position, label = log.policy_versions[order], "version of the behaviour policy"
    values = joint[order]
    cuts = _cuts(position, label)
    found = np.array([np.quantile(values[a:b], QUANTILES) for a, b in pairwise(cuts)]).T
    middle = np.array([np.mean(position[a:b]) for a, b in pairwise(cuts)])
    marker = {"marker": "o", "markersize": 3} if len(middle) < MANY else {}
    axes.fill_between(middle, found[0], found[4], color=BLUE, alpha=0.18, linewidth=0, label="5 to 95 %")
    axes.fill_between(middle, found[1], found[3], color=BLUE, alpha=0.35, linewidth=0, label="25 to 75 %")
    axes.plot(middle, found[2], color=BLUE, linewidth=1.8, label="median", **marker)
    low, high = axes.get_ylim()
    axes.set(xlabel=label, ylabel="log-prob of a step, in nats", ylim=(low, high + 0.22 * (high - low)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(frameon=False, fontsize=9, loc="upper center", ncols=3)


def _cuts(position: np.ndarray, label: str) -> np.ndarray:
    """Where groups of steps begin and end: at versions where there are few, else as many steps each."""
    if label.startswith("version"):
        changes = np.flatnonzero(np.diff(position)) + 1
        if len(changes) < BINS:
            return np.concatenate([[0], changes, [len(position)]])
    return np.unique(np.linspace(0, len(position), min(BINS, max(1, len(position) // 20)) + 1).astype(int))


def curves_picture(metrics: Sequence[dict[str, Any]]) -> bytes:
    """Draw a training as a PNG: loss, and of the held-out steps KL, effective share and surrogate with its lower bound.

    Args:
        metrics: the lines of metrics.jsonl.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [line["step"] for line in metrics]
    panels = (
        ("loss", [line["loss"] for line in metrics]),
        ("held-out KL(β || π), nats", [line["held_out"]["kl"] for line in metrics]),
        ("held-out effective share", [line["held_out"]["ess_fraction"] for line in metrics]),
        ("held-out surrogate, sd of the advantage", [line["held_out"]["surrogate"] for line in metrics]),
    )
    drawn = figure.subplots(2, 2).ravel()
    for axes, (name, values) in zip(drawn, panels, strict=True):
        axes.plot(steps, values, color=BLUE, linewidth=1.8, marker="o" if len(steps) <= MANY else "", markersize=3)
        axes.set_title(name, fontsize=10)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    lower = [line["held_out"].get("surrogate_lower") for line in metrics]
    if all(value is not None for value in lower):
        drawn[-1].plot(steps, lower, color=ORANGE, linewidth=1.5, linestyle="--", label="lower bound, 95 %")
        drawn[-1].legend(frameon=False, fontsize=9, loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def comparison_picture(document: dict[str, Any]) -> bytes:
    """Draw runs side by side, as a PNG: a panel for each log, then what they come to over logs.

    Of a log: each seed as a dot, the mean over seeds as a line across them with its 95 % interval, the behaviour policy
    dashed. Over logs: the interquartile mean and the probability of improvement, with their intervals.

    Args:
        document: what `gipo compare --json` prints.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    methods = document["methods"]
    draw = [partial(_log_panel, document=document, table=table) for table in document["logs"]]
    draw += [partial(_over_logs_panel, document=document)] if document["aggregate"]["methods"] else []
    draw += [partial(_improvement_panel, document=document)] if document["improvement"]["methods"] else []
    across = min(ABREAST, len(draw))
    down = -(-len(draw) // across)
    size = (1.4 + 3.6 * across, 0.3 + down * (1.1 + 0.42 * max(2, len(methods))))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False)
    for i, axes in enumerate(panels.ravel()):
        if i >= len(draw):
            axes.set_axis_off()
            continue
        draw[i](axes)
        _method_axis(axes, methods, named=i % across == 0)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _method_axis(axes: Any, methods: list[str], *, named: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yticks(range(len(methods)), [_plain(name) if named else "" for name in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)  # the first one on top
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plain(text: str) -> str:
    """A name from a file: text, not one of matplotlib's formulas, and no longer than there is room for."""
    return (text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…").replace("$", r"\$")


def _log_panel(axes: Any, document: dict[str, Any], table: dict[str, Any]) -> None:
    """Scores where D4RL has them, else returns: a score is a straight line of the return."""
    runs = [run for run in document["runs"] if run["log"] == table["log"] and run["used"]]
    unit = "score" if runs and all(run["score"] is not None for run in runs) else "stochastic"
    for row, method in enumerate(document["methods"]):
        mine = [run for run in runs if run["method"] == method]
        if mine:
            values = np.array([run[unit] for run in mine])
            cell = next(cell for cell in table["cells"] if cell["method"] == method)
            found = cell[unit]
            _seed_dots(axes, row, values, None if found["lower"] is None else (found["upper"] - found["lower"]) / 2)
        else:
            axes.text(0.5, row, "no evaluated run", transform=axes.get_yaxis_transform(), ha="center", va="center",
                      fontsize=8, color=GREY)  # fmt: skip
    behaviour = table["behaviour"]
    at = behaviour["score"] if unit == "score" else behaviour["stochastic"]["mean"]
    if at is not None:
        axes.axvline(at, color=GREY, linestyle="--", linewidth=1.3, zorder=1)
        axes.annotate("behaviour", (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -1), fontsize=8,
                      textcoords="offset points", color=GREY, va="top")  # fmt: skip
    axes.margins(x=0.12)
    axes.set_title(_plain(table["log"]), fontsize=10)
    axes.set_xlabel("D4RL score" if unit == "score" else "return", fontsize=9)


def _seed_dots(axes: Any, row: int, values: np.ndarray, half: float | None) -> None:
    colour = METHOD_COLOURS[row % len(METHOD_COLOURS)]
    axes.plot(values, np.full(len(values), row - 0.16), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
    axes.errorbar(values.mean(), row + 0.12, xerr=half, fmt="D", color=colour, markersize=5, capsize=3, linewidth=1.8)


def _over_logs_panel(axes: Any, document: dict[str, Any]) -> None:
    rows = {row["method"]: row["iqm"] for row in document["aggregate"]["methods"]}
    _intervals(axes, document["methods"], rows)
    logs = len(document["aggregate"]["logs"])
    axes.margins(x=0.12)
    axes.set_title(f"over {logs} log{'s' * (logs > 1)}", fontsize=10)
    axes.set_xlabel("interquartile mean of scores", fontsize=9)


def _improvement_panel(axes: Any, document: dict[str, Any]) -> None:
    rows = {row["method"]: row["probability"] for row in document["improvement"]["methods"]}
    _intervals(axes, document["methods"], rows)
    baseline = document["improvement"]["baseline"]
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1.3, zorder=1)
    axes.text(0.5, document["methods"].index(baseline), " baseline", fontsize=8, color=GREY, va="center")
    axes.set(xlim=(-0.04, 1.04))
    axes.set_title("probability of improvement", fontsize=10)
    axes.set_xlabel(f"P(better than {_plain(baseline)})", fontsize=9)


def _intervals(axes: Any, methods: list[str], rows: dict[str, dict[str, float | None]]) -> None:
    for row, method in enumerate(methods):
        found = rows.get(method)
        if found is None:
            continue
        value, lower, upper = found["value"], found["lower"], found["upper"]
        ends = None if lower is None or upper is None or value is None else [[value - lower], [upper - value]]
        axes.errorbar(value, row, xerr=ends, fmt="D", color=METHOD_COLOURS[row % len(METHOD_COLOURS)], markersize=5,
                      capsize=3, linewidth=1.8)  # fmt: skip
