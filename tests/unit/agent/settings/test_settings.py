"""A setting that is misspelt is an error that names the nearest one, never silently ignored."""

from __future__ import annotations

import tomllib
from datetime import time
from pathlib import Path

import pytest
from labs.shell import Shell

from agent import settings
from agent.errors import BadSettingsError, hide_passwords
from agent.settings.section import describe_toml_fault


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_the_defaults_hold() -> None:
    read = settings.read(None, {})

    assert read.night.at == time(23, 30)
    assert read.web.host == "127.0.0.1"
    assert read.sources == ()


INSIDE = [
    ("[backup]\nfolder = 'x/backup'\n", "[backup] folder", "source a"),
    ("[backup]\nfolder = 'x'\n", "[backup] folder", "source a"),
    ("[orders]\nlists = 'x/lists'\n", "[orders] lists", "source a"),
    ("[orders]\noutbox = 'x/a/../outbox'\n", "[orders] outbox", "source a"),
    ("[orders]\nlists = 'l'\noutbox = 'l/out'\n", "[orders] outbox", "[orders] lists"),
    ("[orders]\nlists = 'l'\noutbox = 'l'\n", "[orders] outbox", "[orders] lists"),
]


def test_a_folder_that_is_written_inside_one_that_is_read_is_refused(tmp_path) -> None:
    for text, inner, outer in INSIDE:
        file = written(tmp_path, text + "[[sources]]\nname = 'a'\nfolder = 'x'")

        with pytest.raises(BadSettingsError) as caught:
            settings.read(file, {})

        assert f"{file}: {inner}: " in str(caught.value), text
        assert f"is inside {outer}, " in str(caught.value), text


def test_folders_next_to_each_other_are_accepted(tmp_path) -> None:
    file = written(
        tmp_path,
        "[backup]\nfolder = 'xb'\n[orders]\nlists = 'l'\noutbox = 'l-out'\n"
        "[[sources]]\nname = 'a'\nfolder = 'x'",
    )

    assert settings.read(file, {}).orders.outbox == str(tmp_path / "l-out")


WRONG = [
    ('[site]\nnam = "x"', "unknown setting site.nam. Did you mean name?"),
    (
        "[retrain]\nmax_slowdown = 2",
        "retrain.max_slowdown is no setting: it is always 1.5. Remove it.",
    ),
    ("[nigt]\nat = '22:00'", "unknown setting nigt. Did you mean night?"),
    (
        '[[sources]]\nname = "a"\nfolder = "a"\nquiet = 3',
        "unknown setting sources.0.quiet. Did you mean quiet_s?",
    ),
    ("[night]\nat = '25:00'", 'night.at: write a time of day such as "23:30", found "25:00".'),
    ("[imaging]\num_per_px_range = [5.0, 0.1]", "both above 0, found [5.0, 0.1]."),
    ("[site]\ntime_zone = 'Mars/Base'", "unknown time zone 'Mars/Base'"),
    ("[site", "not valid TOML"),
    ("[sources]\nname = 'a'", "sources: write [[sources]] with two brackets, one block"),
    ("[[sources]]\nname = 'a'", "sources.0.folder: this setting is required."),
    ("[[sources]]\nname = 'a'\nfolder = ''", 'sources.0.folder: must not be empty, found "".'),
    ('[[sources]]\nname = "a"\nfolder = "C:\\temp"', "Write Windows paths in single quotes"),
    ('[[sources]]\nname = "a"\nfolder = "\\\\srv\\share"', "paths in single quotes"),
    ("[[sources]]\nname = 'a'\nfolder = '.'", "contains the data folder"),
    (
        "[[sources]]\nname = 'a'\nfolder = 'x/LOM'\n[[sources]]\nname = 'b'\nfolder = 'x'",
        "is inside the folder of source b",
    ),
    (
        "[[sources]]\nname = 'a'\nfolder = 'x'\n[[sources]]\nname = 'b'\nfolder = './x'",
        "both would process its micrographs",
    ),
    ("store = 'data'", "store: it is a section: write [store] on a line and its keys below"),
    ("[store]\nfolder = 3", "store.folder: write a path in quotes, found 3."),
    ("[web]\nport = '87x'", 'web.port: write a whole number, found "87x".'),
    ("[notify]\nurls = 'x'", 'notify.urls: write a list, ["like", "this"], found "x".'),
    ("[imaging]\nmax_megapixels = inf", "max_megapixels: write an ordinary number, found"),
    (
        "[[sources]]\nname='a'\nfolder='a'\n[[sources.objectives]]\nname='50x'\num_per_pixel=1",
        "unknown setting sources.0.objectives.0.um_per_pixel. Did you mean um_per_px?",
    ),
    ("[orders]\nmax_false_conform = true", "max_false_conform: write a number, found true."),
    (
        "[orders]\nscale_valid_months = true",
        "scale_valid_months: write a whole number, found true.",
    ),
    ("[imaging]\num_per_px_range = [0.01, true]", "um_per_px_range: write a number, found"),
    ("[log]\nlevel = 'INFO'", "log.level: must be 'debug', 'info', 'warning' or 'error'"),
]


def test_a_wrong_key_or_value_is_one_sentence_that_names_it(tmp_path) -> None:
    for text, sentence in WRONG:
        file = written(tmp_path, text)

        with pytest.raises(BadSettingsError) as caught:
            settings.read(file, {})

        assert sentence in str(caught.value), text
        assert str(file) in str(caught.value), text


