"""A setting that is misspelt is an error that names the nearest one, never silently ignored."""

from datetime import time
from pathlib import Path

import pytest

from agent import settings
from agent.errors import BadSettings


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_the_defaults_hold() -> None:
    read = settings.read(None, {})

    assert read.night.at == time(23, 30)
    assert read.web.host == "127.0.0.1"
    assert read.sources == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[site]\nnam = "x"', "no setting is called site.nam; the nearest is name."),
        ("[nigt]\nat = '22:00'", "no setting is called nigt; the nearest is night."),
        (
            '[[sources]]\nname = "a"\nfolder = "a"\nquiet = 3',
            "no setting is called sources.0.quiet; the nearest is quiet_s.",
        ),
        ("[night]\nat = '25:00'", 'night.at: write a time of day like "23:30", found "25:00".'),
        ("[imaging]\num_per_px_range = [5.0, 0.1]", "both above 0, found [5.0, 0.1]."),
        ("[site]\ntime_zone = 'Mars/Base'", "no time zone is called 'Mars/Base'"),
        ("[site", "not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence_that_names_it(tmp_path, text, sentence) -> None:
    file = written(tmp_path, text)

    with pytest.raises(BadSettings) as caught:
        settings.read(file, {})

    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_misspelt_variable_names_the_nearest_one() -> None:
    with pytest.raises(BadSettings, match="the nearest is AGENT_STORE__FOLDER"):
        settings.read(None, {"AGENT_STORE__FOLDR": "x"})


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


def test_two_sources_of_one_name_are_refused(tmp_path) -> None:
    file = written(tmp_path, '[[sources]]\nname="a"\nfolder="x"\n[[sources]]\nname="a"\nfolder="y"')

    with pytest.raises(BadSettings, match="two sources are called 'a'"):
        settings.read(file, {})


def test_a_named_file_that_is_missing_is_an_error(tmp_path) -> None:
    with pytest.raises(BadSettings, match="named by --config"):
        settings.find_file(str(tmp_path / "none.toml"), {})
