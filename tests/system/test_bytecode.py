"""A module that one worker compiled is not compiled again by the others."""

from __future__ import annotations

from _pytest.assertion import rewrite
from sharing import bytecode


def test_a_compiled_test_module_is_read_and_an_old_one_is_compiled_again(
    tmp_path, request, monkeypatch
) -> None:
    monkeypatch.setattr(bytecode, "TESTS", tmp_path)
    file, helper = tmp_path / "test_one.py", tmp_path / "helper.py"
    file.write_text("def test_it():\n    assert 1 == 2\n", encoding="utf-8")
    helper.write_text("A = 1\n", encoding="utf-8")
    kept = rewrite.get_cache_dir(file) / f"test_one{rewrite.PYC_TAIL}"

    bytecode.compile_files([file, helper], request.config)
    first = kept.stat().st_ino
    bytecode.compile_files([file, helper], request.config)
    again = kept.stat().st_ino
    file.write_text("def test_it():\n    assert 1 == 3\n", encoding="utf-8")
    bytecode.compile_files([file], request.config)

    assert b"@pytest_ar" in kept.read_bytes()  # the name that pytest writes into what it rewrote
    assert (first == again, kept.stat().st_ino == first) == (True, False)
    assert [path.name for path in kept.parent.glob("helper.*")] == [
        f"helper.{rewrite.PYTEST_TAG.partition('-pytest')[0]}.pyc"
    ]
