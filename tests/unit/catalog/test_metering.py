"""What a catalogue keeps about meters: faults by path, differences, and what is asked of a datasource."""

import pytest
from tests.support.catalog_files import CARDS, EVERYTHING, METERS, catalog, change, faults

from tallybook_engine.catalog import check, check_metering
from tallybook_engine.catalog.change import METERING_KINDS, CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.compile import Pools, compile_catalog
from tallybook_engine.catalog.diff import catalog_differences
from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.catalog.metering import billing_configuration, determinant_customers
from tallybook_engine.catalog.model import Catalog, DeterminantSource
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.determinants.configuration import (
    Channel,
    ChannelClassifier,
    Datasource,
    Days,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_server.codec.catalog import read_difference, write_difference

BASE = catalog(CARDS)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("kWh", "''", "channel_classifiers[0].unit: is required"),
        ("decimal_places: 3, ", "", "channel_classifiers[0].decimal_places: is required"),
        ("decimal_places: 3", "decimal_places: 13", "channel_classifiers[0].decimal_places: are 0 to 12, not 13"),
        ("900s", "0s", "channel_classifiers[0].interval: a length is above 0 and at most 366 days"),
        ("900s", "0.0000001s", "channel_classifiers[0].interval: is finer than a microsecond"),
        (
            "interval: 900s",
            "reading_types: [{ref: 0.1}]",
            'channel_classifiers[0].reading_types[0].ref: "0.1" is not 18 numbers with dots between',
        ),
        (
            "interval: 900s",
            f"reading_types: [{{ref: {'0.' * 17}0, kind: TIMESLICE, timeslice_group: x}}]",
            'channel_classifiers[0].reading_types[0].timeslice_group: no timeslice group "x"',
        ),
        (
            "interval: 900s",
            f"reading_types: [{{ref: {'0.' * 17}0, kind: REGISTER}}]",
            "channel_classifiers[0].reading_types[0].kind: REGISTER is not asked of INTERVAL channels",
        ),
        ("slice: T1", "slice: UNCOVERED", "timeslice_groups[0].intervals[0].slice: UNCOVERED is what no slice claims,"),
        ("07:00", "7:00", 'timeslice_groups[0].intervals[0].start_time_of_day: "7:00" is no time of day'),
        ("2026-12-26", "2026-02-29", 'holiday_calendars[0].dates[1]: "2026-02-29" is no date'),
        (
            "valid_from_date: 2026-01-01",
            "valid_from_date: 2026-01-01, valid_to_date: 2026-01-01",
            "holiday_calendars[0].valid_to_date: is not after valid_from_date",
        ),
        ("name: none", "name: good", 'quality_tables[0].statuses[1].name: "good" is there twice'),
        ("name: good", "name: ' good'", 'quality_tables[0].statuses[0].name: " good" begins or ends with a space'),
        ("{name: load,", "{name: '',", "datasources[0].channels[0].name: is required"),
        (
            "classifier: active",
            "classifier: x",
            'datasources[0].channels[0].classifier: no channel classifier "x"',
        ),
        (
            "holiday_calendar: nl_days",
            "holiday_calendar: x",
            'datasources[0].holiday_calendar: no holiday calendar "x"',
        ),
        ("quality_table: words", "quality_table: x", 'datasources[0].quality_table: no quality table "x"'),
        ("60s", "-1s", "datasources[0].register_tolerance: is not from 0 to 31 days"),
        ("customer: bank", "customer: x", 'datasources[0].customer: no customer "x"'),
        (
            "bank_2023/cards_2023",
            "x",
            'datasources[0].contract_id: customer "bank" has no product contract "x"',
        ),
        ("customer: bank, ", "", "datasources[0].contract_id: needs a customer, whose contract it is of"),
        ("Europe/Amsterdam", "Mars/Base", "datasources[0].time_zone: the time zone data"),
    ],
)
def test_a_fault_has_its_path(old, new, fault):
    assert old in METERS
    found = faults(METERS.replace(old, new), BASE)
    assert len(found) == 1
    assert fault in found[0]


