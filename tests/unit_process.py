"""A worker of units in a process of its own: it says each batch, and waits for a line to go on.

python unit_process.py ADDRESS SITE AGENT LATE_S
"""

import sys

from unit_lab import worker_of

from agent import log
from agent.store import Store


def main(address: str, site: str, agent: str, late_s: str) -> None:
    log.set_up(level="error")
    with Store.open(address, site=site, agent=agent) as store:
        worker = worker_of(store, late_s=float(late_s), has_crop=lambda _sha256, _page: True)
        for end in worker.pull():
            print(end or "batch", flush=True)  # noqa: T201 - the test reads it
            sys.stdin.readline()
    print("over", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
