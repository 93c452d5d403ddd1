"""A file name cannot forge a line of the terminal; a folder without labels trains nothing."""

from pathlib import Path

import pytest

from agent.cli.models.import_ import print_unusable
from agent.cli.models.train import require_labelled
from agent.errors import UsageError
from agent.labelled_import import ImportOutcome, UnusableFile


@pytest.mark.parametrize("name", ["a\nnot used: b.tif", "a\x1b[2Jb.tif"])
def test_a_file_that_is_not_used_takes_one_line_whatever_its_name(name, capsys):
    print_unusable([UnusableFile(name, "is empty."), UnusableFile("c.tif", f"is {name} again.")])

    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert [line.split(":")[0] for line in printed.replace("  ", "").strip().splitlines()] == (
        ["not used", "not used"]
    )


def test_training_stops_where_the_folder_brings_no_label():
    holiday = ImportOutcome(0, 0, {}, (UnusableFile("a.png", "not labelled"),))

    with pytest.raises(UsageError, match="holiday: no labelled micrograph, so nothing was trained"):
        require_labelled(holiday, Path("holiday"))
