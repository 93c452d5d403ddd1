#!/usr/bin/env bash
# Play what years bring on a throw-away lab: a move, a restore of an older back-up, two labs in one folder of
# back-ups, a first night that was slept through, pruning, an upgrade that is killed, an evening with a wrong clock,
# a share that hangs, two copies at once, a second host name, and the program as it was installed.
#   deploy/drill.sh [AGENT]            AGENT: the program to drill, default `agent`
#   DRILL_STEPS="8 10" deploy/drill.sh      some of the steps; 4, 2 and 6 go on from 3
#   DRILL_KINDS="sqlite" deploy/drill.sh    with one kind of database; default: sqlite, and postgresql where its
#                                      server is installed (Debian: apt-get install postgresql)
# Everything happens in a temporary folder; no lab of this PC is touched. Exit code 0: all was as it has to be.
set -euo pipefail

agent=$(command -v "${1:-agent}") || { echo "drill: ${1:-agent}: no such program"; exit 2; }
agent=$(realpath -s "$agent")
python=$(dirname "$agent")/python
[ -x "$python" ] || python=python3
work=$(mktemp -d)
postgres="" server="" share="" hanging="" kind=""
export AGENT_TOKEN="" && unset AGENT_TOKEN AGENT_CONFIG
export OMP_NUM_THREADS=1

