"""A lab with its command: what somebody types, and what they read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.app import main
from labs.lab import Lab


class Shell:
    """A lab, its settings, and the commands run on both.

    Args:
        folder: Where `agent.toml` is; the lab lies in `data` below it.
        capsys: Of the test.
    """

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.lab, self.folder, self._capsys = Lab(folder / "data"), folder, capsys
        self.write("agent.toml", '[site]\nname = "Plant 1"\n')

    def agent(self, *words: object, config: str = "agent.toml") -> tuple[int, str]:
        """Run a command; its exit code and everything it said come back."""
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.folder / config), *map(str, words)])
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    def write(self, name: str, text: str) -> Path:
        """Write a file beside the settings."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name
