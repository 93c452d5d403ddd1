"""Each setting in effect is listed with its origin."""

from __future__ import annotations

import json

from labs.shell import Shell


def test_a_setting_comes_from_the_environment_the_file_or_its_default(
    tmp_path, capsys, monkeypatch
) -> None:
    shell = Shell(tmp_path, capsys)
    shell.write("agent.toml", "[web]\nport = 8123\n[triage]\ncontrol_share = 0.2\n")
    monkeypatch.setenv("AGENT_TRIAGE__CONTROL_SHARE", "0.4")

    code, said = shell.agent("settings", "--json")

    rows = {row["setting"]: (row["value"], row["from"]) for row in json.loads(said)}
    assert code == 0
    assert rows["triage.control_share"] == ("0.4", "environment")
    assert rows["web.port"] == ("8123", "file")
    assert rows["web.host"][1] == "default"
