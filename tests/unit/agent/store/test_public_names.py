"""Each public name of the store is imported from the module that the type checker reads it from."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import agent.store

TREE = ast.parse(Path(agent.store.__file__).read_text(encoding="utf-8"))
IMPORTS = [node for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)]
CHECKED = {
    alias.asname or alias.name: (node.module, alias.name)
    for node in IMPORTS
    if (node.module or "").startswith("agent.store.")
    for alias in node.names
}


def test_each_name_is_the_one_that_the_type_checker_reads() -> None:
    assert sorted(CHECKED) == sorted(agent.store.__all__)
    for name, (module, name_there) in CHECKED.items():
        assert getattr(agent.store, name) is getattr(import_module(module), name_there), name


def test_an_unknown_name_is_refused() -> None:
    assert not hasattr(agent.store, "Unknown")
