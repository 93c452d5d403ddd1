"""A lab whose pictures lie in an object storage works as one whose pictures lie on the disk."""

from __future__ import annotations

import json
import re

import pytest
from folders import ROOT
from servers.object_storage import make_bucket, make_older, serve, write_credentials

from agent import settings as settings_of
from agent.errors import BadSettingsError


def write_settings(folder, lines: str):
    (folder / "agent.toml").write_text(lines, "utf-8")
    return settings_of.read(folder / "agent.toml").store


def test_the_folder_may_be_named_as_an_object_storage(tmp_path) -> None:
    store = write_settings(tmp_path, '[store]\nfolder = "s3://metallography/lab-3/"\n')
    assert store.objects == "s3://metallography/lab-3"
    assert store.folder == tmp_path / "data"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('objects = "https://minio.lab/bucket"', "not the URL of a bucket"),
        ('objects = "s3://"', "not the URL of a bucket"),
        ('objects = "s3://b/../other"', "not the URL of a bucket"),
        ('objects_endpoint = "http://minio.lab:9000"', "not a secure URL"),
        ('objects_endpoint = "http://localhost.evil.org"', "not a secure URL"),
        ('folder = "s3://abc"\nobjects = "s3://def"', "keep one of them"),
    ],
)
def test_a_wrong_storage_is_named_before_anything_is_sent(tmp_path, lines, said) -> None:
    with pytest.raises(BadSettingsError, match=said):
        write_settings(tmp_path, f"[store]\n{lines}\n")


@pytest.mark.slow
def test_a_lab_works_from_its_object_storage(own_lab, tmp_path, capsys, monkeypatch) -> None:
    def ask(*words, code=0):
        capsys.readouterr()
        assert own_lab.agent(*words, "--json") == code
        return json.loads(capsys.readouterr().out)

    with serve() as endpoint:
        make_bucket(endpoint, "metallography")
        monkeypatch.setenv("AGENT_STORE__OBJECTS", "s3://metallography/lab-3")
        monkeypatch.setenv("AGENT_STORE__OBJECTS_ENDPOINT", endpoint)
        monkeypatch.setenv("AGENT_STORE__OBJECTS_CREDENTIALS", write_credentials(tmp_path))
        monkeypatch.setenv("AGENT_STORE__OBJECTS_CACHE_GB", "0.000001")
        data = own_lab.folder / "data"
        make_older(data)
        waiting = ask("files", "storage")["waiting"]

        assert own_lab.agent("files", "storage", "--send") == 0

        after = ask("files", "storage")
        assert (after["waiting"], after["files"]) == (0, waiting)
        assert after["local_bytes"] < after["size_bytes"]
        assert not list((data / "crops").rglob("*.valid.png"))
        assert own_lab.agent("verify") == 0
        assert own_lab.agent("verify", "--installation") == 0
        assert ask("status")["objects"]["files"] == waiting
        filled = ask("models", "features", "--fill", "--limit", "3")  # from fetched crops
        assert filled["made"] == 3
        assert len(list((data / "crops").rglob("*.valid.png"))) == 3

        assert own_lab.agent("files", "storage", "--fetch") == 0

    monkeypatch.delenv("AGENT_STORE__OBJECTS")
    assert own_lab.agent("verify") == 0
    assert list((data / "crops").rglob("*.valid.png"))


def test_no_part_of_the_agent_reads_the_data_folder_without_its_storage() -> None:
    """A path that is asked for on the disk alone is missing for a lab with an object storage."""
    bare = re.compile(
        r"Archive\([\w.]*settings\.store\.folder\)"
        r"|archive\.\w+_path\([^()]*\)\.(is_file|exists|open|read_bytes)"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for match in bare.finditer(path.read_text("utf-8"))
    ]
    assert found == []