finish() {
  [ -z "$share" ] || kill -9 "$share" 2>/dev/null || true # first: what hangs in it can end then
  [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
  [ -z "$hanging" ] || umount -l "$hanging" 2>/dev/null || true # by its name: a dead one is in no listing
  [ -z "$postgres" ] || as_postgres pg_ctl -D "$work/postgres/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

say() { printf '%s: %s\n' "$kind" "$*"; }
fail() {
  say "FAILED: $*" >&2
  [ ! -s "$work/said" ] || { echo "--- what the program printed last:" >&2; tail -30 "$work/said" >&2; }
  [ ! -s "$lab/data/logs/agent.log" ] || { echo "--- its log:" >&2; tail -30 "$lab/data/logs/agent.log" >&2; }
  exit 1
}
run() { # CODE ARGUMENTS...: run the agent of the lab, and end the drill where it ends with another code
  local wanted=$1 code=0
  shift
  "$agent" --config "$lab/agent.toml" "$@" >"$work/said" 2>&1 </dev/null || code=$?
  [ "$code" = "$wanted" ] || fail "agent $* ended with $code, not $wanted"
}
printed() { tr -s ' \n' ' ' <"$work/said" | grep -qF -- "$1" || fail "'$1' was not printed"; }
files() { find "$1" -maxdepth 1 -type f -name "$2" 2>/dev/null | wc -l; } # FOLDER PATTERN

serve() { # SECONDS COMMAND...: run the agent until the command is true, then stop it
  local most=$1 code=0
  shift
  : >"$work/said" # what the agent before printed must not pass for its own
  "$agent" --config "$lab/agent.toml" run >"$work/said" 2>&1 </dev/null &
  server=$!
  local ends=$((SECONDS + most))
  until grep -qs 'review page' "$work/said" && "$@"; do # only from then on it stops when told to
    kill -0 "$server" 2>/dev/null || { wait "$server" || code=$?; fail "agent run ended with $code"; }
    [ $SECONDS -lt $ends ] || fail "it did not come about within $most s: $*"
    sleep 0.3
  done
  stop_server
}

stop_server() { # it ends within 10 s; a minute is for a busy PC
  local ends=$((SECONDS + 60))
  kill -TERM "$server"
  while kill -0 "$server" 2>/dev/null; do
    [ $SECONDS -lt $ends ] || fail "agent run did not stop"
    sleep 0.2
  done
  wait "$server" || fail "agent run did not stop well"
  server=""
}

examine() { # CHECK LEVELS TEXT: the doctor's findings of a check have these levels, and the text is in one of them
  "$agent" --config "$lab/agent.toml" doctor --json >"$work/said" 2>/dev/null </dev/null || true
  "$python" - "$work/said" "$@" <<'PY' || fail "the doctor's findings on '$1' are not '$2' with '$3'"
import json
import sys
path, check, levels, text = sys.argv[1:]
findings = [f for f in json.load(open(path, encoding="utf-8")) if f["check"] == check]
found = " ".join(f["level"] for f in findings)
sys.exit(not (found == levels and any(text in f["sentence"] for f in findings)))
PY
}
has() { [ "$(files "$1" "$2")" -ge "$3" ]; } # FOLDER PATTERN COUNT

# --- the lab ------------------------------------------------------------------------------------------------------

make_lab() { # FOLDER: settings, limits and empty folders
  mkdir -p "$1"/{export,outbox,lists,backups}
  cat >"$1/agent.toml" <<TOML
[site]
name = "Drill"
time_zone = "UTC"

[store]
folder = "data"
url = "${url:-}"

[web]
port = 0

[imaging]
workers = 1

[orders]
outbox = "outbox"
lists = "lists"
leads = ["R. Stahl"]

[backup]
folder = "backups"

[[sources]]
name = "LOM"
folder = "export"
quiet_s = 0.2
material = "100Cr6"
pattern = '(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)\..*'
TOML
  cat >"$1/specifications.toml" <<TOML
[[specification]]
name = "ring"
valid_from = 2020-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
TOML
}

draw() { # ORDER: one micrograph of it, exported
  "$python" - "$lab/export/$1_1_1.tif" "$1" <<'PY'
import sys
from pathlib import Path
from agent.demo.exporter import DemoPicture, encode
path, order = sys.argv[1:]
picture = DemoPicture(path, "G8", int(order), order, "1", 1, "500x")
Path(path).write_bytes(encode(picture.drawn((480, 360)), "tif"))
PY
}

take() { # ORDER: draw its micrograph and take it; its id is in $id
  draw "$1"
  take_again "$1"
}

take_again() { # ORDER: take its micrograph that is exported; its id is in $id
  local tries=30
  until "$agent" --config "$lab/agent.toml" run --once >"$work/said" 2>&1 </dev/null; do # a busy PC leaves it waiting
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "agent run --once left a file of order $1"
  done
  "$agent" --config "$lab/agent.toml" orders show "$1" --json >"$work/order" 2>/dev/null
  id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["specimens"][0]["fields"][0]["id"])' \
    "$work/order")
}

label() { run 0 review label "$id" "$1" --by "R. Stahl" --comment "drill"; }

# --- what is played -----------------------------------------------------------------------------------------------

drill_1_sites() { # two sites on one database: neither reaches the other's orders, ids, acts or duplicates
  local lab_before=$lab url_before=$url here=$work/$kind/first other=$work/$kind/second shared ours
  [ -z "$url" ] || url=$(new_database sites)
  lab=$here
  make_lab "$lab"
  shared=${url:-sqlite:///$lab/data/martensight.db}
  take 7101
  ours=$id
  make_lab "$other"
  sed -i -e 's/^name = "Drill"/name = "Drill 2"/' -e "s|^url = .*|url = \"$shared\"|" \
    -e "s|^folder = \"backups\"|folder = \"$here/backups\"|" "$other/agent.toml"
  lab=$other
  cp "$here/export/7101_1_1.tif" "$other/export/7102_1_1.tif" # one content at both sites is no duplicate
  take_again 7102
  [ "$id" = "$ours" ] || fail "one content has the ids $ours and $id" # a content's id is its hash, at each site
  take 7103
  lab=$here
  run 2 orders show 7103
  run 2 review label "$id" G7 --by "R. Stahl"
  run 2 orders assign "$id" 7101 1 --by "R. Stahl" --reason drill
  run 0 export trail --out "$work/$kind/trail.csv"
  ! grep -qE ',(7103|Drill 2),' "$work/$kind/trail.csv" || fail "the trail of the other site was exported"
  run 0 status
  lab=$other
  run 2 orders show 7101
  run 0 verify
  run 0 backup "$here/backups"
  examine back-up right "last backup" # its own one, and no other lab's
  lab=$here
  run 0 verify
  run 0 backup "$here/backups"
  examine back-up "right right" "also contains backups of Drill 2"
  lab=$lab_before url=$url_before
  say "1 sites: as it has to be"
}

drill_2_move() {
  local old=$lab new=$work/$kind/moved
  run 0 backup --pixels "$work/$kind/lab.zip"
  mkdir -p "$new"/{outbox,lists,backups}
  code=0
  "$agent" restore "$work/$kind/lab.zip" --to "$new" --source "LOM=$old/export" >"$work/said" 2>&1 || code=$?
  [ "$code" = 0 ] || fail "agent restore --to ended with $code"
  "$python" - "$old" "$new" <<'PY' || fail "the move changed another setting than the source's folder"
import sys
import tomllib
from pathlib import Path
old, new = (Path(folder) for folder in sys.argv[1:])
before, after = (tomllib.loads((folder / "agent.toml").read_text("utf-8")) for folder in (old, new))
before["sources"][0]["folder"] = str(old / "export")
sys.exit(before != after)
PY
  [ -d "$new/data/crops" ] || [ -n "$url" ] || fail "the data is not in the folder that the settings name"
  lab=$new
  run 0 run --once
  printed "no new files"
  run 0 files --json
  ! grep -q '"duplicate"' "$work/said" || fail "the moved lab read files again that it has"
  "$agent" restore "$work/$kind/lab.zip" --to "$new" >"$work/said" 2>&1 && fail "a live lab was moved over"
  lab=$old
  say "2 move: same sources, same history, nothing taken again; a lab that is there is refused"
}

drill_3_revisions() {
  take 4711
  label G8
  serve 1200 has "$lab/outbox" '4711-r1-*.json' 1
  run 0 backup "$work/$kind/older.zip"
  label G7
  printf 'order,material\n4799,100Cr6\n' >"$lab/lists/later.csv"
  serve 1200 both has "$lab/outbox" '4711-r2-*.json' 1 -- stated 4799
  run 0 restore "$work/$kind/older.zip"
  printed "order 4711: the LIMS holds revision 2, the database 1"
  printed "later.csv read again"
  accept_loss
  run 0 status
  printed "lost revisions or statements of 2 orders (4711, 4799)" # of 4799 a statement
  label G9-10
  run 0 orders resume 4711 --by "R. Stahl" --reason "decided again after the restore" # a lead: r2 said less good
  run 0 orders resume 4799 --by "R. Stahl" --reason "its list was read again"
  serve 1200 has "$lab/outbox" '4711-r3-*.json' 1
  for number in 1 2 3; do
    [ "$(files "$lab/outbox" "4711-r$number-*.json")" = 1 ] || fail "revision $number was not sent exactly once"
  done
  run 0 status
  ! grep -q "a restored back-up lost" "$work/said" || fail "an order is held that a lead resumed"
  run 0 verify
  say "3 revisions: after an older back-up they go on at 3, and the taken list was read again"
}

accept_loss() { # as a lead who knows what was lost with the restored back-up
  "$agent" --config "$lab/agent.toml" doctor --json >"$work/said" 2>/dev/null </dev/null || true
  local number
  number=$(grep -oE 'restore --accept [0-9]+' "$work/said" | grep -oE '[0-9]+' | head -1) || true
  [ -n "$number" ] || fail "the doctor does not name what was lost with the restored back-up"
  run 0 restore --accept "$number" --by "R. Stahl" --reason drill
}

stated() { # ORDER: whether a statement of it was frozen
  "$python" - "${url:-sqlite:///$lab/data/martensight.db}" "$1" <<'PY'
import sys
from sqlalchemy import create_engine, text
engine = create_engine(sys.argv[1])
query = text('SELECT count(*) FROM statement JOIN "order" o ON o.id = order_id WHERE o.number = :number')
with engine.connect() as connection:
    sys.exit(not connection.scalar(query, {"number": sys.argv[2]}))
PY
}

both() { # COMMAND -- COMMAND
  local first=()
  while [ "$1" != -- ]; do first+=("$1") && shift; done
  shift
  "${first[@]}" && "$@"
}

drill_4_back_ups() {
  local own=$lab other=$work/$kind/other
  serve 1200 has "$lab/backups" '*-nightly-*.zip' 1
  (url="" && make_lab "$other")
  sed -i "s|^folder = \"backups\"|folder = \"$own/backups\"|" "$other/agent.toml"
  lab=$other
  serve 1200 has "$own/backups" '*-nightly-*.zip' 2
  lab=$own
  run 0 backup "$lab/backups"
  code=0
  "$agent" --config "$lab/agent.toml" doctor --json >"$work/said" 2>&1 || code=$?
  printed "also contains backups of Drill"
  run 0 backup --verify
  printed "every hash is as written"
  local newest
  newest=$(find "$lab/backups" -name '*-nightly-*.zip' | sort | tail -1)
  "$python" - "$newest" "$work/$kind/flipped.zip" <<'PY'
import sys
import zipfile
from pathlib import Path
whole, flipped = map(Path, sys.argv[1:])
with zipfile.ZipFile(whole) as packed:
    member = max(packed.infolist(), key=lambda one: one.compress_size)
content = bytearray(whole.read_bytes())
content[member.header_offset + member.compress_size // 2] ^= 1
flipped.write_bytes(content)
PY
  run 3 backup --verify "$work/$kind/flipped.zip"
  say "4 back-ups: each lab has its own, and a restore on trial finds one flipped bit"
}

drill_5_first_night() {
  local day=$work/$kind/day
  (make_lab "$day")
  local kept_lab=$lab kept_url=${url:-}
  lab=$day url=""
  sed -i 's|^url = .*|url = ""|' "$lab/agent.toml"
  local ends
  ends=$(($(date +%s) / 60 * 60 + 120))
  printf '\n[night]\nat = "%s"\n' "$(date -u -d "@$ends" +%H:%M)" >>"$lab/agent.toml"
  serve 1200 has "$lab/data" 'status.json' 1   # switched on by day,
  while [ "$(date +%s)" -le "$ends" ]; do sleep 1; done # off when the night ends,
  serve 1200 has "$lab/data/reports" "$(date -u -d "@$ends" +%Y-%m-%d).html" 1 # and on again
  lab=$kept_lab url=$kept_url
  say "5 first night: a lab that is switched on by day only has its report"
}

prune_in_a_year() { # as `agent files prune` would a year from now: no row may be made older than it is
  "$python" - "$lab/agent.toml" >"$work/said" <<'PY'
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from agent import settings
from agent.backup import maintenance
from agent.archive import Archive
from agent.store import Store, store_url
told = settings.read(Path(sys.argv[1]))
now = datetime.now(UTC) + timedelta(days=365)
folder = told.store.folder
with Store.open(store_url(folder, told.store.url), site=told.site.name, agent="drill") as store:
    years = timedelta(days=365.25 * told.retention.statements_years)
    befores = {"crops": now - timedelta(days=1)}
    archive = Archive(folder)
    plans = maintenance.plan(store, archive, befores=befores, statements_since=now - years)
    maintenance.prune(store, archive, plans, at=now, progress=lambda *_: None)
for plan in plans:
    print(f"deleted {len(plan.files)}")
    for reason, count in plan.kept.items():
        print(f"{reason}: {count}")
PY
}

drill_6_prune() {
  take 4712
  label G8
  serve 1200 has "$lab/outbox" '4712-r1-*.json' 1
  run 0 orders hold 04711 --by "R. Stahl" --reason drill
  local before
  before=$(find "$lab/data/crops" -name '*-p0.png' | wc -l)
  prune_in_a_year
  printed "of an order on hold: 1"
  printed "named by a statement: 1"
  [ "$(find "$lab/data/crops" -name '*-p0.png' | wc -l)" = "$before" ] || fail "crops of a statement were pruned"
  run 0 orders hold --off 4711 --by "R. Stahl" --reason drill
  run 0 verify --installation --no-references
  say "6 prune: what a statement or a hold refers to stays, and prune says so"
}

write_next_version() { # the next version of the program: one migration more, in which a kill can meet it
  mkdir -p "$work/next/versions"
  cat >"$work/next/main.py" <<'PY'
import os
import sys
from pathlib import Path
import sqlalchemy as sa
from agent.cli import main
from agent.store import schema
from agent.store.tables import ContentRow
folder, ours = Path(__file__).parent / "versions", Path(schema.__file__).parent / "migrations" / "versions"
before, number = schema.HEAD, f"{int(schema.HEAD) + 1:04d}"
(folder / f"{number}_next.py").write_text(f"""'a column of the next version'
import os
import time
from pathlib import Path
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{number}", "{before}", None, None
def upgrade():
    op.add_column("content", sa.Column("next", sa.Integer(), nullable=True))
    if meets := os.environ.get("DRILL_MEETS"):
        Path(meets).touch()
        time.sleep(600)
""", encoding="utf-8")
configuration = schema.configuration
def with_next():
    config = configuration()
    config.set_main_option("version_locations", f"{ours}{os.pathsep}{folder}")
    return config
schema.configuration, schema.HEAD = with_next, number
ContentRow.__table__.append_column(sa.Column("next", sa.Integer(), nullable=True))
main(sys.argv[1:])
PY
  printf '#!/usr/bin/env bash\nexec "%s" "%s" "$@"\n' "$python" "$work/next/main.py" >"$work/next/agent"
  chmod +x "$work/next/agent"
}

schema_number() {
  "$python" - "${url:-sqlite:///$lab/data/martensight.db}" <<'PY'
import sys
from sqlalchemy import create_engine, inspect, text
engine = create_engine(sys.argv[1])
with engine.connect() as connection:
    number = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    columns = {column["name"] for column in inspect(connection).get_columns("content")}
print(number, "next" in columns)
engine.dispose()
PY
}

drill_7_upgrade() {
  local old=$work/$kind/old kept_lab=$lab kept_url=${url:-} kept_agent=$agent before ends
  [ "$kind" = sqlite ] && url="" || url=$(new_database old)
  make_lab "$old"
  lab=$old
  take 4720
  before=$(schema_number)
  write_next_version
  for _ in 1 2; do
    rm -f "$work/met"
    DRILL_MEETS=$work/met "$work/next/agent" --config "$lab/agent.toml" files >"$work/said" 2>&1 &
    server=$!
    ends=$((SECONDS + 120))
    until [ -e "$work/met" ]; do
      kill -0 "$server" 2>/dev/null || fail "the upgrade ended before it was met"
      [ $SECONDS -lt $ends ] || fail "the upgrade did not begin"
      sleep 0.1
    done
    kill -9 "$server"
    wait "$server" 2>/dev/null || true
    server=""
    [ "$(schema_number)" = "$before" ] || fail "the killed upgrade left schema $(schema_number), not $before"
    run 0 files # the version before still reads it
  done
  agent=$work/next/agent
  run 0 status
  [ "$(schema_number)" != "$before" ] || fail "the upgrade was not begun again"
  run 0 verify --installation --no-references
  run 0 verify
  [ -n "$(find "$lab/data" -name '*before-schema-*' ! -name '.*')" ] || fail "the database was not kept as it was"
  agent=$kept_agent
  run 2 files
  printed "newer than this program"
  lab=$kept_lab url=$kept_url
  say "7 upgrade: killed in the middle twice it is begun again, with a copy of before; a newer schema is refused"
}

drill_8_clock() { # an evening with a clock that is a year ahead
  local kept_lab=$lab kept_url=${url:-}
  [ "$kind" = sqlite ] && url="" || url=$(new_database clock)
  lab=$work/$kind/clock
  make_lab "$lab"
  run 0 files
  "$python" - "$lab/agent.toml" <<'PY'
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from agent import settings
from agent.service.jobs.backup import back_up_when_due
from agent.store import Store, store_url
told = settings.read(Path(sys.argv[1]))
folder = told.store.folder
with Store.open(store_url(folder, told.store.url), site=told.site.name, agent="drill", folder=folder) as store:
    said = back_up_when_due(told, store, at=datetime.now(UTC) + timedelta(days=365))
sys.exit(said or 0)
PY
  has "$lab/backups" '*-nightly-*.zip' 1 || fail "no back-up was made with the wrong clock"
  serve 90 has "$lab/backups" '*-nightly-*.zip' 2
  run 0 status
  printed "in the future"
  lab=$kept_lab url=$kept_url
  say "8 clock: a back-up of next year counts for nothing and is named, and the night has one of its own"
}

hang_share() { # FOLDER: mount a file system there that answers nothing; it ends with the process $share
  "$python" - "$1" >"$work/share" 2>&1 <<'PY' &
import ctypes
import os
import signal
import struct
import sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"drill", os.fsencode(sys.argv[1]), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
request = os.read(device, 1 << 18)
number = struct.unpack_from("<IIQ", request)[2]
answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0)
os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, number) + answer)
print("hangs", flush=True)
signal.pause()  # no request is even read, so that a process that waits for one can be ended
PY
  share=$!
  until grep -qs hangs "$work/share"; do
    kill -0 "$share" 2>/dev/null || { share=""; return 1; }
    sleep 0.1
  done
}