def test_all_faults_of_all_objects_are_found_at_once():
    text = METERS.replace("900s", "0s, dial_digits: 16").replace("07:00", "7:00").replace("bank,", "x,")
    assert [each.split(": ")[1] for each in faults(text, BASE)] == [
        "timeslice_groups[0].intervals[0].start_time_of_day",
        "channel_classifiers[0].dial_digits",
        "channel_classifiers[0].interval",
        "datasources[0].customer",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "fault"),
    [
        ("quality_tables", "words", 'datasources["m1"].quality_table: no quality table "words"'),
        ("holiday_calendars", "nl_days", 'datasources["m1"].holiday_calendar: no holiday calendar "nl_days"'),
        ("channel_classifiers", "active", 'datasources["m1"].channels[0].classifier: no channel classifier "active"'),
        ("contracts", "bank_2023", 'datasources["m1"].contract_id: customer "bank" has no product contract'),
    ],
)
def test_what_a_datasource_refers_to_stays(kind, name, fault):
    with pytest.raises(CatalogInvalidError) as refused:
        apply_change(catalog(EVERYTHING), CatalogChange(remove=CatalogIds(**{kind: (name,)})))
    assert [str(each).startswith(fault) for each in refused.value.faults] == [True]


def test_a_group_that_a_reading_type_names_stays():
    named = f"reading_types: [{{ref: {'0.' * 17}0, kind: TIMESLICE, timeslice_group: tariff}}]"
    with pytest.raises(CatalogInvalidError, match=r'"active"\]\.reading_types\[0\]\.timeslice_group: no timeslice'):
        apply_change(catalog(EVERYTHING.replace("interval: 900s", named)), change("", timeslice_groups=("tariff",)))
    assert not apply_change(catalog(EVERYTHING), change("", timeslice_groups=("tariff",))).timeslice_groups


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ("name: good, is_billable: true", "name: good", [("statuses[0].is_billable", "true", "")]),
        ("version: 3", "version: 4", [("version", "3", "4")]),
        (
            "2026-12-26",
            "2026-12-31",
            [('dates["2026-12-31"]', "", "2026-12-31"), ('dates["2026-12-26"]', "2026-12-26", "")],
        ),
        (
            "days: WEEKDAYS",
            "is_dst: true",
            [("intervals[0].days", "WEEKDAYS", "DAILY"), ("intervals[0].is_dst", "", "true")],
        ),
        ("07:00", "06:30", [("intervals[0].start_time_of_day", "07:00", "06:30")]),
        ("900s", "0.5s", [("interval", "900s", "0.5s")]),
        ("interval: 900s", "label: BEGIN, interval: 900s", [("label", "END", "BEGIN")]),
        (
            "name: load",
            "name: other",
            [('channels["other"].classifier', "", "active"), ('channels["load"].classifier', "active", "")],
        ),
        (", contract_id: bank_2023/cards_2023", "", [("contract_id", "bank_2023/cards_2023", "")]),
    ],
)
def test_a_difference_is_told_by_field(old, new, fields):
    base = catalog(EVERYTHING)
    (found,) = catalog_differences(base, catalog(EVERYTHING.replace(old, new), base))
    assert sorted((each.path, each.before, each.after) for each in found.fields) == sorted(fields)


def test_a_version_is_stored_and_read_as_it_was():
    whole = change(EVERYTHING)
    assert read_difference(write_difference(whole)) == whole
    every_sort = TimesliceGroup(
        "all",
        tuple(
            TimesliceInterval(f"{days.value} {is_dst}", days, 0, 1_440, is_dst, (1, 12))
            for days in Days
            for is_dst in (None, False, True)
        ),
    )
    group = CatalogChange(CatalogObjects(timeslice_groups=(every_sort,)))
    assert read_difference(write_difference(group)) == group


