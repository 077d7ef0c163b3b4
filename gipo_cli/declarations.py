"""What a thing of a registry declares, its docstring and its settings, read from source: to import it may take seconds.

Nothing is declared twice for it. What the source alone does not show is taken from the thing itself.
"""

import ast
import inspect
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec

from gipo_cli.registry import Registry
from gipo_cli.settings import settings_of


@dataclass(frozen=True)
class Declaration:
    """The docstring of a function, without its indentation, and its settings with their defaults."""

    docstring: str
    settings: dict[str, float]


def declaration(registry: Registry, name: str) -> Declaration:
    """What is registered under a name declares.

    Read from its source where it is a `def` with numbers for defaults, in a module that has a source. Anything else is
    imported: a default that is computed, an object that is called, an extension module.

    Raises:
        SettingError: the name is unknown.
    """
    module, _, attribute = registry.places.get(name, "").partition(":")
    found = in_source(module, attribute) if module else None
    if found is not None:
        return found
    function = registry.load(name)
    return Declaration(inspect.getdoc(function) or "", settings_of(function))


def in_source(module: str, attribute: str) -> Declaration | None:
    """What the source of a module declares of one of its functions; none where it does not show.

    A decorator is taken to leave the signature as it is written.
    """
    try:
        body = ast.parse(_source(module) or "").body
        (function,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == attribute)
        defaults = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        settings = {each.arg: float(ast.literal_eval(default)) for each, default in defaults if default is not None}
    except (ImportError, SyntaxError, ValueError, TypeError):
        return None
    return Declaration(ast.get_docstring(function) or "", settings)


def _source(module: str) -> str | None:
    """The text of a module, found without importing the packages that it lies in, as `find_spec` would."""
    top, *rest = module.split(".")
    name, spec = top, find_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    read = getattr(spec.loader, "get_source", None) if spec else None
    return read(name) if read else None
