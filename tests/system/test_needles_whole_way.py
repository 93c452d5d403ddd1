"""With needles switched on, exported micrographs end as lengths in order, report and CSV."""

from __future__ import annotations

import csv
import json

import cv2
import pytest

from agent.cli.app import main
from agent.demo.micrograph import draw_micrograph

SETTINGS = """
[site]
name = "Plant 1"
[needles]
enabled = true
[[sources]]
name = "LOM-07"
folder = "export"
quiet_s = 0
pattern = '(?P<order>\\d+)_(?P<specimen>\\d+)_(?P<field>\\d+)'
material = "100Cr6"
objective = "50x"
[[sources.objectives]]
name = "50x"
um_per_px = 0.2
[[sources]]
name = "OLD"
folder = "old"
quiet_s = 0
"""
SPECIFICATION = """
[[specification]]
name = "ring-a"
valid_from = 2020-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 5
needle_limit = "L90 <= 25 µm"
longest_in_mm2 = "100 mm²: 45 µm"
"""


def export(path, seed):
    drawn = draw_micrograph("G8", seed=seed, size=(700, 550), bar=None, border=False)
    path.parent.mkdir(exist_ok=True)
    pixels = cv2.cvtColor(drawn.pixels, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.slow  # the network, on eight micrographs
def test_exported_micrographs_become_lengths_of_their_order(tmp_path, capsys) -> None:
    (tmp_path / "agent.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "specifications.toml").write_text(SPECIFICATION, encoding="utf-8")
    for field in range(5):
        export(tmp_path / f"export/4711_01_{field}.png", 910 + field)
    export(tmp_path / "old/unscaled.png", 930)

    def agent(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "agent.toml"), *words])
        printed = capsys.readouterr()
        assert ended.value.code in {0, None}, printed.err
        return printed.out

    agent("run", "--once")

    order = json.loads(agent("orders", "show", "4711", "--json"))
    agent("export", "micrographs", "--out", str(tmp_path / "all.csv"))
    rows = list(csv.DictReader((tmp_path / "all.csv").open(encoding="utf-8-sig")))
    needles = order["needles"]
    assert (needles["fields_measured"], needles["calibration"]) == (5, None)
    assert needles["l90"]["low_um"] < needles["l90"]["value_um"] < needles["l90"]["high_um"]
    assert 8 < needles["l90"]["value_um"] < 22
    assert needles["longest_expected"] is None
    assert order["conformity"] == "undecided"
    assert "longest needle in 100 mm² at most 45 µm: 5 of 20 measured fields" in order["missing"]
    by_file = {row["file"].replace("\\", "/").rsplit("/", 1)[-1]: row for row in rows}
    assert by_file["unscaled.png"]["needles_status"] == "no_scale"
    assert by_file["4711_01_0.png"]["needles_status"] == "measured"
    assert "L90" in agent("orders", "show", "4711")
    assert "needles: L50" in agent("orders", "show", "4711")
