"""The tree speaks one language: a name means one thing, and no module imports itself."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from importlib.util import find_spec

from bench import house
from folders import ROOT

TEMPLATES = ROOT / "reports" / "templates"
BENCHES = ROOT / "tests" / "bench"
OPTIONAL = {"cairocffi", "skia"}  # two draw with what a developer installs


@cache
def list_modules() -> list[tuple[str, str, ast.Module]]:
    return list(house.iter_modules())


def test_no_class_name_is_in_more_than_one_module() -> None:
    modules: defaultdict[str, set[str]] = defaultdict(set)
    for name, _, tree in list_modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].add(name)

    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def test_no_bench_is_named_like_what_the_tests_share() -> None:
    tests = ROOT / "tests"  # both folders are searched, in an order that imports change
    shared = {path.name for path in tests.glob("*.py")}
    benches = {path.name for path in BENCHES.glob("*.py")}

    assert shared & benches == set()


def test_what_a_bench_imports_is_there(monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHES), *sys.path])
    names = {
        (path.name, node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for path in BENCHES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert [
        name for name in sorted(names) if name[1] not in OPTIONAL and not find_spec(name[1])
    ] == []


def test_no_modules_import_each_other_not_even_for_types() -> None:
    modules = list_modules()
    names = {name for name, _, _ in modules}
    graph = {
        name: house.find_imports(tree, names, types=True) - {name} for name, _, tree in modules
    }

    assert house.find_cycles(graph) == []


def test_docstrings_open_with_a_precise_verb() -> None:
    vague = re.compile(rf'"""({"|".join(house.VAGUE)})\b')
    files = [path for name in house.PACKAGES for path in (ROOT / name).rglob("*.py")]
    files = [path for path in files if "migrations" not in path.parts]
    files += BENCHES.glob("*.py")

    assert [path.name for path in files if vague.search(path.read_text(encoding="utf-8"))] == []


def test_a_loop_of_a_template_names_what_it_goes_through() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*")}

    assert [name for name, text in texts.items() if "{% for one in " in text] == []
