"""`agent spec list --check` names a limit of needle lengths that no field can keep."""

from labs.shell import Shell

ENTRY = """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 5
needle_limit = "L90 <= 25 µm"
"""


def test_a_limit_without_measurement_is_named_and_with_it_not(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.write("specifications.toml", ENTRY)

    code, text = shell.agent("spec", "list", "--check")
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n[needles]\nenabled = true\n')
    _, enabled = shell.agent("spec", "list", "--check")

    assert code == 0
    assert "ring-a: it limits needle lengths, and [needles] enabled is false" in text
    assert "no fault" in text
    assert "it limits needle lengths" not in enabled
