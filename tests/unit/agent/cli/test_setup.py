"""Whoever installs the agent gets a settings file that explains itself, and a check of the PC."""

import json
import os
import tomllib

import pytest
from folders import ROOT

from agent import settings
from agent.cli import main
from agent.cli.reference import list_settings, render_toml


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def uncommented(text: str) -> str:
    """Take the "# " away from every line that holds a setting."""
    lines = (line.removeprefix("# ") if " = " in line else line for line in text.splitlines())
    return "\n".join(lines)


def test_init_writes_a_file_that_holds_the_defaults(tmp_path) -> None:
    assert run("init", str(tmp_path)) == 0

    written = settings.read(tmp_path / "agent.toml", {})
    assert written.night == settings.Settings().night
    assert (tmp_path / "data").is_dir()
    for made in (tmp_path / "agent.toml", tmp_path / "data"):
        assert os.name == "nt" or not made.stat().st_mode & 0o007, "others may read it"


def test_every_setting_shown_in_the_file_is_a_real_one_with_its_real_default() -> None:
    sections = (
        render_toml().split("# One block for each")[0]
        + "[imaging]"
        + render_toml().split("[imaging]")[1]
    )

    shown = settings.Settings(**tomllib.loads(uncommented(sections)))

    assert shown == settings.Settings()


def test_init_leaves_a_file_that_is_there_as_it_is(tmp_path, capsys) -> None:
    (tmp_path / "agent.toml").write_text("# mine", encoding="utf-8")

    assert run("init", str(tmp_path)) == 2

    assert (tmp_path / "agent.toml").read_text(encoding="utf-8") == "# mine"
    assert "was not changed" in capsys.readouterr().err


def test_the_sample_beside_the_service_files_is_what_init_writes() -> None:
    assert (ROOT / "deploy" / "agent.toml").read_text(encoding="utf-8") == render_toml()


def test_settings_says_where_each_value_comes_from(tmp_path, monkeypatch) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[site]\nname = "Hall 3"\n', encoding="utf-8")
    monkeypatch.setenv("AGENT_NIGHT__AT", "22:15")

    rows = {
        name: (value, origin) for name, value, origin in list_settings(settings.read(file), file)
    }

    assert rows["site.name"] == ('"Hall 3"', "file")
    assert rows["night.at"] == ('"22:15"', "environment")
    assert rows["web.port"] == ("8787", "default")


def test_a_password_in_the_database_address_is_not_printed(tmp_path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[store]\nurl = "postgresql+psycopg://lab:secret@db/x"', encoding="utf-8")

    rows = {name: value for name, value, _ in list_settings(settings.read(file), file)}

    assert "secret" not in rows["store.url"]


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(tmp_path, capsys) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[nigt]\n", encoding="utf-8")

    assert run("--config", str(file), "settings") == 2

    assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_doctor_names_a_source_that_is_not_there(tmp_path, capsys) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[[sources]]\nname = "LOM-07"\nfolder = "gone"\n', encoding="utf-8")

    code = run("--config", str(file), "doctor", "--json")

    found = {entry["check"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert code == 3
    assert found["source LOM-07"]["level"] == "wrong"
    assert found["data folder"]["level"] == "right"
