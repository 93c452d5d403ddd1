"""Each public name of a package that imports on first use is there, and its list is one file."""

import importlib
from pathlib import Path

import pytest

import agent
import model

STUBS = sorted(
    stub
    for package in (agent, model)
    for stub in Path(package.__file__).parent.rglob("__init__.pyi")
)


def to_name(stub: Path) -> str:
    root = Path(agent.__file__).parents[1]
    return ".".join(stub.parent.relative_to(root).parts)


def test_each_public_name_is_what_its_module_calls_so():
    for stub in STUBS:
        package = importlib.import_module(to_name(stub))

        named = {name: getattr(package, name) for name in package.__all__}

        assert named, stub
        assert set(named) <= set(dir(package)), stub
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            package.nothing_of_the_kind  # noqa: B018


def test_the_packages_that_load_pytorch_sqlalchemy_or_fastapi_import_on_first_use():
    assert {
        "model",
        "agent.retrain",
        "agent.service",
        "agent.store",
        "agent.watch",
        "agent.web",
    } <= set(map(to_name, STUBS))
