"""What the tests of the pages share."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.accounts import PASSWORD, Clock
from labs.bundles import two_bundles
from labs.lab import HOME, web_of
from servers.pages import PROMISED

from agent.web import create_app


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def browser_of(lab, clock):
    """Open a browser of its own, logged in where a name is given."""
    web = replace(web_of(lab), now=clock)
    application = create_app(web, idle=timedelta(minutes=30))

    def opened(name=None, password=PASSWORD):
        browser = TestClient(application, base_url=HOME, follow_redirects=False, headers=PROMISED)
        if name:
            browser.post("/login", data={"name": name, "password": password})
        return browser

    return opened


@pytest.fixture
def bundles(lab):
    """Two bundles in the lab's folder, the first one at work."""
    return two_bundles(lab)
