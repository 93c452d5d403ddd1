"""A fault of a settings file is named with its line and what to write instead."""

from __future__ import annotations

import tomllib

import pytest
from labs.shell import Shell

from agent.settings.section import describe_toml_fault

NO_NUMBER = "not a number. Write digits alone, without a zero in front, and a point for decimals."
PATH = r"C:\lab\export"


AS_WRITTEN = [
    ("name = Plant 1", 'line 2: name = Plant 1: write text in quotes, name = "Plant 1".'),
    ("day = 01.01.2026", "line 2: day = 01.01.2026: write the date as 2026-01-01."),
    ("day = 1.2.2026  # new", "line 2: day = 1.2.2026: write the date as 2026-02-01."),
    ("day = 2020-02-30", "line 2: day: the date 2020-02-30 does not exist."),
    ("day = 2020-13-01", "line 2: day: the date 2020-13-01 does not exist."),
    ("day = 2020-2-3", "line 2: day = 2020-2-3: write the date as 2020-02-03."),
    ("day = 30.02.2026", "line 2: day: the date 30.02.2026 does not exist."),
    ("port = 0x", f"line 2: port = 0x: {NO_NUMBER}"),
    ("port = 08", f"line 2: port = 08: {NO_NUMBER}"),
    ("um_per_px = 0,5", f"line 2: um_per_px = 0,5: {NO_NUMBER}"),
    ("host = 10.0.0.x", 'line 2: host = 10.0.0.x: write text in quotes, host = "10.0.0.x".'),
    ("at = 23:30", 'line 2: at = 23:30: write the time in quotes, at = "23:30".'),
    ('name = "Plant 1', "line 2: name: the quote that begins the value is not closed."),
    ("name =", "line 2: name: nothing is written after the equals sign."),
    (f"folder = {PATH}", f"line 2: folder = {PATH}: write text in quotes, folder = '{PATH}'."),
    ("url = postgresql://me:secret@x/y", "line 2: url: write text in quotes."),
]


def test_a_value_as_people_write_it_is_told_as_toml_has_it() -> None:
    for line, sentence in AS_WRITTEN:
        assert described(f"[site]\n{line}\n") == sentence, line


def described(text: str) -> str:
    with pytest.raises(tomllib.TOMLDecodeError) as raised:
        tomllib.loads(text)
    return describe_toml_fault(text, raised.value)


def test_any_other_fault_is_as_the_parser_says_with_its_place() -> None:
    said = described("[site\n")

    assert said.startswith("not valid TOML: ")
    assert "line 1" in said


def test_a_windows_path_in_double_quotes_is_hinted_at() -> None:
    assert "single quotes" in described('[site]\nfolder = "C:\\lab"\n')


def test_the_command_and_the_specifications_say_it(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.write("specifications.toml", '[[specification]]\nname = "a"\nvalid_from = 01.01.2026\n')

    bare = shell.agent("spec", "list", "--check")
    shell.write("specifications.toml", '[[specification]]\nvalid_from = "01.01.2026"\n')
    quoted = shell.agent("spec", "list", "--check")
    shell.write("agent.toml", "[site]\nname = Plant 1\n")
    settings = shell.agent("settings")

    assert (bare[0], quoted[0], settings[0]) == (2, 2, 2)
    assert "line 3: valid_from = 01.01.2026: write the date as 2026-01-01" in bare[1]
    assert "write a date as 2026-01-01, without quotes" in quoted[1] or "missing" in quoted[1]
    assert 'write text in quotes, name = "Plant 1"' in settings[1]


def test_control_names_its_section(tmp_path, capsys) -> None:
    code, said = Shell(tmp_path, capsys).agent("orders", "list", "--control")

    assert code == 0
    assert "Enter control orders under [orders] control" in " ".join(said.split())


@pytest.mark.parametrize(
    ("exact", "note"),
    [("false", "they are taken for one"), ("true", "takes them for two")],
)
def test_a_specimen_that_list_and_files_spell_otherwise_is_named(
    tmp_path, capsys, exact, note
) -> None:
    shell = Shell(tmp_path, capsys)
    shell.write("agent.toml", f'[site]\nname = "Plant 1"\n[orders]\nexact_numbers = {exact}\n')
    file = shell.write("list.csv", "order,material,specimen\n4711,100Cr6,1\n")
    shell.agent("orders", "import", file)
    shell.lab.take("G8", order="4711", specimen="01", field="1", material="100Cr6")

    said = " ".join(shell.agent("orders", "show", "4711", "--json")[1].split())

    assert f"the order list says specimen 1, the files 01: {note}" in said.replace(
        "[orders] exact_numbers takes", "takes"
    )