drill_9_share() { # back-ups, results and a source on a share whose server is gone
  local kept_lab=$lab kept_url=${url:-}
  [ "$(id -u)" = 0 ] && [ -c /dev/fuse ] || { say "9 share: not played, needs root and /dev/fuse"; return 0; }
  [ "$kind" = sqlite ] && url="" || url=$(new_database share)
  lab=$work/$kind/share
  make_lab "$lab"
  run 0 files
  hanging=$work/$kind/hanging/share
  mkdir -p "$hanging"
  sed -i -e "s|^folder = \"backups\"|folder = \"$hanging\"|" -e "s|^outbox = .*|outbox = \"$hanging/out\"|" \
    "$lab/agent.toml"
  printf '[[sources]]\nname = "GONE"\nfolder = "%s/export"\n' "$hanging" >>"$lab/agent.toml"
  hang_share "$hanging" || { say "9 share: not played ($(cat "$work/share"))"; lab=$kept_lab url=$kept_url; return 0; }
  draw 7301
  serve 90 taken 7301 # ready although the share hangs, and the other source's file is taken
  timeout 90 "$agent" --config "$lab/agent.toml" status >"$work/said" 2>&1 </dev/null || fail "agent status hangs"
  printed "$hanging"
  kill -9 "$share" && wait "$share" 2>/dev/null || true
  umount -l "$hanging" 2>/dev/null || true
  share="" hanging=""
  lab=$kept_lab url=$kept_url
  say "9 share: while one hangs the agent starts, takes the other source's files, says what hangs, and stops"
}

