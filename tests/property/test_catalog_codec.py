"""Catalogues survive the wire, the journal and the file: what is written is read as what it was."""

import operator
from datetime import date

from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Contract,
    Credit,
    Customer,
    Discount,
    DiscountMode,
    FeeTiming,
    FixedFee,
    Frequency,
    Matrix,
    MatrixRule,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    RevenueShare,
    Tax,
    TaxMode,
)
from tallybook_engine.determinants.configuration import (
    UNCOVERED,
    Channel,
    ChannelClassifier,
    ChannelKind,
    Datasource,
    Days,
    HolidayCalendar,
    Label,
    ReadingType,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.pricing.model import (
    Graduated,
    IncludedMode,
    IncludedQuantity,
    NoPrice,
    Package,
    PerUnit,
    Price,
    Rounding,
    Stairstep,
    Tier,
    UnitConversion,
    Volume,
)
from tallybook_server.catalog_file import read_message_file
from tallybook_server.codec.catalog import read_difference, read_objects, write_difference, write_objects

LIMIT = 10**27
NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8)
NUMBERS = st.integers(-LIMIT + 1, LIMIT - 1)
SIZES = st.integers(1, LIMIT - 1)
DATES = st.dates(date(1900, 1, 1), date(2999, 12, 30))
PAIRS = st.dictionaries(NAMES, NAMES, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))


def maybe(strategy):
    return st.none() | strategy


FREQUENCIES = st.builds(Frequency, st.sampled_from(Basis), st.integers(1, 1_000), st.sampled_from(PeriodUnit))
TIERS = st.lists(st.builds(Tier, maybe(SIZES), NUMBERS, NUMBERS), min_size=1, max_size=4).map(tuple)
BANDS = st.lists(st.builds(Tier, maybe(SIZES), st.just(0), NUMBERS), min_size=1, max_size=4).map(tuple)
MODELS = st.one_of(
    st.builds(NoPrice),
    st.builds(PerUnit, NUMBERS),
    st.builds(Graduated, TIERS),
    st.builds(Volume, TIERS),
    st.builds(Stairstep, BANDS),
    st.builds(Package, SIZES, NUMBERS, st.sampled_from([Rounding.UP, Rounding.DOWN])),
)
CONVERSIONS = st.builds(
    lambda divides, number, places, rounding: UnitConversion(
        number if divides else None, None if divides else number, places, rounding
    ),
    st.booleans(),
    SIZES,
    st.integers(-14, 12),
    st.sampled_from(Rounding),
)
PRICES = st.builds(
    Price,
    MODELS,
    maybe(st.builds(IncludedQuantity, SIZES, st.sampled_from(IncludedMode))),
    maybe(SIZES),
    maybe(SIZES),
    st.booleans(),
    maybe(CONVERSIONS),
)
MATRICES = st.builds(Matrix, st.lists(st.builds(MatrixRule, NAMES, PAIRS, PRICES), min_size=1, max_size=3).map(tuple))
PLANS = st.builds(
    Plan,
    NAMES,
    NAMES,
    st.sampled_from(["EUR", "JPY"]),
    PRICES | MATRICES,
    st.sampled_from([Rounding.HALF_AWAY_FROM_ZERO, Rounding.HALF_EVEN]),
)
PRODUCT_CONTRACTS = st.builds(
    ProductContract, NAMES, NAMES, maybe(FREQUENCIES), maybe(DATES), maybe(DATES), st.booleans()
)
FEES = st.builds(
    FixedFee,
    NAMES,
    NUMBERS,
    st.sampled_from(FeeTiming),
    st.booleans(),
    maybe(FREQUENCIES),
    maybe(DATES),
    maybe(DATES),
    st.booleans(),
    st.booleans(),
)
SHARES = st.builds(RevenueShare, NAMES, NUMBERS, st.lists(NAMES, max_size=3).map(tuple))
DISCOUNTS = st.builds(Discount, NUMBERS, NUMBERS, st.sampled_from(DiscountMode))
CREDITS = st.builds(Credit, NAMES, NUMBERS, maybe(DATES), maybe(DATES))


@st.composite
def contracts(draw, ends=None, depth=2, root=True):
    """Trees in which every level has an end, or none has: an end that is left out is the parent's."""
    ends = draw(st.booleans()) if ends is None else ends
    return Contract(
        id=draw(NAMES),
        customer=draw(NAMES),
        time_zone=draw(NAMES),
        start_date=draw(DATES),
        end_date=draw(DATES) if ends else None,
        billing_frequency=draw(FREQUENCIES),
        product_contracts=tuple(draw(st.lists(PRODUCT_CONTRACTS, max_size=2))),
        sub_contracts=tuple(draw(st.lists(contracts(ends, depth - 1, False), max_size=2))) if depth else (),
        currency=draw(maybe(NAMES)) if root else None,
        payment_term_days=draw(st.integers(0, 1_000)) if root else 0,
        fixed_fees=tuple(draw(st.lists(FEES, max_size=2))),
        revenue_shares=tuple(draw(st.lists(SHARES, max_size=2))),
        discount=draw(maybe(DISCOUNTS)),
        cap=draw(maybe(NUMBERS)),
        minimum=draw(maybe(NUMBERS)),
        credits=tuple(draw(st.lists(CREDITS, max_size=2))),
        prorate=draw(st.booleans()),
        auto_renewal=ends and draw(st.booleans()),
        override_underlying=draw(st.booleans()),
    )


