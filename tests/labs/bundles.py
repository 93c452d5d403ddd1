"""Two bundles in a lab, and what the gate found of the second one."""

from __future__ import annotations

import json

from labs.accounts import AT
from model import default_taxonomy

FIRST, SECOND = "20261101-0badcafe", "20261125-beefbeef"

ACCURACY = {"value": 0.913, "low": 0.868, "high": 0.944}


def two_bundles(lab):
    """Write two bundles into a lab's folder and promote the first one."""
    for name in (FIRST, SECOND):
        record = lab.folder / "bundles" / name / "record"
        record.mkdir(parents=True)
        manifest = {
            "name": name,
            "format": 1,
            "created_at": "2026-11-01T02:00:00+00:00",
            "recipe": 3,
            "taxonomy": default_taxonomy().as_json(),
            "scheme": "two-stage",
            "framing": {"kind": "mirror"},
            "set_levels": {"subtype": 0.1, "size": 0.9, "subtypes": {}, "sizes": {}},
            "validated": {},
            "metrics": {"n": 160, "accuracy": ACCURACY, "per_code": PER_CODE},
            "facts": {},
            "files": {},
        }
        (record.parent / "bundle.json").write_text(json.dumps(manifest), "utf-8")
        (record.parent / "split.json").write_text("{}", "utf-8")
        (record / "card.html").write_text(f"<p>card of {name}</p>", "utf-8")
    lab.store.promotions.promote(FIRST, by="Ada", reason="first bundle", at=AT, metrics={})
    return lab


PER_CODE = {"G8": {"n": 160, "right": 146, "covered": 150, "members": 170}, "M7": {"n": 0}}

CHECKS = [
    {
        "name": "evidence",
        "passed": True,
        "sentence": "enough",
        "numbers": {"new_specimens": 25, "won_specimens": 4, "lost_specimens": 1},
    },
    {
        "name": "corrected",
        "passed": False,
        "sentence": "of 9 once corrected micrographs that are right now 3 would be wrong again",
        "numbers": {"n": 9, "back": 3, "allowed": 1, "flips": []},
    },
    {"name": "of_tomorrow", "passed": True, "sentence": "a new check", "numbers": {}},
    {"name": "overall", "passed": True, "sentence": "of an older version", "numbers": {}},
]


def judged(lab, *, gate="not_recommended", flips=()):
    """Write a verdict of the gate into the second bundle's record."""
    document = {
        "gate": gate,
        "finding": "worse",
        "sentence": "It is worse.",
        "candidate": SECOND,
        "current": FIRST,
        "numbers": {"n": 60, "checks": CHECKS, "flips": list(flips)},
    }
    record = lab.folder / "bundles" / SECOND / "record"
    (record / "gate.json").write_text(json.dumps(document), "utf-8")