taken() { # ORDER: whether its micrograph was taken
  local state
  state=$(timeout 60 "$agent" --config "$lab/agent.toml" files --json 2>/dev/null </dev/null) || return 1
  grep -q "\"done\"" <<<"$state" && grep -q "$1_1_1.tif" <<<"$state"
}

drill_10_copies() {
  [ "$kind" = sqlite ] || return 0
  local kept_lab=$lab own=$work/$kind/own twin=$work/$kind/twin
  lab=$own
  make_lab "$lab"
  take 7201
  cp -r "$lab" "$twin"
  sed -i "s|^outbox = .*|outbox = \"$own/outbox\"|" "$twin/agent.toml"
  "$agent" --config "$own/agent.toml" run >"$work/first" 2>&1 </dev/null &
  server=$!
  local ends=$((SECONDS + 1200))
  until grep -ls '"is_stopped": false' "$own"/outbox/.martensight/*.presence >/dev/null 2>&1; do
    [ $SECONDS -lt $ends ] || fail "the running agent wrote no presence"
    sleep 0.3
  done
  lab=$twin
  run 2 run
  printed "Another copy of this lab's data runs on"
  lab=$own
  if unshare --uts true 2>/dev/null; then
    local code=0
    unshare --uts sh -c 'hostname drill-second && exec "$@"' sh "$agent" --config "$lab/agent.toml" run --once \
      >"$work/said" 2>&1 </dev/null || code=$?
    [ "$code" = 2 ] || fail "agent run --once under a second host name ended with $code, not 2"
    printed "an agent is already running here"
  else
    say "10 copies: no second host name, needs root"
  fi
  stop_server
  lab=$kept_lab
  say "10 copies: a second copy of the data, and a second host name, are refused while the first one runs"
}

drill_11_installed() { # the program as it was installed, with the files that pip compiled
  [ "$kind" = sqlite ] || return 0
  local kept_lab=$lab how="of this installation"
  lab=$work/$kind/installed
  make_lab "$lab"
  "$agent" --version >"$work/said" 2>&1 || fail "agent --version failed"
  run 0 files
  run 0 support licences
  run 0 support licences --sbom "$work/$kind/parts.json"
  grep -q martensight "$work/$kind/parts.json" || fail "the bill of materials lacks the program itself"
  run 0 support bundle "$work/$kind/support.zip"
  [ -s "$work/$kind/support.zip" ] || fail "no support bundle was written"
  lab=$kept_lab
  "$python" - <<'PY' || how="of an editable installation, which shows less"
import sys
from importlib.metadata import files
sys.exit(not any(file.suffix == ".pyc" for file in files("martensight") or ()))
PY
  say "11 installed: licences, bill of materials and support bundle $how"
}

# --- PostgreSQL ---------------------------------------------------------------------------------------------------

programs() { # where initdb is, "" where no server is installed
  find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort | tail -1 | xargs -r dirname
}

as_postgres() {
  local program=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    (cd "$work/postgres" && setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/$program" "$@")
  else
    "$bin/$program" "$@"
  fi
}

start_postgres() {
  mkdir -p "$work/postgres"
  chmod 755 "$work"
  [ "$(id -u)" != 0 ] || chown postgres "$work/postgres"
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  as_postgres initdb -D "$work/postgres/data" -U postgres -A trust -E UTF8 --no-sync >/dev/null
  as_postgres pg_ctl -D "$work/postgres/data" -l "$work/postgres/log" -w \
    -o "-p $port -k $work/postgres -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null
  postgres=yes
}

new_database() { # NAME: make it; its address is printed
  psql -q "postgresql://postgres@127.0.0.1:$port/postgres" -c "CREATE DATABASE $1 TEMPLATE template0"
  echo "postgresql+psycopg://postgres@127.0.0.1:$port/$1"
}

# --- all of it ----------------------------------------------------------------------------------------------------

bin=$(programs)
kinds=${DRILL_KINDS:-"sqlite postgresql"}
for kind in $kinds; do
  url=""
  if [ "$kind" = postgresql ]; then
    [ -n "$bin" ] && command -v psql pg_dump >/dev/null || { say "not played: no server is installed"; continue; }
    start_postgres
    url=$(new_database lab)
  fi
  lab=$work/$kind/lab
  make_lab "$lab"
  for step in ${DRILL_STEPS:-3 1 4 2 6 5 7 8 9 10 11}; do
    "$(declare -F | awk '{print $3}' | grep "^drill_${step}_")"
  done
done
kind=drill
say "all was as it has to be, in $SECONDS s"
