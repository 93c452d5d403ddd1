"""A limit splits the sizes of a subtype in two, by the order in which they are listed."""

from hypothesis import given
from hypothesis import strategies as st
from labs.judged_orders import steels

from agent.orders.judge.limit import (
    Direction,
    Limit,
    find_bound,
    find_limit_fault,
    find_mean_fault,
    limit_at,
    read_limit,
)
from model import TaxonomyError, default_taxonomy, taxonomy_from

STANDARD = default_taxonomy()


def sides(text, taxonomy):
    """Return which sizes of G keep a limit, and which break it."""
    subtype = taxonomy.subtype("G")
    bound = find_bound(read_limit(text), subtype)
    keep = [size.name for size in subtype.sizes if bound.keeps(size)]
    return keep, [size.name for size in subtype.sizes if bound.breaks(size)]


STANDARD_LIMITS = [
    ("7 or finer", ["7", "8", "9-10"], ["5", "6"]),
    ("9 or finer", ["9-10"], ["5", "6", "7", "8"]),
    ("9-10 or finer", ["9-10"], ["5", "6", "7", "8"]),
    ("9 – 10 or finer", ["9-10"], ["5", "6", "7", "8"]),
    ("10 or finer", [], ["5", "6", "7", "8"]),  # half of 9-10 conforms to nothing
    ("8 OR Coarser", ["5", "6", "7", "8"], ["9-10"]),
    ("9 or coarser", ["5", "6", "7", "8"], []),
    ("10 or coarser", ["5", "6", "7", "8", "9-10"], []),
    ("7-8 or finer", ["7", "8", "9-10"], ["5", "6"]),
    ("7-8 or coarser", ["5", "6", "7", "8"], ["9-10"]),
]


def test_limits_of_the_default_taxonomy_mean_what_they_always_meant():
    for text, keep, broken in STANDARD_LIMITS:
        assert sides(text, STANDARD) == (keep, broken), text


OTHER_SIZES = [
    (("20-40", "10-20", "5-10"), "10-20 or finer", ["10-20", "5-10"], ["20-40"]),
    (("40-50", "20-30", "5-10"), "30 or finer", ["20-30", "5-10"], ["40-50"]),
    (("40-50", "20-30", "5-10"), "20 or finer", ["5-10"], ["40-50"]),  # cuts 20-30
    (("40-50", "20-30", "5-10"), "20 or coarser", ["40-50", "20-30"], ["5-10"]),
    (("40", "30", "20"), "30-20 or finer", ["30", "20"], ["40"]),
    (("2", "1,5", "0.5"), "1.5 or coarser", ["2", "1,5"], ["0.5"]),
    (("00", "0", "1"), "0 or finer", ["0", "1"], ["00"]),
    (("00", "0", "1"), "00 or finer", ["00", "0", "1"], []),
    (("07", "08"), "8 or finer", ["08"], ["07"]),
    (
        ({"name": "coarse", "min": 1, "max": 3}, {"name": "fine", "min": 4, "max": 6}),
        "4 or finer",
        ["fine"],
        ["coarse"],
    ),
]


def test_sizes_in_micrometres_decimals_and_classes_go_by_their_list():
    for sizes, text, keep, broken in OTHER_SIZES:
        assert sides(text, steels(*sizes)) == (keep, broken), sizes


PLACES_NOTHING = [
    (("coarse", "fine"), "0 or finer", "has no size 0; known are coarse, fine"),
    (("coarse", "fine"), "medium or finer", "has no size medium; known are coarse, fine"),
    (("stage 1", "stage 2"), "2 or finer", "has no size 2; known are stage 1, stage 2"),
    (("0.5", "5"), "0 or finer", "has no size 0; known are 0.5, 5"),
    (("20-40", "10-20"), "20 or finer", "20 belongs to the sizes 20-40 and 10-20"),
    (("40-50", "20-30"), "25 or finer", "cuts the size 20-30 of subtype G in two"),
    ((), "7 or finer", "subtype G has no sizes"),
]


def test_a_limit_that_places_nothing_is_a_fault_that_says_what_is_known():
    for sizes, text, fault in PLACES_NOTHING:
        assert fault in find_limit_fault(read_limit(text), ["G"], steels(*sizes)), sizes


