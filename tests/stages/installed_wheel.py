"""Run every command of an installed wheel: its help, and itself without arguments.

Run with the Python of an environment into which pip installed the wheel, in any folder but the
source tree's. pip compiles modules as it installs, and lists what it compiled; neither an editable
installation nor uv does that.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import agent
from agent.cli import main
from agent.cli.reference import list_commands

ELSEWHERE = frozenset(
    {
        *("demo", "run", "web"),  # they run until they are stopped, or for minutes
        *("service install", "service uninstall", "service start", "service stop"),
    }
)
"""Commands that need no argument and are not run here."""
AS_PROGRAM = ("--version", "support licences", "support bundle", "status")
"""Also run by the script that pip wrote."""
LIMIT_S = 120
RIGHT_CODES = {0, 2, 3}


def run(*words: str) -> tuple[object, str]:
    """Run a command in this process; return its exit code and what it printed, or its fault."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main([*words])
        except SystemExit as ended:
            return ended.code or 0, printed.getvalue()
        except Exception:  # noqa: BLE001 - every fault is listed
            return "traceback", traceback.format_exc()
    return "no exit code", printed.getvalue()


def run_program(words: str, lab: Path) -> tuple[object, str]:
    """Run a command by pip's script; return its exit code and what it printed."""
    ended = subprocess.run(
        [Path(sys.executable).with_name("agent"), *words.split()],
        cwd=lab,
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT_S,
    )
    code = "traceback" if "Traceback" in ended.stderr else ended.returncode
    return code, ended.stdout + ended.stderr


def list_faults() -> list[str]:
    """Return what is wrong with the commands of the installed package, a sentence each."""
    place = Path(agent.__file__).parent
    if not any(place.glob("cli/__pycache__/app.*.pyc")):
        return [f"{place} has no compiled modules: pip did not install it"]
    sys.argv[0] = "agent"
    commands = list_commands()
    ends = {f"agent {path} --help": run(*path.split(), "--help") for path in commands}
    faults = [
        f"{what}: {code}: {printed}"
        for what, (code, printed) in ends.items()
        if code != 0 or what.removesuffix(" --help") not in " ".join(printed.split())
    ]
    alone = [
        path
        for path, command in commands.items()
        if path not in ELSEWHERE and not any(parameter.required for parameter in command.params)
    ]
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder)
        os.chdir(lab)
        ends = {path: run(*path.split()) for path in ("init", *alone)}
        ends |= {f"agent {words}": run_program(words, lab) for words in AS_PROGRAM}
        os.chdir("/")
    print(f"{len(commands)} commands show their help, {len(alone)} run without an argument")
    return faults + [
        f"{what}: {code}: {printed[-3000:]}"
        for what, (code, printed) in ends.items()
        if code not in RIGHT_CODES
    ]


if __name__ == "__main__":
    found = list_faults()
    print(*found, sep="\n")
    sys.exit(bool(found))
