"""What is sent to a helper far away holds no secret and no name; what is shipped is listed."""

from __future__ import annotations

import json
import os
import re
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli import main
from agent.demo.bundle import unpack_bundle
from agent.host.distribution import build_bill, find_licence, list_parts
from agent.host.support_bundle import Pseudonyms
from agent.store import Store

SECRETS = (
    *("hunter2", "4711", "Schmidt", "Getriebewerk", "R. Stahl", "Probe", "hooks.example"),
    *("LABOR-PC-7", "LABOR-PC-9"),
)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


# --- names --------------------------------------------------------------------------------------


def test_a_name_is_hidden_wherever_it_stands_and_always_in_the_same_way() -> None:
    names = Pseudonyms(["4711_Schmidt_2.tif", "Getriebewerk Nord"], salt=b"s")
    line = {
        "event": "file.set_aside",
        "file": "2026/4711_Schmidt_2.tif",
        "reason": "/mnt/lom/4711_Schmidt_2.tif: order 4711 of Getriebewerk is cut off",
        "took_ms": 12,
    }

    hidden = names.document(line)

    assert hidden["event"] == "file.set_aside"
    assert hidden["took_ms"] == 12
    assert re.fullmatch(r"x\w{8}/x\w{8}\.tif", hidden["file"])
    assert not any(word in json.dumps(hidden) for word in ("4711", "Schmidt", "Getriebewerk"))
    assert hidden["file"].split("/")[1] in hidden["reason"]
    assert hidden["reason"].endswith("is cut off")


def test_another_bundle_has_other_pseudonyms() -> None:
    assert Pseudonyms(["4711"]).of("4711") != Pseudonyms(["4711"]).of("4711")


def test_secrets_are_hidden_by_their_key() -> None:
    for key in ("password", "store.url", "urls", "api_token", "key", "database_url"):
        assert Pseudonyms([]).document({key: "hunter2"}) == {key: "…"}, key


def test_an_address_inside_a_sentence_is_hidden() -> None:
    hidden = Pseudonyms([]).text("cannot reach postgresql+psycopg://lab:hunter2@db.plant/x now")

    assert hidden == "cannot reach postgresql+psycopg://… now"


# --- the bundle ---------------------------------------------------------------------------------


def test_a_support_bundle_holds_state_and_logs_but_no_secret_name_or_picture(
    tmp_path, capsys
) -> None:
    file = tmp_path / "agent.toml"
    (tmp_path / "Schmidt").mkdir()
    file.write_text(
        '[site]\nname = "Getriebewerk Nord"\n[notify]\nurls = ["json://u:hunter2@hooks.example/x"]\n'
        '[web]\nport = 0\n[rollout]\nfirst = ["LABOR-PC-7"]\n[[sources]]\nname = "LOM-07"\n'
        'folder = "Schmidt"\nquiet_s = 0\norder = "4711"\noperator = "R. Stahl"\n',
        encoding="utf-8",
    )
    (tmp_path / "Schmidt" / "4711_Probe_2.tif").write_bytes(b"no picture")
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    (logs / "agent.log").write_text(
        json.dumps({"event": "file.set_aside", "file": "4711_Probe_2.tif", "by": "R. Stahl"})
        + "\nTraceback: cannot read Schmidt/4711_Probe_2.tif\n"
        + "the rollout was stopped: LABOR-PC-9: structure code G7\n",
        encoding="utf-8",
    )
    assert run("--config", str(file), "run", "--once") == 1
    database = f"sqlite:///{tmp_path / 'data' / 'martensight.db'}"
    with Store.open(database, site="Getriebewerk Nord", agent="LABOR-PC-9") as store:
        store.agents.record_start(at=datetime.now(UTC))

    code = run("--config", str(file), "support", "bundle", str(tmp_path / "out.zip"))

    assert code == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        held = {name: packed.read(name).decode("utf-8") for name in packed.namelist()}
    assert {"status.json", "settings.json", "doctor.json", "files.json", "logs/agent.log"} <= set(
        held
    )
    assert "file.set_aside" in held["logs/agent.log"]
    for name, text in held.items():
        assert [word for word in SECRETS if word in text] == [], name
    key = (tmp_path / "out.names.csv").read_text(encoding="utf-8-sig")
    assert "4711_Probe_2" in key
    assert os.name == "nt" or not (tmp_path / "out.names.csv").stat().st_mode & 0o077
    assert "do not send it" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="the journal is systemd's")
