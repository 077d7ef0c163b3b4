"""The commands that list what a registry holds: each thing's formula, settings and source, from its own docstring."""

from textwrap import wrap
from typing import Any

from gipo_cli.declarations import Declaration, declaration
from gipo_cli.registry import Registry
from gipo_cli.rendering.terminal import json_document, line


def entries(registry: Registry) -> list[dict[str, Any]]:
    """Name, formula, settings with their defaults, and source of everything in a registry.

    The formula is the first indented line of the docstring; the source is the paragraph that begins with `Source: `.
    """
    return [{"name": name, **_described(declaration(registry, name))} for name in registry.places]


def _described(declared: Declaration) -> dict[str, Any]:
    paragraphs = declared.docstring.split("\n\n")
    formula = next((text.splitlines()[0].strip() for text in paragraphs if text.startswith("    ")), "")
    source = next((text.removeprefix("Source: ") for text in paragraphs if text.startswith("Source: ")), "")
    return {"formula": formula, "settings": declared.settings, "source": " ".join(source.split())}


def show(title: str, registry: Registry, *, as_json: bool) -> None:
    """Print a registry: one document {title: entries}, or a paragraph each, as formulas are too wide for a table."""
    found = entries(registry)
    if as_json:
        json_document({title: found})
        return
    width = max(15, *(len(entry["name"]) + 1 for entry in found))
    for i, entry in enumerate(found):
        if i:
            line("")
        settings = ", ".join(f"{name}={value:g}" for name, value in entry["settings"].items()) or "no settings"
        first, *rest = wrap(settings, 79 - width)
        line((entry["name"].ljust(width), "bold"), first)
        for text in rest:
            line(" " * width + text)
        for text in wrap(entry["formula"], 76, subsequent_indent="    ") + wrap(entry["source"], 76):
            line(f"  {text}")
