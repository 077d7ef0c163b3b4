"""Gates as JUnit's XML, which CI systems show as tests: a suite for each run, a case for each gate."""

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from gipo_cli.rendering import terminal
from gipo_cli.reports.document import RunReport, is_finished


def junit(reports: Sequence[RunReport]) -> str:
    """One document of reports on runs."""
    return suites([report.document for report in reports])


def suites(documents: Sequence[dict[str, Any]]) -> str:
    """A suite for each of what has a run, a status and gates; that it finished is a case, so that none is empty."""
    root = ET.Element("testsuites", name="gipo")
    for document in documents:
        root.append(_suite(document))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(document: dict[str, Any]) -> ET.Element:
    gates, seconds = document["gates"], document.get("seconds")
    finished, failed = is_finished(document), [gate for gate in gates if not gate["held"]]
    suite = ET.Element(
        "testsuite", name=_text(document["run"]), tests=str(1 + len(gates)), failures=str(len(failed)),
        errors="0" if finished else "1", time=f"{seconds or 0:.1f}",
    )  # fmt: skip
    case = ET.SubElement(suite, "testcase", classname=_text(document["run"]), name="training finished")
    if not finished:
        ET.SubElement(case, "error", message=_text(f"{document.get('status')}: {document.get('error', '')}"))
    for gate in gates:
        name = f"not {gate['expression']}"
        case = ET.SubElement(suite, "testcase", classname=_text(document["run"]), name=_text(name))
        if not gate["held"]:
            said = f"{gate['key']} is {terminal.cell_text(gate['value'])}"
            ET.SubElement(case, "failure", message=_text(said), type="gate")
    return suite


def _text(text: str) -> str:
    """XML has no form for control characters, escaped or not."""
    return terminal.printable(text)
