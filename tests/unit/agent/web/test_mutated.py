"""Whatever bytes come, no answer is a server error; `bench/mutated_requests.py` sends more."""

from __future__ import annotations

import dataclasses
from collections import Counter
from urllib.parse import urlsplit

from labs.lab import NEXT_DAY, desk_of
from mutated import answer_to, mutated, routes_of

from agent.service import Pages
from agent.settings import WebSection
from agent.web import Inbox, create_app
from agent.web.connection import ConnectionLimits


def test_no_mutated_request_is_answered_by_a_server_error(lab):
    known = [lab.take("G8", reasons=("strange",), order="4711", specimen="1"), "4711", "G8", "Ann"]
    inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: NEXT_DAY)
    application = create_app(dataclasses.replace(desk_of(lab), inbox=inbox))
    pages = Pages(application, WebSection(port=0), limits=ConnectionLimits(512, 5, 5))
    pages.start()
    where = urlsplit(pages.url)
    try:
        answers = {
            request: answer_to((where.hostname, where.port), request)
            for request in mutated(routes_of(application), known, seed=7, n=150)
        }
    finally:
        pages.stop()
        pages.join(10)

    assert {one[:300]: code for one, code in answers.items() if code >= 500} == {}
    assert len(Counter(answers.values())) > 4
