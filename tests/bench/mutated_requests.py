"""Send mutated requests to a real server; none may be answered by a server error.

Run: `python tests/bench/mutated_requests.py [N] [SEED] [DATABASE ADDRESS]`. Without an address the
database is SQLite. One line of JSON; exit code 3 where an answer was a server error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from labs.lab import NEXT_DAY, Lab, desk_of  # noqa: E402 - found by the line above
from mutated import answer_to, mutated, routes_of  # noqa: E402

from agent.service import Pages  # noqa: E402
from agent.settings import WebSection  # noqa: E402
from agent.store import Store  # noqa: E402
from agent.web import Inbox, create_app  # noqa: E402
from agent.web.connection import ConnectionLimits  # noqa: E402


def main(n: int = 2000, seed: int = 1, address: str = "") -> int:
    """Send them; the exit code comes back."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "data")
        if address:
            lab.store.close()
            lab.store = Store.open(address, site="Plant 1", agent="test")
        taken = lab.take("G8", reasons=("strange",), order="4711", specimen="1")
        inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: NEXT_DAY)
        application = create_app(dataclasses.replace(desk_of(lab), inbox=inbox))
        pages = Pages(application, WebSection(port=0), limits=ConnectionLimits(512, 5, 5))
        pages.start()
        where, began_s = urlsplit(pages.url), time.monotonic()
        at = (where.hostname or "", where.port or 0)
        requests = mutated(routes_of(application), [taken, "4711", "G8"], seed=seed, n=n)
        answers = [(request, answer_to(at, request)) for request in requests]
        pages.stop()
        pages.join(10)
        faults = [request[:300] for request, code in answers if code >= 500]
        counts = Counter(code for _, code in answers)
        found = {
            "requests": n,
            "seed": seed,
            "database": address.partition(":")[0] or "sqlite",
            "answers": {str(code): counts[code] for code in sorted(counts)},
            "server_errors": len(faults),
            "seconds": round(time.monotonic() - began_s),
        }
        print(json.dumps(found))
        for fault in faults[:10]:
            print(fault, file=sys.stderr)
        lab.store.close()
        return 3 if faults else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(*(int(word) for word in words[:2]), *words[2:]))
