"""`gipo report`: every form of it, of finished and unfinished runs, and of directories that lie."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from gipo_cli.reports.blocks import Code, Findings, Heading, Paragraph, Picture, Table
from gipo_cli.reports.html import html
from gipo_cli.reports.markdown import markdown

PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE = "<script>alert(1)</script> | `x` [a](http://b) *c*\x1b[2J"


@pytest.fixture
def evaluated(gipo, quick_run):
    assert gipo("evaluate", quick_run, "--episodes", "3", "--quiet").exit_code == 0
    return quick_run


def spoil(run, **fields):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({k: v for k, v in (record | fields).items() if v is not ...}))


def test_markdown_has_the_numbers_of_the_other_commands(gipo, evaluated):
    outcome = gipo("report", evaluated)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    text = outcome.stdout
    titles = ["Can it be trusted?", "What it earns", "Training", "Data", "Again"]
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == titles
    inspected = json.loads(gipo("inspect-weights", evaluated, "--json").stdout)
    for finding in inspected["findings"]:
        assert finding["meaning"].split("|")[0].strip() in text.replace("\\", "")
    ess = inspected["splits"]["held_out"]["raw"]["ess_fraction"]
    assert f"| ESS of the raw ratios | {ess:.1%} |" in text
    mean = json.loads((evaluated / "evaluation.json").read_text())["policy"]["stochastic"]["mean"]
    assert f"| policy | stochastic | {mean:,.1f} ±" in text
    assert f"gipo train --config {evaluated}/config.toml --out AGAIN" in text


def test_the_json_is_all_that_the_directory_says(gipo, evaluated):
    (document,) = json.loads(gipo("report", evaluated, "--json").stdout)["runs"]
    record = json.loads((evaluated / "run.json").read_text())
    assert {key: document[key] for key in record} == record
    assert document["inspection"] == json.loads(gipo("inspect-weights", evaluated, "--json").stdout)
    assert len(document["metrics"]) == 8
    assert "returns" not in document["evaluation"]["policy"]["stochastic"]
    assert (document["gates"], document["inspection_missing"]) == ([], None)


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_the_page_needs_nothing_beside_itself(gipo, evaluated, tmp_path):
    outcome = gipo("report", evaluated, "--out", tmp_path / "report.html")
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "a")]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2  # weights and training
    for image in images:
        assert image["alt"]
        assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(PNG)
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_text_of_a_stranger_is_shown_and_not_obeyed():
    blocks = [
        Heading(HOSTILE, 2), Paragraph(HOSTILE, strong=True), Table([HOSTILE], [[HOSTILE]]), Code(HOSTILE, HOSTILE),
        Findings([("ok", HOSTILE, HOSTILE)]), Picture(PNG, HOSTILE), Code("```\n# not a title", ""),
    ]  # fmt: skip
    page = html(blocks, HOSTILE)
    assert "<script" not in page
    assert "\x1b" not in page
    text = markdown(blocks)
    assert "\x1b" not in text
    outside = re.sub(r"^(`{3,})\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"(?<!\\)(<script|\[a\]|`x`)", outside)
    assert "````\n```\n# not a title\n````" in text


def test_several_runs_stand_side_by_side(gipo, evaluated, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(evaluated, other)
    spoil(other, seed=1)
    text = gipo("report", evaluated, other).stdout
    assert text.startswith("# 2 runs\n")
    assert "## Side by side" in text
    assert re.search(r"\| cartpole \| gipo \| 2 \|", text)
    assert text.count("## Run ") == 2
    (document,) = [json.loads(gipo("report", evaluated, other, "--json").stdout)]
    assert document["comparison"]["methods"] == ["gipo"]


def test_runs_that_cannot_be_compared_are_reported_all_the_same(gipo, quick_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(quick_run, other)
    spoil(other, status="interrupted", certificate=..., held_out=...)
    outcome = gipo("report", quick_run, other)
    assert outcome.exit_code == 0, outcome.stderr
    assert "**Status: interrupted.**" in outcome.stdout


def test_a_run_without_weights_says_why(gipo, quick_run):
    (quick_run / "log_ratios.npz").unlink()
    text = gipo("report", quick_run).stdout
    assert re.search(r"Not known: .* has no log\\_ratios\.npz\.", text)


def test_junit_has_a_case_for_each_gate_of_the_training_and_of_the_report(gipo, quick_run, tmp_path):
    trained = {"expression": "held_out.kl > 9", "key": "held_out.kl", "value": 0.1, "held": True}
    spoil(quick_run, gates=[trained])
    outcome = gipo(
        "report", quick_run, "--out", tmp_path / "gates.xml", "--fail-if", "steps < 41", "--fail-if", "steps > 41"
    )
    assert outcome.exit_code == 4
    assert f"{quick_run}: steps is 40: --fail-if 'steps < 41'" in outcome.stderr
    root = ET.parse(tmp_path / "gates.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "0")
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {
        "training finished": [], "not held_out.kl > 9": [], "not steps < 41": ["failure"], "not steps > 41": [],
    }  # fmt: skip


def test_junit_of_a_run_that_was_stopped_has_an_error(gipo, quick_run):
    spoil(quick_run, status="diverged", error="a \x00 number")
    root = ET.fromstring(gipo("report", quick_run, "--format", "junit").stdout)
    (error,) = root.iter("error")
    assert error.get("message") == "diverged: a \\x00 number"


def test_a_step_summary_is_appended_to(gipo, quick_run, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert gipo("report", quick_run, "--github-summary", "--format", "junit").stdout.startswith("<?xml")
    assert summary.read_text() == "# before\n" + gipo("report", quick_run).stdout
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    outcome = gipo("report", quick_run, "--github-summary")
    assert (outcome.exit_code, "GITHUB_STEP_SUMMARY is not set" in outcome.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--format", "pdf"), 2, "there is no format 'pdf'"),
        (("--out", "report.pdf"), 2, "the suffix of report.pdf names no format"),
        (("--out", "none/report.md"), 2, "there is no directory none"),
        (("--json", "--format", "md"), 2, "both name the format"),
        (("--fail-if", "stepz > 1"), 2, "the result has no stepz"),
    ],
)
def test_what_is_asked_wrongly_is_refused(gipo, quick_run, arguments, code, said):
    outcome = gipo("report", quick_run, *arguments)
    assert (outcome.exit_code, said in outcome.stderr) == (code, True), outcome.stderr


def test_a_file_that_is_there_is_replaced_only_when_asked(gipo, quick_run, tmp_path):
    place = tmp_path / "report.md"
    place.write_text("mine")
    outcome = gipo("report", quick_run, "--out", place)
    assert (outcome.exit_code, place.read_text()) == (2, "mine")
    assert gipo("report", quick_run, "--out", place, "--force").exit_code == 0
    assert place.read_text().startswith("# Run")


DAMAGED = [
    {"held_out": {}}, {"warm_start": 3}, {"dataset": None}, {"certificate": []}, {"gates": ["x"]}, {"gates": [{}]},
    {"seconds": "x"}, {"warnings": [{"severity": "x", "meaning": "m", "name": "n"}]}, {"warnings": [{"meaning": 1}]},
    {"dataset": {"name": 10**400}}, {"seconds": float("nan")},
]  # fmt: skip


@pytest.mark.parametrize("form", ["md", "html", "json", "junit"])
@pytest.mark.parametrize("fields", DAMAGED, ids=lambda fields: str(fields)[:40])
def test_a_record_that_no_run_writes_is_reported_or_refused_and_never_a_bug(gipo, quick_run, fields, form):
    spoil(quick_run, **fields)
    outcome = gipo("report", quick_run, "--format", form)
    assert outcome.exit_code in (0, 3), outcome.stderr
    assert "nan" not in outcome.stdout.lower().split()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evaluation.json", '{"policy": 5}'), ("evaluation.json", '{"policy": NaN}'), ("run.json", "[" * 100_000),
        ("metrics.jsonl", "[" * 100_000 + "\n"), ("metrics.jsonl", '{"step": 1, "loss": Infinity}\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["md", "json"])
def test_files_that_no_run_writes_are_refused(gipo, quick_run, name, text, form):
    (quick_run / name).write_text(text)
    outcome = gipo("report", quick_run, "--format", form)
    assert outcome.exit_code == 3, outcome.stderr


def test_a_gate_on_a_run_that_was_stopped_does_not_hold_and_the_report_is_written(gipo, quick_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(quick_run, other)
    spoil(other, status="interrupted", certificate=..., held_out=...)
    (other / "log_ratios.npz").unlink()
    place = tmp_path / "report.md"
    for gate in ("held_out.ess_fraction < 0.01", "verdict == distrust"):
        outcome = gipo("report", quick_run, other, "--out", place, "--force", "--fail-if", gate)
        assert outcome.exit_code == 4, outcome.stderr
        assert f"{other}: " in outcome.stderr
        assert "1 of 2 gates did not hold" in outcome.stderr
        assert place.read_text().startswith("# 2 runs")


def test_a_report_is_written_before_a_gate_on_it_is_refused(gipo, quick_run, tmp_path):
    outcome = gipo("report", quick_run, "--out", tmp_path / "report.md", "--fail-if", "stepz > 1")
    assert (outcome.exit_code, (tmp_path / "report.md").exists()) == (2, True)


def test_one_run_by_two_paths_is_one(gipo, quick_run):
    text = gipo("report", quick_run, quick_run.parent / "." / ".." / quick_run.parent.name / quick_run.name).stdout
    assert text.startswith("# Run ")


def test_addresses_names_and_formulas_of_a_stranger_are_no_links():
    text = markdown([Paragraph("https://evil.example @octocat &lt; ~~x~~ $y$")])
    assert text == "https:&#8203;//evil.example @&#8203;octocat &amp;lt; \\~\\~x\\~\\~ \\$y\\$\n"