def some(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


NAME_OF = operator.attrgetter("name")
STATUSES = st.builds(QualityStatus, NAMES, st.booleans(), st.booleans())
BEFORE = maybe(st.dates())
WINDOWS = st.builds(
    lambda name, days, minutes, *rest: TimesliceInterval(name, days, *minutes, *rest),
    NAMES.filter(lambda name: name != UNCOVERED),
    st.sampled_from(Days),
    st.tuples(st.integers(0, 1_439), st.integers(1, 1_440)).filter(lambda pair: pair[0] != pair[1]),
    maybe(st.booleans()),
    st.lists(st.integers(1, 12), max_size=3, unique=True).map(tuple),
)
READING_TYPES = st.builds(
    lambda numbers, kind, group, as_power: ReadingType(
        ".".join(map(str, numbers)),
        kind,
        group if kind is Kind.TIMESLICE else None,
        as_power and kind is Kind.PMAX,
    ),
    st.lists(st.integers(0, 999), min_size=18, max_size=18),
    st.sampled_from([Kind.INTERVAL, Kind.TIMESLICE, Kind.PMAX]),
    NAMES,
    st.booleans(),
)
OBJECTS = st.builds(
    CatalogObjects,
    some(st.builds(Tax, NAMES, NAMES, NUMBERS, st.sampled_from(TaxMode))),
    some(st.builds(Meter, NAMES, NAMES, some(NAMES), some(NAMES), st.booleans())),
    some(st.builds(Product, NAMES, NAMES, NAMES, st.sampled_from(Aggregation), maybe(NAMES), PAIRS)),
    some(PLANS),
    some(st.builds(Customer, NAMES, NAMES, NAMES, NAMES)),
    some(contracts()),
    some(st.builds(QualityTable, st.lists(STATUSES, min_size=1, max_size=3, unique_by=NAME_OF).map(tuple), NAMES)),
    some(st.builds(HolidayCalendar, NAMES, st.integers(0, 2**63 - 1), st.frozensets(st.dates(), max_size=3), BEFORE)),
    some(st.builds(TimesliceGroup, NAMES, st.lists(WINDOWS, min_size=1, max_size=3).map(tuple))),
    some(
        st.builds(
            ChannelClassifier,
            NAMES,
            NAMES,
            st.integers(0, 12),
            st.sampled_from(Label),
            st.just(ChannelKind.INTERVAL),
            maybe(st.integers(1, 366 * 86_400_000_000)),
            maybe(st.integers(1, 15)),
            some(READING_TYPES),
        )
    ),
    some(
        st.builds(
            Datasource,
            NAMES,
            st.lists(st.builds(Channel, NAMES, NAMES), max_size=3, unique_by=NAME_OF).map(tuple),
            maybe(NAMES),
            maybe(NAMES),
            st.integers(0, 31 * 86_400_000_000),
            NAMES,
            maybe(NAMES),
            maybe(NAMES),
        )
    ),
)
IDS = st.builds(CatalogIds, *[some(NAMES)] * len(KINDS))


CHANGES = st.builds(CatalogChange, OBJECTS, IDS)


@given(OBJECTS)
def test_what_is_written_is_read_as_what_it_was(objects):
    faults = Faults()
    assert read_objects(write_objects(objects), faults) == objects
    assert not faults.ordered()


@given(CHANGES)
def test_a_stored_difference_is_read_as_what_it_was(difference):
    stored = write_difference(difference)
    assert read_difference(stored) == difference
    # Maps have no order on the wire, so bytes are equal only where they are sorted.
    assert write_difference(read_difference(stored)) == stored


@given(OBJECTS, st.sampled_from(["catalog.json", "catalog.yaml"]))
def test_a_catalogue_file_is_read_as_the_message_it_was_made_of(objects, name):
    # Given a catalogue as JSON, which is YAML too where it escapes no letter as surrogates
    message = write_objects(objects)
    ascii_only = name.endswith(".json")
    text = json_format.MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=ascii_only)
    # Then it reads as the same message, whatever its names hold
    file = read_message_file(name, text.encode(), catalog_pb2.Catalog)
    assert [file.located(fault) for fault in file.faults] == []
    assert file.message == message


@given(st.binary(max_size=200), st.sampled_from(["catalog.json", "catalog.yaml"]))
def test_no_bytes_break_the_reader(content, name):
    read_message_file(name, content, catalog_pb2.Catalog)


@given(st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@` \n\tab<=?.~\\u0"), max_size=60))
def test_no_text_breaks_the_reader(text):
    read_message_file("catalog.yaml", text.encode(), catalog_pb2.Catalog)
    read_message_file("catalog.json", text.encode(), catalog_pb2.Catalog)
