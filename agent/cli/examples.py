"""Examples of all commands, shown in their help."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    '--reason "300 needles of October" --dry-run',
    "taxonomy show": "agent taxonomy show",
    "taxonomy check": "agent taxonomy check taxonomy.toml",
    "import": "agent import labelled --manifest labels.csv",
    "train": "agent train labelled --weights resnet18.pth",
    "weights": "agent weights resnet18",
    "evaluate": "agent evaluate held-out --strange other-steels",
    "retrain": "agent retrain --dry-run",
    "experiments": "agent experiments labelled --quick",
    "reprocess": "agent reprocess --bundle 20261124-1f2e3d4c --shadow --days 14",
    "database copy": "agent database copy --to postgresql+psycopg://martensight@server/lab",
    "objects status": "agent objects status --json",
    "objects send": "agent objects send",
    "objects fetch": "agent objects fetch",
    "features status": "agent features status --json",
    "features fill": "agent features fill --limit 1000",
    "features verify": "agent features verify --repair",
    "report": "agent report --date 2026-11-24",
    "order": "agent order 4711",
    "orders report": "agent orders report 4711 for-customers --language de",
    "export": "agent export micrographs --out micrographs.csv",
    "files": "agent files --failed",
    "retry": "agent retry --all",
    "backup": "agent backup /mnt/nas/martensight",
    "restore": "agent restore martensight-plant-1-1f2e3d-nightly-20261124T223000Z.zip",
    "begin-anew": 'agent begin-anew --reason "the disk broke, and there is no back-up"',
    "verify": "agent verify",
    "check": "agent check --json",
    "prune": "agent prune --dry-run",
    "move": "agent move lab.zip --source LOM-07=/mnt/lom07/export",
    "support-bundle": "agent support-bundle for-support",
    "licences": "agent licences --sbom martensight.cdx.json",
    "bundle-wheels": "agent bundle-wheels D:/wheels --package martensight-*.whl",
    "service install": "sudo agent --config /etc/martensight/agent.toml service install",
    "service uninstall": "sudo agent service uninstall",
    "service start": "sudo agent service start",
    "service stop": "sudo agent service stop",
    "service status": "agent service status",
    "scale check": (
        "agent scale check micrometer.tif --division 10um --source LOM-07 --objective 50x "
        '--by "A. Cole"'
    ),
    "models list": "agent models list",
    "models show": "agent models show 20261124-1f2e3d4c",
    "models why": "agent models why 20261124-1f2e3d4c",
    "models diff": "agent models diff 20261101-0a1b2c3d 20261124-1f2e3d4c",
    "models impact": "agent models impact 20261124-1f2e3d4c",
    "models promote": (
        'agent models promote 20261124-1f2e3d4c --by "R. Stahl" --reason "better on G9-10"'
    ),
    "rollout start": (
        'agent rollout start 20261124-1f2e3d4c --by "E. Meier" --reason "better on G8"'
    ),
    "rollout status": "agent rollout status --json",
    "rollout stop": "agent rollout stop",
    "rollout continue": (
        'agent rollout continue --by "E. Meier" --reason "PC-4 has the same driver now"'
    ),
    "models rollback": 'agent models rollback --by "R. Stahl" --reason "too many errors on C56E2"',
    "models add": "agent models add bundles/20261124-1f2e3d4c",
    "models int8": "agent models int8 20261124-1f2e3d4c",
    "models export": "agent models export 20261124-1f2e3d4c /mnt/nas/bundles",
    "datasets list": "agent datasets list",
    "datasets prepare": "agent datasets prepare uhcsdb downloads/uhcs",
    "review list": "agent review list --reason strange",
    "review suggest": "agent review suggest --n 10",
    "review label": 'agent review label 1f2e3d4c5b6a7988 G8 --by "R. Stahl"',
    "review undo": 'agent review undo 1f2e3d4c5b6a7988 --by "R. Stahl"',
    "review export": "agent review export labelled",
    "orders list": "agent orders list",
    "orders control": "agent orders control",
    "orders import": 'agent orders import orders.csv --by "R. Stahl"',
    "orders urgent": "agent orders urgent 4711",
    "orders unassigned": "agent orders unassigned",
    "orders assign": (
        'agent orders assign 1f2e3d4c5b6a7988 4711 2 --by "R. Stahl" --reason "label fell off"'
    ),
    "orders hold": 'agent orders hold 4711 --by "R. Stahl" --reason "complaint 2026-113"',
    "orders release": 'agent orders release 4711 --by "R. Stahl" --reason "complaint settled"',
    "orders release-hold": (
        'agent orders release-hold LOM-07 --by "R. Stahl" --reason "bar read wrongly, scale right"'
    ),
    "orders supersede": (
        'agent orders supersede 1f2e3d4c5b6a7988 --by "R. Stahl" --reason "scratched, taken again"'
    ),
    "orders prepare-again": (
        'agent orders prepare-again 4711 2 --by "R. Stahl" --reason "etched too long"'
        " --defect over_etched"
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
    "trace": "agent trace 4711 for-the-customer",
    "validate": 'agent validate 100Cr6 labelled --by "R. Stahl"',
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
    "spec list": "agent spec list",
    "spec check": "agent spec check",
    "spec automatic": 'agent spec automatic 100Cr6 --by "R. Stahl" --reason "validated 2026-11"',
    "users add": 'agent users add "R. Stahl" --role lead',
    "users password": 'agent users password "R. Stahl"',
    "users role": 'agent users role "R. Stahl" admin',
    "users token": "agent users token Fiji-3 --role reviewer",
    "users disable": 'agent users disable "R. Stahl"',
    "users enable": 'agent users enable "R. Stahl"',
    "users list": "agent users list",
}


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