def test_a_misspelt_variable_names_the_nearest_one() -> None:
    with pytest.raises(BadSettingsError, match="Did you mean AGENT_STORE__FOLDER"):
        settings.read(None, {"AGENT_STORE__FOLDR": "x"})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AGENT_SOURCES", '[{"name": "a"', "AGENT_SOURCES: not valid JSON; write [{"),
        ("AGENT_STORE", "data", "AGENT_STORE: not valid JSON; write "),
        ("AGENT_NOTIFY__URLS", "x", "AGENT_NOTIFY__URLS: not valid JSON; write "),
        ("AGENT_WEB__PORT", "abc", "environment AGENT_WEB__PORT: web.port: write a whole number"),
    ],
)
def test_a_wrong_variable_is_one_sentence_that_names_it(
    tmp_path, monkeypatch, name, value, sentence
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettingsError) as caught:
        settings.read(written(tmp_path, "[web]\nport = 1"))

    assert sentence in str(caught.value)


WITH_PASSWORD = [
    "[notify]\nurls = 'mailto://user:geheim@host'",
    "[notify]\nurls = [3, 'tgram://geheim/chat']",
    "[store]\nurl = ['postgresql://u:geheim@h/db']",
    "[sources]\nurl = 'postgresql://u:geheim@h/db'",
    "store = 'postgresql://u:ge/geheim@h/db'",
    "store = 'postgresql://h/db?user=u&password=geheim'",
]


def test_no_complaint_repeats_a_password(tmp_path) -> None:
    for text in WITH_PASSWORD:
        with pytest.raises(BadSettingsError) as caught:
            settings.read(written(tmp_path, text), {})

        assert "geheim" not in str(caught.value), text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://u:geheim@h/db", "postgresql://u:…@h/db"),
        ("postgresql://u:ge/heim@h/db", "postgresql://u:…@h/db"),
        ("postgresql://h/db?user=u&password=geheim&x=1", "postgresql://h/db?user=u&password=…&x=1"),
        ("see http://h:8787/x, please", "see http://h:8787/x, please"),
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
    ],
)
def test_an_address_is_said_without_its_password(address, said) -> None:
    assert hide_passwords(address) == said


def test_a_folder_named_as_settings_file_is_told_which_file_is_meant(tmp_path) -> None:
    with pytest.raises(BadSettingsError, match=r"is a folder. Name .*agent\.toml"):
        settings.find_file(str(tmp_path), {})


def test_the_environment_stands_above_the_file(tmp_path, monkeypatch) -> None:
    file = written(tmp_path, '[site]\nname = "from the file"\ntime_zone = "UTC"')
    monkeypatch.setenv("AGENT_SITE__NAME", "from the environment")

    read = settings.read(file)

    assert (read.site.name, read.site.time_zone) == ("from the environment", "UTC")


def test_paths_are_relative_to_the_file(tmp_path) -> None:
    file = written(
        tmp_path,
        '[model]\ntaxonomy = "ours.toml"\n[[sources]]\nname = "a"\nfolder = "export"',
    )

    read = settings.read(file, {})

    assert read.model.taxonomy == str(tmp_path / "ours.toml")
    assert read.store.folder == tmp_path / "data"
    assert read.sources[0].folder == tmp_path / "export"


@pytest.mark.parametrize(
    "line", ['name = "LOM\\n07"', 'name = "a"\nmaterial = "100\\u0000Cr6"', 'name = "a\\u2028b"']
)
def test_a_name_that_no_page_can_show_is_refused(tmp_path, line) -> None:
    file = written(tmp_path, f'[[sources]]\n{line}\nfolder = "x"')

    with pytest.raises(BadSettingsError, match="letters that cannot be shown"):
        settings.read(file, {})


def test_two_sources_of_one_name_are_refused(tmp_path) -> None:
    file = written(tmp_path, '[[sources]]\nname="a"\nfolder="x"\n[[sources]]\nname="a"\nfolder="y"')

    with pytest.raises(BadSettingsError, match="two sources have the name 'a'"):
        settings.read(file, {})


def test_a_furnace_is_given_by_a_key_or_the_pattern_of_a_source(tmp_path) -> None:
    text = "[[sources]]\nname = 'LOM'\nfolder = 'x'\nfurnace = 'F1'\npattern = '(?P<furnace>F.)/'"

    (source,) = settings.read(written(tmp_path, text), {}).sources

    assert source.fixed_process_data() == {"furnace": "F1"}
    with pytest.raises(BadSettingsError, match=r"unknown group 'oven'.*furnace"):
        settings.read(written(tmp_path, text.replace("<furnace>", "<oven>")), {})


def test_one_objective_with_two_scales_is_refused(tmp_path) -> None:
    start = "[[sources]]\nname = 'a'\nfolder = 'a'\n"
    table = "[[sources.objectives]]\nname = '{}'\num_per_px = {}\n{}\n"
    twice = table.format("50x", 0.2, "") + table.format("50 X", 0.4, "{}")
    file = written(tmp_path, start + twice.format(""))

    with pytest.raises(BadSettingsError, match=r"50x is defined twice, with 0\.2 and 0\.4"):
        settings.read(file, {})
    for told in ("valid_from = 2026-01-01", ""):
        sized = twice.replace("{}", told) if told else twice.replace("0.4", "0.2").format("")
        assert len(settings.read(written(tmp_path, start + sized), {}).sources[0].objectives) == 2


def test_a_named_file_that_is_missing_is_an_error(tmp_path) -> None:
    with pytest.raises(BadSettingsError, match=r"from --config"):
        settings.find_file(str(tmp_path / "none.toml"), {})


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