class TestBillingConfiguration:
    def test_has_what_the_datasource_refers_to(self):
        kept = catalog(EVERYTHING)
        found = billing_configuration(kept, "m1")
        assert found.classifiers == {"load": kept.channel_classifiers["active"]}
        assert found.holiday_calendar == kept.holiday_calendars["nl_days"]
        assert found.quality == kept.quality_tables["words"]
        assert found.timeslice_groups is kept.timeslice_groups
        assert (found.register_tolerance_us, found.catalog_version) == (60_000_000, 1)

    def test_of_a_datasource_that_refers_to_nothing(self):
        found = billing_configuration(catalog("datasources: [{id: m}]"), "m")
        assert (found.classifiers, found.holiday_calendar, found.quality) == ({}, None, DEFAULT_QUALITY)
        with pytest.raises(KeyError):
            billing_configuration(catalog("datasources: [{id: m}]"), "n")


def test_a_change_looks_at_what_it_touches(monkeypatch):
    # Given a catalogue of 100,000 datasources
    count = 100_000
    classifier = ChannelClassifier("active", "kWh", 3)
    sources = tuple(Datasource(f"m{index}", (Channel("load", "active"),)) for index in range(count))
    put = CatalogObjects(channel_classifiers=(classifier,), datasources=sources)
    seen: list[int] = []
    checked = check_metering.check_datasources

    def counted(catalog, places, found):
        seen.append(len(places))
        checked(catalog, places, found)

    monkeypatch.setattr(check, "check_datasources", counted)
    base = apply_change(Catalog(), CatalogChange(put))
    # When one is put, and a classifier changes
    one = apply_change(base, CatalogChange(CatalogObjects(datasources=(Datasource("m7"),))))
    apply_change(one, CatalogChange(CatalogObjects(channel_classifiers=(ChannelClassifier("active", "kWh", 4),))))
    # Then no other one is looked at, and kinds that do not change are shared
    assert seen == [count, 1, 0]
    assert len(one.datasources) == count
    assert one.channel_classifiers is base.channel_classifiers
    assert set(METERING_KINDS) <= set(vars(one))


DETERMINANTS = """
products:
  - {id: energy, aggregation: SUM, determinant: {classifier: active, kind: INTERVAL}}
  - {id: day, aggregation: MAX, filter: {datasource: m1},
     determinant: {classifier: active, kind: TIMESLICE, timeslice_group: tariff, slice: T1}}
  - {id: demand, aggregation: MAX, determinant: {classifier: active, kind: DEMAND, demand: d, slice: T1}}
"""


