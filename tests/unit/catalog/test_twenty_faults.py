"""A catalogue with twenty faults: all twenty are named, each with its line and path."""

from tests.support.catalog_files import faults

TWENTY_FAULTS = """\
taxes:
  - {id: us, country_code: US, rate: 0.075}
  - {id: us_too, country_code: US, rate: -0.01}
meters:
  - {id: flight, values: [miles, miles], properties: [origin]}
products:
  - {id: landing, meter: flihgt, aggregation: COUNT}
  - {id: en_route, meter: flight, aggregation: SUM, value: kilometres}
  - {id: en_route, meter: flight, aggregation: COUNT, filter: {gate: A1}}
plans:
  - {id: landing_2013, product: landing, currency: US dollars, package: {size: -100, amount: 25000, rounding: UP}}
  - id: en_route_2013
    product: en_route
    currency: USD
    graduated:
      tiers:
        - {up_to: 1000000, unit_price: 0.052}
        - {up_to: 900000, unit_price: 1e3}
        - {starts_at: 900005, up_to: 2000000, unit_price: 0.03}
  - {id: cards, product: en_route, currency: EUR, per_unit: {unit_price: 0.0000000000001}}
customers:
  - {id: UA, name: United Air Lines, country_code: usa}
contracts:
  - id: UA_2013
    customer: UA
    time_zone: America/Gotham
    start_date: 2013-02-30
    billing_frequency: {basis: CALENDAR, interval: 0, unit: MONTH}
    product_contracts:
      - {plan: en_route_2013}
      - {plan: landing_2014}
      - {id: abroad, plan: cards, colour: red}
    sub_contracts:
      - {id: UA_2013, customer: DL}
"""

EXPECTED = [
    'catalog.yaml:3: taxes[1].country_code: "US" has the tax "us" already',
    "catalog.yaml:3: taxes[1].rate: is below 0",
    'catalog.yaml:5: meters[0].values[1]: "miles" is given twice',
    'catalog.yaml:7: products[0].meter: no meter "flihgt"',
    'catalog.yaml:8: products[1].value: the meter "flight" has no value "kilometres"',
    'catalog.yaml:9: products[2].id: "en_route" is the id of products[1] too',
    'catalog.yaml:9: products[2].filter.gate: the meter "flight" has no property "gate"',
    'catalog.yaml:11: plans[0].currency: "US dollars" is no ISO 4217 code',
    "catalog.yaml:11: plans[0].package.size: is not above 0",
    "catalog.yaml:18: plans[1].graduated.tiers[1].up_to: is 900000, not above 1000000 of the tier before",
    'catalog.yaml:18: plans[1].graduated.tiers[1].unit_price: "1e3" is no decimal number',
    "catalog.yaml:19: plans[1].graduated.tiers[2].starts_at: is 900005: leaves a gap after the tier before, which ends "
    "at 900000",
    "catalog.yaml:19: plans[1].graduated.tiers[2].up_to: the last tier has no end: leave up_to out",
    'catalog.yaml:20: plans[2].per_unit.unit_price: "0.0000000000001" has more than 12 decimals',
    'catalog.yaml:22: customers[0].country_code: "usa" is no ISO 3166-1 code of two capital letters',
    'catalog.yaml:26: contracts[0].time_zone: no IANA time zone "America/Gotham"',
    'catalog.yaml:27: contracts[0].start_date: "2013-02-30" is no date of the calendar',
    "catalog.yaml:28: contracts[0].billing_frequency.interval: is 0, not from 1 to 1000",
    'catalog.yaml:31: contracts[0].product_contracts[1].plan: no plan "landing_2014"',
    "catalog.yaml:32: contracts[0].product_contracts[2].colour: ProductContract has no such field; it has id, plan, "
    "accumulation_period, start_date, end_date, shared",
    'catalog.yaml:32: contracts[0].product_contracts[2].plan: is in EUR, other plans of "UA_2013" are in USD',
    'catalog.yaml:34: contracts[0].sub_contracts[0].customer: is not "UA": a contract tree has one customer',
    'catalog.yaml:34: contracts[0].sub_contracts[0].id: a cycle: "UA_2013" would lie below itself',
]


def test_every_fault_is_named_with_its_line_and_path():
    found = faults(TWENTY_FAULTS)
    assert sorted(found) == sorted(EXPECTED)
    assert len(found) >= 20


def test_faults_come_in_the_order_of_the_file():
    lines = [int(fault.split(":")[1]) for fault in faults(TWENTY_FAULTS)]
    assert lines == sorted(lines)
