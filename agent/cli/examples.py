"""Examples of all commands, shown in their help, and the new names of commands that moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer
from typer.models import CommandInfo, TyperInfo

EXAMPLES: dict[str, str] = {
    "init": "agent init /etc/martensight",
    "settings": "agent --config /etc/martensight/agent.toml settings",
    "doctor": "agent doctor",
    "demo": "agent demo my-first-look",
    "run": "agent run --once",
    "status": "agent status --json",
    "fleet": "agent fleet --all-sites",
    "web": "agent web",
    "look": "agent look export",
    "classify": "agent classify export/4711_2_1.tif --saliency pictures",
    "needles measure": "agent needles measure export/4711_2_1.tif --overlay pictures",
    "needles compare": "agent needles compare",
    "needles calibrate": 'agent needles calibrate --subtype G --microscope LOM-07 --by "R. Stahl" '
    '--reason "100 needles of October" --dry-run',
    "import": "agent import labelled --manifest labels.csv",
    "train": "agent train labelled --weights resnet18.pth",
    "models weights": "agent models weights resnet18",
    "models evaluate": "agent models evaluate held-out --strange other-steels",
    "retrain": "agent retrain --dry-run",
    "models experiments": "agent models experiments labelled --quick",
    "models reprocess": "agent models reprocess --bundle 20261124-1f2e3d4c --shadow --days 14",
    "report": "agent report --date 2026-11-24",
    "orders show": "agent orders show 4711",
    "export": "agent export micrographs --out micrographs.csv",
    "files": "agent files --failed",
    "files retry": "agent files retry --all",
    "backup": "agent backup /mnt/nas/martensight",
    "restore": "agent restore martensight-plant-1-1f2e3d-nightly-20261124T223000Z.zip",
    "verify": "agent verify",
    "files storage": "agent files storage --json",
    "files prune": "agent files prune --dry-run",
    "support bundle": "agent support bundle for-support",
    "support licences": "agent support licences --sbom martensight.cdx.json",
    "support wheels": "agent support wheels D:/wheels --package martensight-*.whl",
    "service install": "sudo agent --config /etc/martensight/agent.toml service install",
    "service uninstall": "sudo agent service uninstall",
    "service start": "sudo agent service start",
    "service stop": "sudo agent service stop",
    "service status": "agent service status",
    "scale check": (
        "agent scale check micrometer.tif --division 10um --source LOM-07 --objective 50x "
        '--by "A. Cole"'
    ),
    "models features": "agent models features --fill --limit 1000",
    "models rollout": "agent models rollout",
    "models list": "agent models list",
    "models show": "agent models show 20261124-1f2e3d4c",
    "models impact": "agent models impact 20261124-1f2e3d4c",
    "models promote": (
        'agent models promote 20261124-1f2e3d4c --by "R. Stahl" --reason "better on G9-10"'
    ),
    "models rollback": 'agent models rollback --by "R. Stahl" --reason "too many errors on C56E2"',
    "models add": "agent models add bundles/20261124-1f2e3d4c",
    "models int8": "agent models int8 20261124-1f2e3d4c",
    "models export": "agent models export 20261124-1f2e3d4c /mnt/nas/bundles",
    "models datasets": "agent models datasets uhcsdb downloads/uhcs",
    "review list": "agent review list --reason strange",
    "review label": 'agent review label 1f2e3d4c5b6a7988 G8 --by "R. Stahl"',
    "orders list": "agent orders list",
    "orders import": 'agent orders import orders.csv --by "R. Stahl"',
    "orders urgent": "agent orders urgent 4711",
    "orders assign": (
        'agent orders assign 1f2e3d4c5b6a7988 4711 2 --by "R. Stahl" --reason "label fell off"'
    ),
    "orders hold": 'agent orders hold 4711 --by "R. Stahl" --reason "complaint 2026-113"',
    "orders release-hold": (
        'agent orders release-hold LOM-07 --by "R. Stahl" --reason "bar read wrongly, scale right"'
    ),
    "orders supersede": (
        'agent orders supersede 1f2e3d4c5b6a7988 --by "R. Stahl" --reason "scratched, taken again"'
    ),
    "orders same-place": (
        "agent orders same-place 1f2e3d4c5b6a7988 8897a6b5c4d3e2f1 --belongs"
        ' --by "R. Stahl" --reason "the export was mixed up"'
    ),
    "orders statements": "agent orders statements 4711 for-the-customer",
    "orders amend": 'agent orders amend 4711 --by "R. Stahl" --reason "one ring was scrapped"',
    "orders reopen": 'agent orders reopen 4711 --by "R. Stahl" --reason "the customer agreed"',
    "orders resume": 'agent orders resume 4711 --by "R. Stahl" --reason "labels checked on paper"',
    "orders dismiss-file": (
        'agent orders dismiss-file 4711 4711_01_4.tif --by "R. Stahl" --reason "a test shot"'
    ),
    "orders trace": "agent orders trace 4711 for-the-customer",
    "spec validate": 'agent spec validate 100Cr6 labelled --by "R. Stahl"',
    "roundrobin new": "agent roundrobin new spring-2026 --stratified 20 --raters raters.csv",
    "roundrobin open": "agent roundrobin open spring-2026",
    "roundrobin close": "agent roundrobin close spring-2026",
    "roundrobin report": "agent roundrobin report spring-2026 --raters R01,R03 --out daily.html",
    "roundrobin list": "agent roundrobin list",
    "msa plan": (
        "agent msa plan MSA-2026 --specimens specimens.csv --operators Ann,Bob"
        " --microscopes LOM-01,LOM-02"
    ),
    "msa report": 'agent msa report MSA-2026 --limit "8 or finer"',
    "spec list": "agent spec list --check",
    "spec taxonomy": "agent spec taxonomy taxonomy.toml",
    "spec automatic": 'agent spec automatic 100Cr6 --by "R. Stahl" --reason "validated 2026-11"',
    "users add": 'agent users add "R. Stahl" --role lead',
    "users change": 'agent users change "R. Stahl" --role admin',
    "users list": "agent users list",
}

MOVED: dict[str, str] = {
    "order": "orders show",
    "inspect": "look",
    "retry": "files retry",
    "prune": "files prune",
    "validate": "spec validate",
    "trace": "orders trace",
    "evaluate": "models evaluate",
    "reprocess": "models reprocess",
    "experiments": "models experiments",
    "weights": "models weights",
    "support-bundle": "support bundle",
    "bundle-wheels": "support wheels",
    "licences": "support licences",
    "datasets list": "models datasets",
    "datasets prepare": "models datasets NAME FOLDER",
    "datasets": "models datasets",
    "orders report": "orders statements NUMBER --customer",
    "review export": "export labelled --out DIR",
    "orders unassigned": "orders list --unassigned",
    "orders control": "orders list --control",
    "orders release": "orders hold NUMBER --off",
    "orders prepare-again": "orders supersede NUMBER --specimen NAME",
    "spec check": "spec list --check",
    "taxonomy check": "spec taxonomy FILE",
    "taxonomy": "spec taxonomy",
    "features status": "models features",
    "features fill": "models features --fill",
    "features verify": "models features --verify",
    "features": "models features",
    "rollout start": "models promote NAME --rings",
    "rollout status": "models rollout",
    "rollout continue": "models rollout --continue",
    "rollout stop": "models rollout --stop",
    "rollout": "models rollout",
    "models why": "models show NAME --why",
    "models diff": "models show NAME --against OTHER",
    "review undo": "review label ID --undo",
    "review suggest": "review list --suggest 20",
    "users password": "users change NAME --password",
    "users role": "users change NAME --role ROLE",
    "users disable": "users change NAME --disable",
    "users enable": "users change NAME --enable",
    "users token": "users add NAME --program",
    "objects status": "files storage",
    "objects send": "files storage --send",
    "objects fetch": "files storage --fetch",
    "objects": "files storage",
    "check": "verify --installation",
    "begin-anew": "restore --accept database",
    "move": "restore FILE --to DIR",
    "database copy": "backup --copy-to URL",
    "database": "backup --copy-to URL",
}
"""Name that a command had → what to type now."""


def find_moved(words: Sequence[str]) -> str:
    """Return a sentence with the new name of a command that moved, "" for any other call."""
    for old in (" ".join(words[:2]), " ".join(words[:1])):
        if old in MOVED:
            return f"'agent {old}' is now 'agent {MOVED[old]}'."
    return ""


def add_examples(app: typer.Typer) -> None:
    """Append the example to the help of each command."""
    for path, command in iter_commands(app):
        if path in EXAMPLES:
            command.epilog = f"Example:\n\n\b\n  {EXAMPLES[path]}"


def iter_commands(
    app: typer.Typer, above: str = ""
) -> Iterator[tuple[str, CommandInfo | TyperInfo]]:
    """Yield every command with its full name."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        yield f"{above}{name}", command
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner:
            name = group.name if isinstance(group.name, str) else inner.info.name
            alone = inner.registered_callback
            if alone and alone.invoke_without_command is True:  # a command with further ones
                yield f"{above}{name}", alone
            yield from iter_commands(inner, f"{above}{name} ")
