#!/usr/bin/env bash
# Play what years bring on a throw-away lab: a move, a restore of an older back-up, two labs in one folder of
# back-ups, a first night that was slept through, pruning, an upgrade that is killed, and two copies at once.
#   deploy/drill.sh [AGENT]            AGENT: the program to drill, default `agent`
#   DRILL_KINDS="sqlite" deploy/drill.sh    with one kind of database; default: sqlite, and postgresql where its
#                                      server is installed (Debian: apt-get install postgresql)
# Everything happens in a temporary folder; no lab of this PC is touched. Exit code 0: all was as it has to be.
set -euo pipefail

agent=$(command -v "${1:-agent}") || { echo "drill: ${1:-agent}: no such program"; exit 2; }
agent=$(realpath -s "$agent")
python=$(dirname "$agent")/python
[ -x "$python" ] || python=python3
work=$(mktemp -d)
postgres="" server="" kind=""
export AGENT_TOKEN="" && unset AGENT_TOKEN AGENT_CONFIG
export OMP_NUM_THREADS=1

finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$postgres" ] || as_postgres pg_ctl -D "$work/postgres/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

say() { printf '%s: %s\n' "$kind" "$*"; }
fail() {
  say "FAILED: $*" >&2
  [ ! -s "$work/said" ] || { echo "--- what the program printed last:" >&2; tail -30 "$work/said" >&2; }
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
  "$agent" --config "$lab/agent.toml" run >"$work/said" 2>&1 </dev/null &
  server=$!
  local ends=$((SECONDS + most))
  until grep -qs 'review page' "$work/said" && "$@"; do # only from then on it stops when told to
    kill -0 "$server" 2>/dev/null || { wait "$server" || code=$?; fail "agent run ended with $code"; }
    [ $SECONDS -lt $ends ] || fail "it did not come about within $most s: $*"
    sleep 0.3
  done
  kill -TERM "$server"
  wait "$server" || fail "agent run did not stop well"
  server=""
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
  local tries=5
  until "$agent" --config "$lab/agent.toml" run --once >"$work/said" 2>&1 </dev/null; do # a busy PC leaves it waiting
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "agent run --once left a file of order $1"
  done
  "$agent" --config "$lab/agent.toml" order "$1" --json >"$work/order" 2>/dev/null
  id=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["specimens"][0]["fields"][0]["id"])' \
    "$work/order")
}

label() { run 0 review label "$id" "$1" --by "R. Stahl" --comment "drill"; }

sql() { # STATEMENT: run it in the lab's database
  "$python" - "${url:-sqlite:///$lab/data/martensight.db}" "$1" <<'PY'
import sys
from sqlalchemy import create_engine, text
engine = create_engine(sys.argv[1])
with engine.begin() as connection:
    connection.execute(text(sys.argv[2]))
engine.dispose()
PY
}

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
  sed -i -e 's/^name = "Drill"/name = "Drill 2"/' -e "s|^url = .*|url = \"$shared\"|" "$other/agent.toml"
  lab=$other
  cp "$here/export/7101_1_1.tif" "$other/export/7102_1_1.tif" # one content at both sites is no duplicate
  take_again 7102
  [ "$id" = "$ours" ] || fail "one content has the ids $ours and $id" # a content's id is its hash, at each site
  take 7103
  lab=$here
  run 2 order 7103
  run 2 review label "$id" G7 --by "R. Stahl"
  run 2 orders assign "$id" 7101 1 --by "R. Stahl" --reason drill
  run 0 export trail --out "$work/$kind/trail.csv"
  ! grep -qE ',(7103|Drill 2),' "$work/$kind/trail.csv" || fail "the trail of the other site was exported"
  run 0 status
  lab=$other
  run 2 order 7101
  run 0 verify
  lab=$here
  run 0 verify
  lab=$lab_before url=$url_before
  say "1 sites: as it has to be"
}

drill_2_move() {
  local old=$lab new=$work/$kind/moved
  run 0 backup --pixels "$work/$kind/lab.zip"
  mkdir -p "$new"/{outbox,lists,backups}
  code=0
  "$agent" move "$work/$kind/lab.zip" --to "$new" --source "LOM=$old/export" >"$work/said" 2>&1 || code=$?
  [ "$code" = 0 ] || fail "agent move ended with $code"
  grep -q '^folder = "backups"' "$new/agent.toml" || fail "the move rewrote another folder than the source's"
  lab=$new
  run 0 run --once
  printed "no new files"
  "$agent" move "$work/$kind/lab.zip" --to "$new" >"$work/said" 2>&1 && fail "a live lab was moved over"
  lab=$old
  say "2 move: same sources, same history, nothing taken again; a lab that is there is refused"
}

drill_3_revisions() {
  take 4711
  label G8
  serve 400 has "$lab/outbox" '4711-r1-*.json' 1
  run 0 backup "$work/$kind/older.zip"
  label G7
  printf 'order,material\n4799,100Cr6\n' >"$lab/lists/later.csv"
  serve 400 both has "$lab/outbox" '4711-r2-*.json' 1 -- has "$lab/lists/taken" '*later.csv' 1
  run 0 restore "$work/$kind/older.zip"
  printed "order 4711: the LIMS holds revision 2, the database 1"
  printed "later.csv read again"
  run 0 status
  printed "the LIMS holds revisions of 1 order (4711)"
  label G9-10
  run 0 orders resume 4711 --by "R. Stahl" --reason "decided again after the restore" # a lead: r2 said less good
  serve 400 has "$lab/outbox" '4711-r3-*.json' 1
  for number in 1 2 3; do
    [ "$(files "$lab/outbox" "4711-r$number-*.json")" = 1 ] || fail "revision $number was not sent exactly once"
  done
  run 0 verify
  say "3 revisions: after an older back-up they go on at 3, and the taken list was read again"
}

