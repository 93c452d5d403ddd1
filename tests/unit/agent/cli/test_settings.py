"""A lead publishes what all PCs share, and each command of a PC says which value is whose."""

from __future__ import annotations

import json

import pytest
from shell import Shell

from agent import settings

BY = ("--by", "Lea", "--reason", "more control")


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    made = Shell(tmp_path, capsys)
    text = '[site]\nname = "Plant 1"\n[web]\nport = 8123\n[triage]\ncontrol_share = 0.2\n'
    made.write("agent.toml", text)
    return made


def read(shell: Shell, *words: object):
    code, said = shell.agent(*words, "--json")
    assert code in {0, 3}, said
    return json.loads(said)


def test_a_version_is_published_once_with_its_act_and_holds_nothing_of_this_pc(shell):
    code, said = shell.agent("settings", "publish", "--from-this-pc", *BY)
    again = shell.agent("settings", "publish", "--from-this-pc", *BY)
    listed = read(shell, "settings", "versions")

    (version,) = listed["versions"]
    assert code == 0
    assert f"agent rollout start --settings {version['version']}" in said
    assert (version["by"], version["reason"]) == ("Lea", "more control")
    assert version["content"]["settings"]["triage"]["control_share"] == 0.2
    assert "8123" not in json.dumps(version["content"])
    assert "Plant 1" not in json.dumps(version["content"])
    assert (listed["in_use"], listed["applied_here"]) == (None, None)
    assert again[0] == 2
    assert "is published already, by Lea" in again[1]
    (act,) = shell.lab.store.audit_log.iter_acts("settings.published")
    assert (act.actor, act.subject) == ("Lea", version["version"])
    assert act.facts["signed"]["meaning"] == "published"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Name a FILE or write --from-this-pc"),
        (("agent.toml", "--from-this-pc"), "one of both"),
        (("none.toml",), "No such file: none.toml"),
        (("--from-this-pc", "--reason", " "), "needs a reason"),
    ],
)
def test_what_cannot_be_published_is_named(shell, monkeypatch, words, sentence):
    monkeypatch.chdir(shell.folder)

    code, said = shell.agent("settings", "publish", *BY, *words)

    assert code == 2
    assert sentence in said
    assert shell.lab.store.settings_versions.list_all() == []


def test_only_a_lead_publishes_and_the_refusal_does_not_speak_of_bundles(shell):
    file = shell.folder / "agent.toml"
    file.write_text(file.read_text("utf-8") + '[orders]\nleads = ["Lea"]\n', encoding="utf-8")

    words = ("--from-this-pc", "--by", "Mallory", "--reason", "x")
    code, said = shell.agent("settings", "publish", *words)

    assert code == 2
    assert "Mallory is not a lead. Only a lead or an administrator may do this" in said
    assert shell.lab.store.settings_versions.list_all() == []


def test_a_rollout_names_a_bundle_or_a_version_that_is_there(shell):
    for words in ((), ("20261101-0badcafe", "--settings", "settings-1")):
        code, said = shell.agent("rollout", "start", *words, *BY)
        assert code == 2
        assert "Name a bundle or write --settings VERSION, one of both." in said

    code, said = shell.agent("rollout", "start", "--settings", "settings-1", *BY)
    assert code == 2
    assert "No settings version settings-1. See agent settings versions." in said


def test_every_command_names_the_version_and_the_values_of_this_pc_that_it_overrides(shell):
    other = shell.write("other.toml", "[triage]\ncontrol_share = 0.4\n")
    content = settings.collect_shared(settings.read_own(other, {}))
    settings.save_applied(shell.folder / "data", settings.find_pc_name(), content)
    version = settings.compute_version(content)

    rows = {row["setting"]: (row["value"], row["from"]) for row in read(shell, "settings")}
    status = read(shell, "status")
    doctor = {row["check"]: row["sentence"] for row in read(shell, "doctor")}

    assert rows["triage.control_share"] == ("0.4", version)
    assert rows["web.port"] == ("8123", "file")
    assert rows["web.host"][1] == "default"
    assert rows["night.at"][1] == version
    assert status["settings_version"] == version
    assert status["overridden_settings"] == ["triage.control_share"]
    assert f"{version} overrides triage.control_share of this PC" in doctor["settings version"]


def test_the_status_names_what_an_agent_that_is_stopped_will_change_to(shell):
    content = settings.collect_shared(settings.read_own(shell.folder / "agent.toml", {}))
    version = settings.compute_version(content)
    before = shell.agent("status")[1]
    settings.save_applied(shell.folder / "data", settings.find_pc_name(), content)

    stopped = shell.agent("status")[1]
    document = read(shell, "status")

    assert "settings:" not in before
    assert f"settings: {version}; agent run changes to agent.toml" in stopped
    assert (document["settings_version"], document["wanted_settings_version"]) == (version, "")


@pytest.mark.parametrize(
    "words",
    [
        ("import", "labelled"),
        ("retrain", "--dry-run"),
        ("reprocess", "--bundle", "20261101-0badcafe"),
    ],
)
def test_a_command_that_stores_answers_drops_a_version_that_was_taken_back_while_no_agent_ran(
    shell, monkeypatch, words
):
    monkeypatch.chdir(shell.folder)
    (shell.folder / "labelled" / "G8").mkdir(parents=True)
    file = shell.folder / "agent.toml"
    tried = settings.read_own(file, {})
    content = settings.collect_shared(tried)
    content["settings"]["triage"]["control_share"] = 0.9
    settings.save_applied(tried.store.folder, settings.find_pc_name(), content)
    before = settings.read(file, {}).triage.control_share

    shell.agent(*words)

    assert before == 0.9
    assert settings.read(file, {}).triage.control_share == 0.2