def test_the_log_of_a_service_under_systemd_is_in_it_too(tmp_path, monkeypatch, capsys) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[web]\nport = 0\n[[sources]]\nname = "LOM-07"\nfolder = "Schmidt"\n')
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    line = json.dumps({"event": "file.crashed", "file": "4711_Schmidt_2.tif"})
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *martensight*) echo '{line}';; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    assert run("--config", str(file), "support", "bundle", str(tmp_path / "out.zip")) == 0

    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        held = packed.read("logs/journal.log").decode("utf-8")
    assert "file.crashed" in held
    assert "Schmidt" not in held
    program.write_text("#!/bin/sh\nexit 1\n")
    assert run("--config", str(file), "support", "bundle", str(tmp_path / "out.zip")) == 0
    assert "has no log" in capsys.readouterr().err


# --- parts --------------------------------------------------------------------------------------


def test_every_part_has_a_licence_and_none_is_gpl() -> None:
    listed = list_parts()

    names = {part.name for part in listed}
    assert {"martensight", "torch", "numpy", "rapidocr"} <= names
    assert not names & {"pytest", "ruff", "mypy", "grad-cam"}, "tools are not shipped"
    assert [part.name for part in listed if part.licence in {"", "not said", "UNKNOWN"}] == []
    strong = [
        p.name for p in listed if re.search(r"(?<!L)GPL", p.licence) and "OR" not in p.licence
    ]
    assert strong == []


def test_weights_of_networks_are_parts_too() -> None:
    weights = [part for part in list_parts(["20261124-1f2e3d4c"]) if part.kind != "library"]

    assert [part.name for part in weights] == [
        "Needle network",
        "Bundle of the demo",
        "Border network",
        "EfficientNet-Lite0, trained on ImageNet",
        "PP-OCR text recognition",
        "bundle 20261124-1f2e3d4c",
    ]
    texts = {part.name: part.text for part in weights}
    assert "CC BY 3.0 US" in texts["Border network"]
    assert "trained on drawn micrographs" in texts["Bundle of the demo"]


def test_the_shipped_bundle_of_the_demo_is_none_that_the_lab_trained(tmp_path, capsys) -> None:
    name = unpack_bundle(tmp_path / "data" / "bundles")
    (tmp_path / "agent.toml").write_text('[store]\nfolder = "data"\n', encoding="utf-8")

    code = run("--config", str(tmp_path / "agent.toml"), "support", "licences", "--json")

    by_name = {part["name"]: part["licence"] for part in json.loads(capsys.readouterr().out)}
    assert code == 0
    assert by_name[f"bundle {name}"] == by_name["martensight"] != "the lab's own"


def test_the_bill_is_a_valid_cyclonedx_document() -> None:
    schema = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx is not installed")
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415

    document = build_bill(
        list_parts(["b"]), at=datetime(2026, 11, 24, tzinfo=UTC), serial=uuid.UUID(int=1)
    )

    assert schema.JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def test_a_compiled_module_whose_name_begins_like_a_licence_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "martensight-9.9.dist-info"
    compiled = "agent/cli/__pycache__/licences.cpython-311.pyc"
    (tmp_path / compiled).parent.mkdir(parents=True)
    (tmp_path / compiled).write_bytes(b"\xa7\r\r\n\x00\xff")
    (tmp_path / "LICENSE.txt").write_bytes(b"\nM\xefT Licence\n")
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: martensight\nVersion: 9.9\n")
    (installed / "RECORD").write_text(f"{compiled},,\nLICENCE,,\nLICENSE.txt,,\n")
    monkeypatch.syspath_prepend(tmp_path)

    program = list_parts()[0]

    assert (program.version, program.licence) == ("9.9", "M\ufffdT Licence")


def test_a_licence_is_told_from_whatever_words_a_package_uses() -> None:
    from email.message import Message  # noqa: PLC0415

    about = Message()
    about["Classifier"] = "License :: OSI Approved :: BSD License"
    said = Message()
    said["License"] = "UNKNOWN"

    assert find_licence(about) == "BSD-3-Clause"
    assert find_licence(said, "Apache Software License 2.0") == "Apache-2.0"


@pytest.mark.parametrize(
    "text",
    [
        '{"timestamp": "2026-11-11T11:11:11.011Z", "event": "x", "n": 11}',
        "2026-11-27T10:11:12+01:00 version 1.11.0, 11 files in 11.5 s, torch 2.11.0+cpu",
        "A bundle was read at 10:11.",
    ],
)
def test_a_short_number_of_a_specimen_mangles_no_time_version_or_count(text) -> None:
    assert Pseudonyms(["11", "A"]).text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "specimen 11 waits",
        "order=4711:11, specimen '11'",
        "Specimens: 11",
        "“11” is gone",
        "/lom/11/x",
    ],
)
def test_a_short_number_is_hidden_where_it_stands_as_a_value(text) -> None:
    said = Pseudonyms(["11", "4711"]).text(text)

    assert not re.search(r"\b(47)?11\b", said), said