class TestDeterminantProducts:
    BASE = catalog(EVERYTHING)

    def test_has_a_meter_that_no_catalogue_keeps(self):
        kept = catalog(DETERMINANTS, self.BASE)
        assert kept.products["day"].meter == "BILLING_active_TIMESLICE_tariff_T1"
        assert kept.products["demand"].meter == "BILLING_active_DEMAND_d_T1"
        assert set(kept.meters) == {"card_issuing"}
        compiled = compile_catalog(kept, Pools(), ())
        assert compiled.determinants["BILLING_active_INTERVAL"] == DeterminantSource("active", Kind.INTERVAL)
        meter = compiled.meter("BILLING_active_INTERVAL", is_id=False)
        assert meter is not None
        assert (meter.values, meter.properties, meter.allow_negative) == (("value",), ("datasource",), True)

    def test_is_stored_and_told_as_it_was_put(self):
        whole = change(DETERMINANTS)
        assert read_difference(write_difference(whole)) == whole
        kept = catalog(DETERMINANTS, self.BASE)
        other = catalog(DETERMINANTS.replace("tariff, slice: T1", "tariff, slice: UNCOVERED"), kept)
        (found,) = catalog_differences(kept, other)
        told = [(each.path, each.before, each.after) for each in found.fields]
        assert told == [("determinant.slice", "T1", "UNCOVERED")]
        powers = "products: [{id: p, aggregation: MAX, determinant: {classifier: active, kind: PMAX, as_power: true}}]"
        assert read_difference(write_difference(change(powers))) == change(powers)
        assert catalog(powers, self.BASE).products["p"].meter == "BILLING_active_PMAX_POWER"

    def test_a_group_keeps_the_slices_that_products_are_made_of(self):
        kept = catalog(DETERMINANTS, self.BASE)
        gone = EVERYTHING[EVERYTHING.index("timeslice_groups:") :].splitlines()[:2]
        with pytest.raises(CatalogInvalidError, match='timeslice group "tariff" has no slice "T1"'):
            catalog("\n".join(gone).replace("T1", "T2"), kept)

    @pytest.mark.parametrize(
        ("source", "fault"),
        [
            ("{classifier: x, kind: PMAX}", 'determinant.classifier: no channel classifier "x"'),
            ("{kind: PMAX}", "determinant.classifier: is required"),
            ("{classifier: active}", "determinant.kind: is required: one of INTERVAL,"),
            ("{classifier: active, kind: REGISTER}", "determinant.kind: REGISTER is not answered for INTERVAL"),
            (
                "{classifier: active, kind: TIMESLICE, timeslice_group: tariff}",
                "determinant.slice: is required for TIMESLICE",
            ),
            (
                "{classifier: active, kind: TIMESLICE, slice: T1}",
                "determinant.timeslice_group: is required for TIMESLICE",
            ),
            (
                "{classifier: active, kind: TIMESLICE, timeslice_group: x, slice: T1}",
                'determinant.timeslice_group: no timeslice group "x"',
            ),
            (
                "{classifier: active, kind: TIMESLICE, timeslice_group: tariff, slice: T9}",
                'determinant.slice: timeslice group "tariff" has no slice "T9"',
            ),
            ("{classifier: active, kind: PMAX, timeslice_group: tariff}", "determinant.timeslice_group: PMAX has none"),
            (
                "{classifier: active, kind: INTERVAL, as_power: true}",
                "determinant.as_power: only PMAX is answered as power",
            ),
            ("{classifier: active, kind: PMAX, slice: T1}", "determinant.slice: PMAX has none"),
            ("{classifier: active, kind: DEMAND}", "determinant.demand: is required for DEMAND"),
            ("{classifier: active, kind: PMAX, demand: d}", "determinant.demand: PMAX has none"),
            ("{classifier: active, kind: PMAX}, meter: card_issuing", "meter: stands beside determinant"),
            ("{classifier: active, kind: PMAX}, value: card_count", "value: stands beside determinant"),
            ("{classifier: active, kind: PMAX}, filter: {color: red}", 'filter.color: the meter "BILLING_active_PMAX"'),
        ],
    )
    def test_faults(self, source, fault):
        (found,) = faults(f"products: [{{id: p, aggregation: SUM, determinant: {source}}}]", self.BASE)
        assert found.startswith(f"catalog.yaml:1: products[0].{fault}")

    def test_its_classifier_stays(self):
        kept = catalog(DETERMINANTS, catalog(CARDS + METERS[: METERS.index("datasources")]))
        gone = CatalogChange(remove=CatalogIds(channel_classifiers=("active",)))
        with pytest.raises(CatalogInvalidError, match=r'products\["energy"\]\.determinant\.classifier'):
            apply_change(kept, gone)

    def test_nothing_else_is_named_as_its_billing_channel(self):
        kept = catalog(DETERMINANTS, self.BASE)
        (found,) = faults("meters: [{id: m, reference: BILLING_active_INTERVAL}]", kept)
        assert 'meters[0].reference: is the BILLING channel of products["energy"].determinant' in found
        (found,) = faults(DETERMINANTS, catalog("meters: [{id: BILLING_active_INTERVAL}]", self.BASE))
        assert 'products[0].determinant: a meter is named "BILLING_active_INTERVAL"' in found
        # A slice may be named so that two determinants would have one name.
        other = DETERMINANTS.replace("active, kind: INTERVAL", "active, kind: DEMAND, demand: d_T1")
        (found,) = faults(other, self.BASE)
        assert "BILLING_active_DEMAND_d_T1 is the BILLING channel of another one in products[0] too" in found


def test_customers_of_determinants():
    sold = """
    plans: [{id: of_energy, product: energy, currency: EUR, per_unit: {unit_price: 1}}]
    contracts:
      - {id: bank_more, customer: bank, time_zone: UTC, start_date: 2023-01-01,
         billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}, product_contracts: [{plan: of_energy}]}
    """
    base = catalog(DETERMINANTS, catalog(EVERYTHING))
    assert determinant_customers(base) == frozenset()
    assert determinant_customers(catalog(sold, base)) == {"bank"}
