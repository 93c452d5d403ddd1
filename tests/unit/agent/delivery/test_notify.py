"""A notice reaches its address when one is set, and a bad address is said at the start."""

import pytest

from agent.delivery import mail
from agent.errors import BadSettingsError

pytest.importorskip("apprise", reason="the notify extra is not installed")


def test_a_notice_arrives_with_its_title_and_text(listener) -> None:
    port, heard = listener

    took = mail.send_notice([f"json://127.0.0.1:{port}/x"], title="Night", text="3 need a person")

    assert took
    assert (heard[0]["title"], heard[0]["message"]) == ("Night", "3 need a person")


def test_a_notice_nobody_takes_is_said_and_nothing_is_raised() -> None:
    assert not mail.send_notice(["json://127.0.0.1:9/x"], title="Night", text="…")


def test_without_addresses_nobody_is_told_and_nothing_is_needed() -> None:
    mail.check([])

    assert mail.send_notice([], title="Night", text="…")


def test_an_address_of_no_known_kind_is_refused_by_its_number() -> None:
    with pytest.raises(BadSettingsError, match="address 2 is of no kind"):
        mail.check(["json://127.0.0.1/x", "nonsense"])
