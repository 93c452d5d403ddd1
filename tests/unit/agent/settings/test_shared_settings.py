"""A version holds what all PCs share and nothing of one PC, and overrides file and environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import settings
from agent.errors import BadSettings
from agent.settings import (
    FILES,
    LOCAL,
    SHARED,
    Settings,
    collect_shared,
    compute_version,
    find_applied,
    is_path,
    iter_values,
    list_overridden,
    overlay,
    remove_applied,
    save_applied,
)

TAXONOMY = 'name = "own"\n'
PATHS_OF_SECTION = {
    f"{section}.{key}"
    for section, field in Settings.model_fields.items()
    if section != "sources"
    for key, known in field.annotation.model_fields.items()
    if is_path(known)
}


def list_names(classes) -> list[str]:
    return [f"{section}.{key}" for section, keys in classes.items() for key in keys]


def write(folder, text: str, **files: str):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.toml").write_text(content, encoding="utf-8")
    (folder / "agent.toml").write_text(text, encoding="utf-8")
    return folder / "agent.toml"


def test_every_setting_is_classed_once_as_shared_local_or_the_text_of_a_file():
    known = {
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        if section != "sources"
        for key in field.annotation.model_fields
    }
    classed = [*list_names(SHARED), *list_names(LOCAL), *FILES]

    assert set(classed) == known, "class a new setting in agent/settings/shared_settings.py"
    assert len(classed) == len(known)


def test_no_path_host_port_credential_or_name_of_a_pc_is_shared():
    shared = set(list_names(SHARED))
    words = ("url", "host", "port", "password", "passphrase", "certificate", "credential", "mail",
             "proxies", "folder", "endpoint", "workers", "device", "cores")  # fmt: skip

    assert not shared & PATHS_OF_SECTION
    assert set(FILES) <= PATHS_OF_SECTION
    assert not {name for name in shared for word in words if word in name.split(".")[1]}
    assert not {"site.name", "rollout.first", "web.names"} & shared
    assert not {name for name in shared if name.split(".")[0] in {"store", "sources", "notify"}}


def test_a_version_over_another_pcs_file_gives_its_shared_values_and_keeps_the_local_ones(tmp_path):
    lead = write(
        tmp_path / "lead",
        '[night]\nat = "22:00"\n[review]\ncorrection_reasons = ["a", "b"]\n[web]\nport = 1\n'
        '[triage]\ncontrol_share = 0.2\n[model]\ntaxonomy = "own.toml"\n',
        own=TAXONOMY, specifications="# none\n",
    )  # fmt: skip
    content = collect_shared(settings.read(lead, {}))
    file = write(tmp_path / "pc", "[web]\nport = 2\n[triage]\ncontrol_share = 0.3\n")
    data = settings.read(file, {}).store.folder

    save_applied(data, "PC", json.loads(json.dumps(content)))
    applied = settings.read(file, {}, pc="PC")

    assert applied.version == compute_version(content)
    assert (applied.web.port, applied.triage.control_share) == (2, 0.2)
    assert (f"{applied.night.at:%H:%M}", applied.review.correction_reasons) == ("22:00", ("a", "b"))
    assert Path(applied.model.taxonomy).read_text("utf-8") == TAXONOMY
    assert applied.orders.specifications.read_text("utf-8") == "# none\n"
    assert applied.file == file
    assert collect_shared(applied) == content
    assert (applied.own.triage.control_share, applied.own.version) == (0.3, "")
    assert list_overridden(applied) == ["triage.control_share"]
    assert settings.read(file, {}, pc="PC-2").version == ""
    remove_applied(data, "PC")
    assert settings.read(file, {}, pc="PC") == applied.own


def test_a_version_overrides_the_environment_too_so_that_all_pcs_are_equal(tmp_path, monkeypatch):
    file = write(tmp_path / "pc", "")
    content = collect_shared(settings.read(file, {}))
    save_applied(settings.read(file, {}).store.folder, "PC", content)
    monkeypatch.setenv("AGENT_TRIAGE__MIN_PROBABILITY", "0.9")

    applied = settings.read(file, pc="PC")

    assert (applied.own.triage.min_probability, applied.triage.min_probability) == (0.9, 0.6)
    assert list_overridden(applied) == ["triage.min_probability"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"triage": {"control_share": 2}}, "triage: settings: control_share"),
        ({"triage": {"later": 2}}, "triage.later is no shared setting of this program"),
        ({"web": {"port": 80}}, "web.port is no shared setting"),
        ({"future": {"x": 1}}, "unknown section future"),
    ],
)
def test_a_value_that_is_not_valid_or_not_shared_is_refused_and_named(tmp_path, change, sentence):
    own = settings.read(write(tmp_path / "pc", ""), {})

    with pytest.raises(BadSettings, match=sentence):
        overlay(own, {"settings": change, "files": {}}, tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"settings": {}, "files": {"orders.later": "x"}}, "orders.later is no shared file of"),
        ({"settings": {}, "files": {"model.taxonomy": 5}}, "text of model.taxonomy is damaged"),
        ({"settings": {"triage": [1]}, "files": {}}, "section triage is damaged"),
        ({"settings": {"sources": {}}, "files": {}}, "unknown section sources"),
        ({"settings": {}}, "its content is damaged"),
        ({"settings": [], "files": {}}, "its content is damaged"),
    ],
)
def test_content_that_this_program_does_not_know_is_refused_in_a_sentence(
    tmp_path, content, sentence
):
    own = settings.read(write(tmp_path / "pc", ""), {})

    with pytest.raises(BadSettings, match=sentence):
        overlay(own, content, tmp_path)


def test_a_text_that_is_too_long_for_every_round_of_every_agent_is_refused(tmp_path):
    file = write(tmp_path / "pc", "", specifications="# " + "x" * 1_000_000)

    with pytest.raises(BadSettings, match=r"specifications\.toml has 1000002 characters"):
        collect_shared(settings.read(file, {}))


def test_a_version_that_was_changed_by_hand_on_the_pc_is_refused_with_a_remedy(tmp_path):
    file = write(tmp_path / "pc", "", specifications="# limits\n")
    data = settings.read(file, {}).store.folder
    content = collect_shared(settings.read(file, {}))
    save_applied(data, "PC", content)
    kept = data / "settings" / "PC.json"
    text = data / "settings" / compute_version(content) / "specifications.toml"

    text.write_text("# other\n", encoding="utf-8")
    with pytest.raises(BadSettings, match=r"changed by hand or damaged\. Delete it"):
        settings.read(file, {}, pc="PC")
    save_applied(data, "PC", content)  # as agent run does
    assert settings.read(file, {}, pc="PC").version
    kept.write_text(kept.read_text("utf-8").replace("0.05", "0.9"), encoding="utf-8")
    with pytest.raises(BadSettings, match="changed by hand"):
        find_applied(data, "PC")
    for damage in ("{", "[" * 100_000):
        kept.write_text(damage, encoding="utf-8")
        with pytest.raises(BadSettings, match="damaged"):
            find_applied(data, "PC")


@given(share=st.floats(0, 1), names=st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_the_name_of_a_version_is_that_of_its_content_in_any_order_and_after_json(share, names):
    content = {
        "settings": {"triage": {"control_share": share}, "orders": {"leads": names}},
        "files": {"model.taxonomy": "x"},
    }
    turned = dict(reversed(list(json.loads(json.dumps(content)).items())))

    assert compute_version(turned) == compute_version(content)
    assert dict(iter_values(content))["orders.leads"] == names
    other = {**content, "files": {}}
    assert compute_version(other) != compute_version(content)


def test_a_file_that_an_editor_of_windows_wrote_is_not_overridden_by_its_own_text(tmp_path):
    file = write(tmp_path / "pc", '[model]\ntaxonomy = "own.toml"\n')
    taxonomy = tmp_path / "pc" / "own.toml"
    taxonomy.write_bytes(b"\xef\xbb\xbf" + TAXONOMY.replace("\n", "\r\n").encode())
    own = settings.read_own(file, {})
    save_applied(own.store.folder, "PC-1", collect_shared(own))

    same = list_overridden(settings.read(file, {}, pc="PC-1"))
    taxonomy.write_text(TAXONOMY.replace("own", "other"), encoding="utf-8")
    other = list_overridden(settings.read(file, {}, pc="PC-1"))

    assert (same, other) == ([], ["model.taxonomy"])
