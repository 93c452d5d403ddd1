"""Stored messages: id and parameters are kept, words are made when shown."""

import json

import pytest

import reports
from reports import Message, compose_ood_message, join_messages, read_message, shorten_ood_message


def test_a_message_is_stored_and_read_back_in_another_language():
    message = Message(
        "bundle {name} cannot be loaded; {earlier} serves instead: {why}",
        {"name": "b", "earlier": "a", "why": "file {gone} is missing"},
    )

    read = Message.from_json(json.loads(json.dumps(message.to_json())))

    assert read == message
    assert str(read) == "bundle b cannot be loaded; a serves instead: file {gone} is missing"
    with reports.speaking("de"):
        assert str(read) != read.in_english()
        assert read.in_english() == message.in_english()


@pytest.mark.parametrize("text", ["", "{0} {x} 100 %", "}{"])
def test_text_of_a_row_without_a_message_is_shown_as_it_is(text):
    message = read_message(None, text)

    assert str(message) == text
    assert bool(message) == bool(text)


def test_a_parameter_is_shown_as_it_is():
    for language in ("en", "de"):
        for value in (
            "{x}",
            "{0.__class__}",
            "%s %(a)d",
            "<b>",
            "\u200b\u202e",
            "{",
            "}",
            None,
            ["a"],
        ):
            message = Message(
                "bundle {name} cannot be loaded; {earlier} serves instead: {why}",
                dict.fromkeys(("name", "earlier", "why"), value),
            )

            with reports.speaking(language):
                assert str(read_message(message.to_json(), "x")).count(str(value)) == 3, (
                    language,
                    value,
                )


DAMAGED = [
    *[(document, "kept {x}") for document in ("x", 3, [{}], {"id": 3}, {"parameters": {}})],
    ({"id": "a {b}", "parameters": None}, "kept {x}"),
    ({"id": "a {b}", "parameters": {"b": {}}}, "kept {x}"),
    ({"id": "a {b}", "parameters": {"b": {"id": 3}}}, "kept {x}"),
    *[({"id": text}, text) for text in ("a {b}", "{", "{}", "{a[0]}", "{a!x}")],
]


def test_a_damaged_message_costs_no_page():
    for document, shown in DAMAGED:
        message = read_message(document, "kept {x}")

        assert str(message) == message.in_english() == shown, document
        with reports.speaking("de"):
            assert str(message) == shown, document


def test_messages_are_joined_in_order_and_translated_each():
    both = join_messages([Message("the whole field"), Message("etch longer"), Message("x")])

    assert str(both) == "the whole field etch longer x"
    assert not join_messages([])
    with reports.speaking("de"):
        assert str(both) == " ".join(map(reports.gettext, ("the whole field", "etch longer", "x")))


WORDED = [
    ({"p_value": 1 / 161}, "Unlike all 160 reference images."),
    ({"p_value": 5 / 161}, "1 in 40 reference images scores as high."),
    ({"p_value": 0.9}, "Like the reference images."),
    (
        {"p_value": 1 / 161, "look": "patch", "area_um2": 13_021.0},
        ("Unusual: unlike all 160 reference images; unusual texture, 13\u00a0000 µm² marked."),
    ),
    (
        {"p_value": 1 / 161, "look": "whole", "area_um2": 13_021.0},
        ("Unusual: unlike all 160 reference images; the whole field."),
    ),
    (
        {"p_value": 0.9, "size_ratio": 0.0651},
        (
            "Like the reference images. Smaller than any reference field (0.065 times the "
            "usual area)."
        ),
    ),
    (
        {"p_value": 0.9, "size_ratio": 15.9},
        "Like the reference images. Larger than any reference field (16 times the usual area).",
    ),
    (
        {"p_value": 1 / 161, "is_resolvable": False},
        "Unlike all 160 reference images; too few reference images to raise an alarm.",
    ),
]


def test_strangeness_is_worded_as_a_person_would():
    for given, words in WORDED:
        assert str(compose_ood_message(references=160, **given)) == words, given


def test_under_a_title_the_same_words_are_not_repeated():
    message = compose_ood_message(1 / 161, 160, look="fine", size_ratio=16)

    assert str(shorten_ood_message(message)) == (
        "unlike all 160 reference images; unusual texture. Larger than any reference field "
        "(16 times the usual area)."
    )
