"""Print what the source tree looks like: how many of each kind, names, docstrings, cycles.

Usage: python tests/bench/house.py [--seed 20261201] [--pairs 20]
       python tests/bench/house.py --tree  # packages with their sentence and lines

A value class is a class with declared fields: data class, model, table. Ends with lines of code
drawn at random: whoever knows the tree alone can try to place them.
"""

from __future__ import annotations

import argparse
import ast
import io
import random
import re
import tokenize
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "model", "reports")
VAGUE = ("Say", "Give", "Tell", "Take", "Look", "Ask", "Let")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def iter_modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Yield name, text and syntax tree of each module but the migrations."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), text, ast.parse(text)


def count_comments(text: str) -> int:
    """Count the lines of a text that end in a comment other than an instruction to a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(
        token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:|fmt:)", token.string)
        for token in tokens
    )


def find_imports(tree: ast.Module, names: set[str], *, types: bool = False) -> set[str]:
    """Return the modules of the project that a module imports when it is imported.

    Args:
        tree: Of the module.
        names: Of all modules.
        types: Include what a type checker alone imports.
    """
    found = set()
    nodes = list(tree.body)
    for node in tree.body:
        if types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.body
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & names
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & names
            found |= inner or ({node.module} & names)
    return found


def find_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return groups


def list_fields(node: ast.ClassDef) -> set[str]:
    """Return the names of the fields that a class declares."""
    return {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and "ClassVar" not in ast.unparse(part.annotation)
    }


def find_value_classes(modules: list[tuple[str, str, ast.Module]]) -> dict[str, set[str]]:
    """Return the fields of each value class by its full name."""
    found = {}
    for name, _, tree in modules:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                is_data = any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
                if (fields := list_fields(node)) or is_data:
                    found[f"{name}.{node.name}"] = fields
    return found


def find_pairs(classes: dict[str, set[str]], least: int = 6) -> list[tuple[int, str, str]]:
    """Return the pairs of classes that share at least so many names of fields, most first."""
    pairs = ((len(classes[a] & classes[b]), a, b) for a, b in combinations(sorted(classes), 2))
    return sorted((pair for pair in pairs if pair[0] >= least), key=lambda pair: (-pair[0], pair))


def count_folders() -> Counter[str]:
    """Count the modules of each folder, without the files that make it a package."""
    return Counter(
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )


def find_rows(page: str, pattern: str) -> list[str]:
    """Return what a pattern finds in a generated page of the user guide."""
    text = (ROOT / "reports" / "guide" / page).read_text(encoding="utf-8")
    return re.findall(pattern, text, re.MULTILINE)


def print_counts(modules: list[tuple[str, str, ast.Module]], shown: int) -> None:
    """Print how many there are of each kind of thing.

    Args:
        modules: All of them.
        shown: How many of the pairs that share fields are named.
    """
    names = {name for name, _, _ in modules}
    graph = {name: find_imports(tree, names, types=True) - {name} for name, _, tree in modules}
    classes = find_value_classes(modules)
    pairs = find_pairs(classes)
    folders = count_folders()
    tables = sum(text.count("table=True") for _, text, _ in modules)
    folder, largest = folders.most_common(1)[0]
    imports = sum(
        (node.end_lineno or 0) - node.lineno + 1
        for _, _, tree in modules
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )
    content = sum(".content." in name for name in classes)
    print(f"value classes: {len(classes)}, of them {content} in reports/content")
    print(f"pairs of them that share six or more fields: {len(pairs)}")
    for share, first, second in pairs[:shown]:
        print(f"  {share} fields: {first}, {second}")
    circles = find_cycles(graph)
    print(f"import circles, type-only ones included: {len(circles)}")
    for circle in circles:
        print(f"  {', '.join(circle)}")
    print(f"loose modules in agent: {folders['agent']}")
    print(f"largest folder: {largest} modules in {folder}")
    print(f"import lines: {imports}")
    print(f"tables: {tables}")
    print(f"settings: {len(find_rows('settings.md', '^[|] `'))}")
    commands = find_rows("commands.md", r"^## agent (\S+)")
    print(f"commands: {len(set(commands))} at the top, {len(commands)} in all")


def print_tree() -> None:
    """Print each package with the first sentence of its docstring, its modules and their lines."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("__init__.py")):
            sentence = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n")[0]
            own = list(file.parent.glob("*.py"))
            lines = sum(len(module.read_text("utf-8").splitlines()) for module in own)
            place = file.parent.relative_to(ROOT).as_posix()
            print(f"{place:28} {len(own) - 1:3} modules {lines:6} lines  {sentence}")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=20261201)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--tree", action="store_true")
    given = parser.parse_args()
    if given.tree:
        print_tree()
        return
    lines = comments = 0
    openings: Counter[str] = Counter()
    classes: defaultdict[str, list[str]] = defaultdict(list)
    functions: list[tuple[int, str]] = []
    graph: dict[str, set[str]] = {}
    code: list[tuple[str, str]] = []
    modules = list(iter_modules())
    names = {name for name, _, _ in modules}
    for name, text, tree in modules:
        lines += len(text.splitlines())
        comments += count_comments(text)
        graph[name] = find_imports(tree, names) - {name}
        code += [(line.strip(), name) for line in text.splitlines() if len(line.strip()) > 30]
        for node in ast.walk(tree):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and (said := ast.get_docstring(node)):
                openings[said.split()[0]] += 1
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(name)
            if isinstance(node, FUNCTIONS):
                functions.append(((node.end_lineno or 0) - node.lineno + 1, f"{name}.{node.name}"))
    twice = {name: places for name, places in classes.items() if len(set(places)) > 1}
    vague = sum(openings[word] for word in VAGUE)
    print(f"{len(modules)} modules, {lines} lines, comments on {comments / lines:.1%} of them")
    print_counts(modules, given.pairs)
    print(f"docstrings that open with one of {', '.join(VAGUE)}: {vague}")
    print("first words: " + ", ".join(f"{word} {n}" for word, n in openings.most_common(12)))
    print(f"class names in more than one module: {len(twice)}")
    for name, places in sorted(twice.items()):
        print(f"  {name}: {', '.join(places)}")
    print(f"import cycles: {find_cycles(graph) or 'none'}")
    print("longest functions:")
    for length, name in sorted(functions, reverse=True)[:5]:
        print(f"  {length} lines: {name}")
    print(f"{given.lines} lines, seed {given.seed}:")
    for line, name in random.Random(given.seed).sample(code, given.lines):
        print(f"  {line[:78]:78}  {name}")


if __name__ == "__main__":
    main()