both() { # COMMAND -- COMMAND
  local first=()
  while [ "$1" != -- ]; do first+=("$1") && shift; done
  shift
  "${first[@]}" && "$@"
}

drill_4_back_ups() {
  local own=$lab other=$work/$kind/other
  serve 400 has "$lab/backups" '*-nightly-*.zip' 1
  (url="" && make_lab "$other")
  sed -i "s|^folder = \"backups\"|folder = \"$own/backups\"|" "$other/agent.toml"
  lab=$other
  serve 400 has "$own/backups" '*-nightly-*.zip' 2
  lab=$own
  run 0 backup "$lab/backups"
  code=0
  "$agent" --config "$lab/agent.toml" doctor --json >"$work/said" 2>&1 || code=$?
  printed "also contains backups of Drill"
  run 0 backup --verify
  printed "every hash is as written"
  local newest
  newest=$(find "$lab/backups" -name '*-nightly-*.zip' | sort | tail -1)
  head -c -500 "$newest" >"$work/$kind/cut.zip"
  run 3 backup --verify "$work/$kind/cut.zip"
  say "4 back-ups: each lab has its own, and a restore on trial finds a damaged one"
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
  serve 400 has "$lab/data" 'status.json' 1   # switched on by day,
  while [ "$(date +%s)" -le "$ends" ]; do sleep 1; done # off when the night ends,
  serve 400 has "$lab/data/reports" "$(date -u -d "@$ends" +%Y-%m-%d).html" 1 # and on again
  lab=$kept_lab url=$kept_url
  say "5 first night: a lab that is switched on by day only has its report"
}

prune_in_a_year() { # as `agent prune` would a year from now: no row may be made older than it is
  "$python" - "$lab/agent.toml" >"$work/said" <<'PY'
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from agent import maintenance, settings
from agent.archive import Archive
from agent.store import Store, store_url
told = settings.read(Path(sys.argv[1]))
now = datetime.now(UTC) + timedelta(days=365)
folder = told.store.folder
with Store.open(store_url(folder, told.store.url), site=told.site.name, agent="drill") as store:
    years = timedelta(days=365.25 * told.retention.statements_years)
    befores = {"crops": now - timedelta(days=1)}
    plans = maintenance.plan(store, Archive(folder), befores=befores, statements_since=now - years)
    maintenance.prune(store, plans, at=now, progress=lambda *_: None)
for plan in plans:
    print(f"deleted {len(plan.files)}")
    for reason, count in plan.kept.items():
        print(f"{reason}: {count}")
PY
}

drill_6_prune() {
  take 4712
  label G8
  serve 400 has "$lab/outbox" '4712-r1-*.json' 1
  run 0 orders hold 04711 --by "R. Stahl" --reason drill
  local before
  before=$(find "$lab/data/crops" -name '*-p0.png' | wc -l)
  prune_in_a_year
  printed "of an order on hold: 1"
  printed "named by a statement: 1"
  [ "$(find "$lab/data/crops" -name '*-p0.png' | wc -l)" = "$before" ] || fail "crops of a statement were pruned"
  run 0 orders release 4711 --by "R. Stahl" --reason drill
  run 0 check --no-references
  say "6 prune: what a statement or a hold refers to stays, and prune says so"
}

drill_7_upgrade() {
  local old=$work/$kind/old kept_lab=$lab kept_url=${url:-}
  mkdir -p "$old/data"
  [ "$kind" = sqlite ] && url="" || url=$(new_database old)
  make_lab "$old"
  lab=$old
  "$python" - "${url:-sqlite:///$old/data/martensight.db}" <<'PY'
import sys
from alembic import command
from agent.store import schema
from agent.store.engine import make_engine
engine = make_engine(sys.argv[1])
with engine.begin() as connection:
    config = schema.configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "0003")
PY
  for after in 0.9 1.2 1.5 1.8; do # killed in the middle, wherever that is
    "$agent" --config "$lab/agent.toml" files >/dev/null 2>&1 &
    server=$!
    sleep "$after"
    kill -9 "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=""
  done
  run 0 status
  run 0 check --no-references
  run 0 verify
  [ -n "$(find "$lab/data" -name '*before-schema-*' ! -name '.*')" ] || fail "the database was not kept as it was"
  sql "UPDATE alembic_version SET version_num = '9999'"
  run 2 files
  printed "newer than this program"
  lab=$kept_lab url=$kept_url
  say "7 upgrade: killed in the middle it is begun again, with a copy of before; a newer schema is refused"
}

drill_10_copies() {
  [ "$kind" = sqlite ] || return 0
  local own=$lab twin=$work/$kind/twin
  cp -r "$lab" "$twin"
  sed -i "s|^outbox = .*|outbox = \"$own/outbox\"|" "$twin/agent.toml"
  "$agent" --config "$own/agent.toml" run >"$work/first" 2>&1 </dev/null &
  server=$!
  local ends=$((SECONDS + 400))
  until grep -ls '"is_stopped": false' "$own"/outbox/.martensight/*.presence >/dev/null 2>&1; do
    [ $SECONDS -lt $ends ] || fail "the running agent wrote no presence"
    sleep 0.3
  done
  lab=$twin
  run 2 run
  printed "Another copy of this lab's data runs on"
  lab=$own
  kill -TERM "$server" && wait "$server" || fail "agent run did not stop well"
  server=""
  say "10 copies: a second copy of the data is refused while the first one runs"
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
  drill_3_revisions
  drill_1_sites
  drill_4_back_ups
  drill_2_move
  drill_6_prune
  drill_5_first_night
  drill_7_upgrade
  drill_10_copies
done
kind=drill
say "all was as it has to be, in $SECONDS s"
