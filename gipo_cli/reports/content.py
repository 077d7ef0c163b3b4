"""What a report says of runs, part by part."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from gipo_cli.rendering import plots, terminal
from gipo_cli.rendering.comparison import comparison_table
from gipo_cli.rendering.offline import ESTIMATED, offline_rows, refusals, verdict_text, which_episodes
from gipo_cli.rendering.offline import HEADS as OFFLINE_HEADS
from gipo_cli.rendering.summary import summary_rows
from gipo_cli.reports.blocks import Block, Code, Findings, Heading, Paragraph, Picture, Table
from gipo_cli.reports.document import RunReport, is_finished

VERDICTS = {
    "trust": "The weights can be trusted: no threshold was crossed.",
    "caution": "Look twice at the weights: a threshold was crossed.",
    "distrust": "Do not trust what was learned: its weights are not to be relied on.",
}
SPLITS = {"held_out": "held out", "held_in": "held in"}
WEIGHTS = (
    ("ESS of the raw ratios", ("raw", "ess_fraction"), ".1%"),
    ("ESS, trust-weighted", ("trust_weighted", "ess_fraction"), ".1%"),
    ("mean raw ratio", ("raw", "mean"), ".3f"),
    ("Pareto k of the raw ratios", ("raw", "pareto_k"), ".2f"),
    ("KL(beta || pi), nats", ("kl", "k1"), ".3f"),
    ("silenced by PPO-Clip", ("ppo_dead_fraction",), ".1%"),
    ("weight below 0.001", ("suppressed_fraction",), ".1%"),
)


def content(reports: Sequence[RunReport], comparison: dict[str, Any] | None, *, pictures: bool) -> Iterator[Block]:
    """Everything, in the order in which it is read.

    Args:
        reports: of each run.
        comparison: of several, what `gipo compare --json` prints.
        pictures: draw them.
    """
    several = len(reports) > 1
    yield Heading(f"{len(reports)} runs" if several else f"Run {reports[0].document['run']}", 1)
    if several:
        yield Table(["run", "objective", "seed", "status", "kept", "verdict"], [_line(each) for each in reports], 6)
        if comparison:
            yield from _comparison(comparison, pictures)
    for report in reports:
        if several:
            yield Heading(f"Run {report.document['run']}", 2)
        yield from _run(report, pictures)


def _comparison(document: dict[str, Any], pictures: bool) -> Iterator[Block]:
    yield Heading("Side by side", 2)
    heads, rows = comparison_table(document)
    yield Table(heads, rows, 2)
    if pictures:
        yield Picture(plots.comparison_picture(document), "Scores or returns by log and method, a dot for each seed.")


def _line(report: RunReport) -> list[str]:
    document = report.document
    verdict = (document["inspection"] or {}).get("verdict", "–")
    kept = (document.get("certificate") or {}).get("kept", "–")
    return [document["run"], *(str(document.get(key, "–")) for key in ("objective", "seed", "status")), kept, verdict]


def _run(report: RunReport, pictures: bool) -> Iterator[Block]:
    document = report.document
    if is_finished(document):
        yield Table(["", ""], summary_rows(document), 2)
    else:
        error = document.get("error")
        yield Paragraph(f"Status: {document.get('status', 'unknown')}." + (f" {error}" if error else ""), strong=True)
    if document["gates"]:
        yield Heading("Gates", 3)
        yield Findings([_gate(gate) for gate in document["gates"]])
    yield from _weights(report, pictures)
    if document["offline"]:
        yield from _by_the_log(document["offline"])
    if document["evaluation"]:
        yield from _returns(document["evaluation"])
    if document["metrics"]:
        yield from _training(document["metrics"], pictures)
    yield from _data(document)
    yield from _reproduction(document)


def _gate(gate: dict[str, Any]) -> tuple[str, str, str]:
    value = terminal.cell_text(gate["value"])
    return ("ok" if gate["held"] else "alarm"), f"{gate['key']} is {value}", f"fails if {gate['expression']}"


def _weights(report: RunReport, pictures: bool) -> Iterator[Block]:
    yield Heading("Can it be trusted?", 3)
    found = report.document["inspection"]
    if found is None or report.inspected is None:
        yield Paragraph(f"Not known: {report.document['inspection_missing']}")
        return
    yield Paragraph(f"{VERDICTS[found['verdict']]}", strong=True)
    yield Findings([(each.level, each.meaning, each.source) for each in found["findings"]])
    rows = [
        [name, *(_of(found["splits"][split], path, form) for split in SPLITS)] for name, path, form in WEIGHTS
    ]  # fmt: skip
    yield Table(["", *SPLITS.values()], rows)
    yield from _along_episodes(found["by_time"])
    if pictures:
        inspected = report.inspected
        png = plots.weights_picture(inspected.weights, inspected.document, inspected.objective, inspected.settings)
        yield Picture(png, "Log ratios of the held-in and held-out steps, and the weights before and after.")


def _along_episodes(stretches: Sequence[dict[str, Any]]) -> Iterator[Block]:
    """Where along an episode the policy leaves the log; a single step has no course."""
    if len(stretches) < 2:
        return
    rows = [
        [f"{each['first']:,} to {each['last']:,}", f"{each['transitions']:,}", f"{each['ess_fraction']:.1%}",
         f"{each['kl']:.3f}"]
        for each in stretches
    ]  # fmt: skip
    yield Table(["steps of an episode", "transitions", "ESS of the raw ratios", "KL, nats"], rows)


def _of(split: dict[str, Any], path: tuple[str, ...], form: str) -> str:
    value: Any = split
    for key in path:
        value = value[key]
    return "–" if value is None else f"{value:{form}}"


def _by_the_log(found: dict[str, Any]) -> Iterator[Block]:
    yield Heading("Is it better, by the log alone?", 3)
    said = verdict_text(found, found["level"])
    yield Paragraph(said[0].upper() + said[1:], strong=True)
    yield Paragraph(which_episodes(found["dataset"], found) + f"; the checkpoint of step {found['step']:,}.")
    if found["log_probs"] == "estimated":
        yield Paragraph(ESTIMATED)
    start = found["over_start"]
    if start:
        yield Paragraph(f"Over the start of --init: {verdict_text(start, found['level'])}")
    yield Table(OFFLINE_HEADS, offline_rows(found))
    yield from (Paragraph(text.capitalize()) for text in refusals(found))


def _returns(evaluation: dict[str, Any]) -> Iterator[Block]:
    yield Heading("What it earns", 3)
    rows = []
    for name in ("policy", "behaviour"):
        for mode, found in (evaluation[name] or {}).items():
            error, points = found["standard_error"], found["score"]
            mean = f"{found['mean']:,.1f}" + ("" if error is None else f" ± {error:,.1f}")
            rows.append([name, mode, mean, "–" if points is None else f"{points:.1f}", str(found["episodes"])])
    yield Table(["", "actions", "return", "D4RL score", "episodes"], rows, 2)
    gain = evaluation["gain"]
    if gain and gain["lower"] is not None:
        yield Paragraph(
            f"Gain over behaviour in {evaluation['environment']}, sampled actions: {gain['mean']:+,.1f}, 95 % interval "
            f"{gain['lower']:+,.1f} to {gain['upper']:+,.1f}."
        )


def _training(metrics: Sequence[dict[str, Any]], pictures: bool) -> Iterator[Block]:
    yield Heading("Training", 3)
    held_out = [line["held_out"] for line in metrics]
    last = metrics[-1]
    yield Paragraph(
        f"{last['step']:,} updates in {len(metrics)} reports: loss {last['loss']:.3g}, held-out KL "
        f"{held_out[-1]['kl']:.3f} nats, ESS {held_out[-1]['ess_fraction']:.0%}, surrogate "
        f"{held_out[-1]['surrogate']:+.2f}."
    )
    if pictures and len(metrics) > 1:
        yield Picture(
            plots.curves_picture(metrics), "Loss, and of the held-out steps KL, ESS and surrogate, by update."
        )


def _data(document: dict[str, Any]) -> Iterator[Block]:
    yield Heading("Data", 3)
    dataset = document.get("dataset") or {}
    yield Table(["", ""], [[name.replace("_", " "), _text(value)] for name, value in dataset.items()], 2)
    warnings = document.get("warnings") or []
    if warnings:
        yield Findings([(each["severity"], each["meaning"], each["name"]) for each in warnings])


def _text(value: Any) -> str:
    return (", ".join(map(str, value)) or "–") if isinstance(value, list) else terminal.cell_text(value)


def _reproduction(document: dict[str, Any]) -> Iterator[Block]:
    yield Heading("Again", 3)
    versions = ", ".join(f"{name} {number}" for name, number in (document.get("versions") or {}).items())
    yield Paragraph(f"On {document.get('device', 'an unknown device')} with {versions or 'unknown versions'}.")
    yield Code(f"gipo train --config {shlex.quote(document['run'] + '/config.toml')} --out AGAIN")
    settings = "\n".join(f"{name} = {value!r}" for name, value in document["config"].items())
    yield Code(settings, "Configuration")