def test_a_limit_has_to_name_a_size_of_each_allowed_subtype():
    two = taxonomy_from(
        {
            "size": [{"name": "coarse"}, {"name": "medium"}, {"name": "fine"}],
            "subtype": [
                {"name": "G", "sizes": ["coarse", "medium", "fine"]},
                {"name": "P", "sizes": ["coarse", "fine"]},
            ],
        }
    )

    assert find_limit_fault(read_limit("fine or finer"), ["G", "P"], two) == ""
    assert "subtype P has no size medium" in find_limit_fault(
        read_limit("medium or finer"), ["G", "P"], two
    )


def test_a_mean_needs_numbers_on_one_scale():
    named = steels("coarse", "fine")
    mixed = taxonomy_from(
        {
            "size": [{"name": one} for one in ("5", "6", "20", "10")],
            "subtype": [
                {"name": "G", "sizes": ["5", "6"]},
                {"name": "P", "sizes": ["20", "10"]},
            ],
        }
    )

    assert find_mean_fault(["B", "G"], STANDARD) == ""
    assert find_mean_fault(["G"], steels("2", "1,5", "0.5")) == ""
    assert "these have none: coarse, fine" in find_mean_fault(["G"], named)
    assert "do not rise or fall alike" in find_mean_fault(["G", "P"], mixed)


def test_a_subtype_of_one_size_rises_or_falls_as_those_that_share_it():
    document = {
        "size": [{"name": "20"}, {"name": "10-15"}],
        "subtype": [{"name": "G", "sizes": ["10-15"]}, {"name": "B", "sizes": ["20", "10-15"]}],
    }

    assert sides("15 or finer", taxonomy_from(document)) == (["10-15"], [])
    assert sides("10 or finer", taxonomy_from(document)) == ([], [])  # cuts 10-15


# --- laws ---------------------------------------------------------------------------------------

WORDS = st.text("abcäöüß 019.,-µ", min_size=1, max_size=8).map(str.strip).filter(bool)
DIRECTIONS = st.sampled_from(Direction)


def listed(names):
    """Make a taxonomy, or None where the names happen to be numbers that contradict the list."""
    try:
        return steels(*names)
    except TaxonomyError:
        return None


LISTS = st.lists(WORDS, min_size=1, max_size=6, unique=True).map(listed).filter(bool)


@given(LISTS, DIRECTIONS, st.data())
def test_a_named_size_splits_the_list_in_two(taxonomy, direction, data):
    subtype = taxonomy.subtype("G")
    size = data.draw(st.sampled_from(subtype.sizes))

    bound = find_bound(read_limit(f"{size.name} or {direction}"), subtype)

    keeps = [bound.keeps(one) for one in subtype.sizes]
    assert keeps == sorted(keeps, reverse=direction is Direction.COARSER)
    assert all(bound.keeps(one) != bound.breaks(one) for one in subtype.sizes)
    assert bound.keeps(size)
    assert bound.keeps(subtype.sizes[-1 if direction is Direction.FINER else 0])


@given(LISTS, DIRECTIONS, st.data())
def test_the_limit_at_a_size_keeps_it_and_all_beyond(taxonomy, direction, data):
    subtype = taxonomy.subtype("G")
    rank = data.draw(st.integers(0, len(subtype.sizes) - 1))

    limit = limit_at(subtype, subtype.sizes[rank], direction)

    bound = find_bound(read_limit(str(limit)), subtype)
    inside = slice(rank, None) if direction is Direction.FINER else slice(rank + 1)
    assert [size for size in subtype.sizes if bound.keeps(size)] == list(subtype.sizes[inside])


@given(st.lists(st.integers(0, 99), min_size=2, max_size=8, unique=True), st.booleans(), st.data())
def test_numbers_go_by_the_list_and_never_by_their_value(numbers, falls, data):
    names = [str(number) for number in sorted(numbers, reverse=falls)]
    subtype = steels(*names).subtype("G")
    at = data.draw(st.integers(0, len(names) - 1))

    bound = find_bound(Limit(names[at], Direction.FINER), subtype)

    assert [size.name for size in subtype.sizes if bound.keeps(size)] == names[at:]
    assert [bound.admits(float(name)) for name in names] == [
        rank >= at for rank in range(len(names))
    ]
