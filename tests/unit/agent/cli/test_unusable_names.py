"""A file name cannot forge a line of the terminal."""

import pytest

from agent.cli.import_ import print_unusable
from agent.labelled_import import UnusableFile


@pytest.mark.parametrize("name", ["a\nnot used: b.tif", "a\x1b[2Jb.tif"])
def test_a_file_that_is_not_used_takes_one_line_whatever_its_name(name, capsys):
    print_unusable([UnusableFile(name, "is empty."), UnusableFile("c.tif", f"is {name} again.")])

    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert [line.split(":")[0] for line in printed.replace("  ", "").strip().splitlines()] == (
        ["not used", "not used"]
    )
