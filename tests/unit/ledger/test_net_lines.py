"""Net lines of small books: after everything that is done they are what the oracle's invoices have beyond charge lines.

Amounts are cents; a unit costs 1 EUR.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.support.live_book import LiveBook
from tests.support.small_catalogue import MONTHLY, NOW_US, YEARLY, Objects, catalogue, per_unit, used

from tallybook_engine.ledger import net_trees
from tallybook_engine.ledger.net import values_afresh
from tallybook_engine.ledger.outcomes import UNPINNED, Cause, NetPostings
from tallybook_oracle.ledger import OracleBook
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.verify import oracles_adjustment

Moves = list[tuple[str, str, int, int]]
"""(cause, net line as root contract and day of the year that it begins on, amount without tax, tax)."""
YEAR_START_US, DAY_US = 1_704_067_200_000_000, 86_400_000_000


def deal(*pricings: Objects, contract: str = "contract", charges: Objects | None = None, **more: Any) -> Objects:
    """A catalogue of one contract that sells one unit for 1 euro, and its terms."""
    of_catalogue = {name: more.pop(name) for name in ("tax", "currency", "end_date", "allow_negative") if name in more}
    made = catalogue(*(pricings or (per_unit("1"),)), **of_catalogue)
    (only,) = made["contracts"]
    only |= {"id": contract, **more}
    if contract != "contract":
        only["product_contracts"] = [{**each, "id": f"{contract}_{each['id']}"} for each in only["product_contracts"]]
    return made


class Books:
    """A book and the oracle's versions of its catalogue; everything done is checked against the oracle."""

    def __init__(self, *deals: Objects) -> None:
        self.live = LiveBook(MemoryJournal(hash_key=bytes(16)), NOW_US)
        self.oracle = OracleBook()
        for each in deals:
            self.apply(each)

    def apply(self, put: Objects, **how: Any) -> None:
        self.live.apply(put, **how)
        self.oracle.apply_catalog(put, None, **how)

    def send(self, *events: Objects) -> list[Moves]:
        """Foresees events in one call, stores them one by one, and answers what each moves: it is what was foreseen."""
        before = self.values()
        foreseen = self.moves(self.live.predict(events).outcome.net, len(events), self.live)
        assert self.values() == before
        self.check()
        rows = []
        for event in events:
            rows += self.moves(self.live.store([event]).outcome.net, 1, self.live)
            self.check()
        assert [sum(each[2] for each in row) for row in foreseen] == [sum(each[2] for each in row) for row in rows]
        return rows

    def send_together(self, *events: Objects) -> list[Moves]:
        """Stores events in one call."""
        rows = self.moves(self.live.store(events).outcome.net, len(events), self.live)
        self.check()
        return rows

    def delete(self, *references: str) -> None:
        self.live.delete_references("ann", *references)
        self.check()

    def reprocess(self, start_day: float = 0, end_day: float = 400) -> None:
        """Moves pins of days; asked before what that would do, it does nothing."""
        span = "ann", YEAR_START_US + int(start_day * DAY_US), YEAR_START_US + int(end_day * DAY_US)
        before = self.values()
        self.live.reprocess(*span, move_pins=True, validate_only=True)
        assert self.values() == before
        self.check()
        self.live.reprocess(*span, move_pins=True)
        self.check()

    @staticmethod
    def moves(postings: NetPostings, count: int, live: LiveBook) -> list[Moves]:
        """By row; a net line that was only foreseen has no name."""
        rows: list[Moves] = [[] for _ in range(count)]
        lines = live.state.net.lines
        names = {number: f"{each.contract_id} {each.start_us // DAY_US - 19723}" for number, each in enumerate(lines)}
        for row, cause, number, amount, tax in zip(*(column.tolist() for column in postings), strict=True):
            rows[row].append((Cause(cause).name, names.get(number, ""), amount, tax))
        return rows

    def values(self) -> dict[str, tuple[int, int]]:
        """(amount without tax, tax) of each net line, by root contract and day of the year."""
        net = self.live.state.net
        return {
            f"{each.contract_id} {each.start_us // DAY_US - 19723}": net.value(number)
            for number, each in enumerate(net.lines)
        }

    def check(self) -> None:
        """Net lines are what the oracle says, the sums of their postings, and what they come to afresh."""
        state = self.live.state
        sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for decoded in self.live.book._records.segments():
            columns = decoded.net.net_line.tolist(), decoded.net.amount.tolist(), decoded.net.tax.tolist()
            for number, amount, tax in zip(*columns, strict=True):
                sums[number] = sums[number][0] + amount, sums[number][1] + tax
        afresh = values_afresh(state, state.lines.arrays.amount)
        for number, line in enumerate(state.net.lines):
            found = (0, 0)
            if line.version != UNPINNED:
                found = oracles_adjustment(state, self.oracle.versions[line.version], line)
            assert found == state.net.value(number) == sums[number] == afresh[number], line
            if line.contract_id in state.net.settled:
                assert found == state.net.settled.value(number), line


@contextmanager
def books(*deals: Objects) -> Iterator[Books]:
    made = Books(*deals)
    try:
        yield made
    finally:
        made.live.close()


WEEKLY = {"basis": "CONTRACT", "interval": 1, "unit": "WEEK"}


def test_rows_are_told_what_each_moves():
    with books(deal(minimum="100")) as book:
        # Given a minimum of 100, at which the period opens
        assert book.send(used("a", "30", 5), used("b", "80", 6)) == [
            [("OPEN", "contract 0", 10000, 0), ("EVENT", "contract 0", -3000, 0)],
            [("EVENT", "contract 0", -7000, 0)],
        ]
        # Then a delete gives back what its event moves
        book.delete("b")
        assert book.values() == {"contract 0": (7000, 0)}
        # And events of one call are told one after the other, also those that open a period between others
        assert book.send_together(used("c", "60", 7), used("d", "5", 40), used("e", "20", 8)) == [
            [("EVENT", "contract 0", -6000, 0)],
            [("OPEN", "contract 31", 10000, 0), ("EVENT", "contract 31", -500, 0)],
            [("EVENT", "contract 0", -1000, 0)],
        ]


def test_what_a_charge_line_is_worth_before_its_first_event_counts_as_it_opens():
    # Given a charge of at least 40 a month, and 10 % off
    with books(deal(per_unit("5", minimum="40"), per_unit("1"), discount={"rate": "0.1"})) as book:
        opened = ("OPEN", "contract 0", -400, 0)
        assert book.send(used("a", "3", 5)) == [[opened, ("EVENT", "contract 0", -30, 0)]]
        book.send_together(used("c", "3", 35), used("d", "30", 36), used("e", "30", 66))
        book.delete("a", "c")


def test_a_period_opens_with_what_it_comes_to_before_its_charge_lines():
    # Given a charge of at least 40 a month, in a contract of at least 70
    with books(deal(per_unit("5", minimum="40"), minimum="70")) as book:
        assert book.send_together(used("a", "9", 5), used("b", "9", 40)) == [
            [("OPEN", "contract 0", 7000, 0), ("OPEN", "contract 0", -4000, 0), ("EVENT", "contract 0", -500, 0)],
            [("OPEN", "contract 31", 7000, 0), ("OPEN", "contract 31", -4000, 0), ("EVENT", "contract 31", -500, 0)],
        ]
        assert book.live.state.net.currency(book.live.state, 0) == "EUR"


def test_a_line_in_the_place_of_one_of_another_customer_that_was_only_foreseen():
    one, bobs = deal(minimum="100"), deal(contract="bobs")["contracts"][0]
    customers = [*one["customers"], {"id": "bob", "country_code": "NL"}]
    with books({**one, "customers": customers, "contracts": [*one["contracts"], {**bobs, "customer": "bob"}]}) as book:
        book.send(used("a", "30", 5))
        book.live.predict([used("x", "30", 6, customer_reference="bob")])
        assert book.live.store([used("b", "30", 40)]).outcome.net.amount.tolist() == [10000, -3000]
        book.check()


def test_a_charge_that_opens_in_a_month_after_terms_went_counts_in_its_invoice():
    with books(deal(minimum="100")) as book:
        book.send(used("a", "30", 5))
        book.apply(deal(per_unit("1"), per_unit("2")))
        assert book.send(used("b", "10", 6)) == [[("EVENT", "contract 0", -3000, 0)]]


def test_a_net_line_in_the_place_of_one_that_was_only_foreseen():
    # Given that February of one contract was only foreseen, and that bob's contract has opened a period since
    one, bobs = deal(minimum="100"), deal(contract="bobs", minimum="50")["contracts"][0]
    customers = [*one["customers"], {"id": "bob", "country_code": "NL"}]
    with books({**one, "customers": customers, "contracts": [*one["contracts"], {**bobs, "customer": "bob"}]}) as book:
        book.send(used("a", "30", 5))
        book.live.predict([used("x", "30", 40)])
        book.live.store([used("b", "20", 6, customer_reference="bob")])
        # When the first contract has no terms any more, and is charged in February
        book.apply({"contracts": deal()["contracts"]})
        # Then it moves nothing of bob's
        assert book.send(used("c", "30", 40)) == [[]]
        assert book.values() == {"contract 0": (7000, 0), "bobs 0": (3000, 0)}


def test_a_reprocess_opens_the_periods_that_its_span_touches():
    with books(deal(tax={"rate": "0.2"})) as book:
        book.send(used("a", "30", 5), used("b", "30", 40), used("c", "30", 70))
        book.apply(deal(tax={"rate": "0.2"}, discount={"rate": "0.1"}))
        # Given a span that begins as January ends, and ends as March begins
        book.reprocess(31, 60)
        assert book.values() == {"contract 31": (-300, -60)}
        # Then other terms move what is posted, its tax too
        book.apply(deal(tax={"rate": "0.2"}, discount={"rate": "0.5"}))
        book.reprocess(31, 60)
        assert book.values() == {"contract 31": (-1500, -300)}


def test_a_reprocess_moves_the_pins_of_the_periods_that_its_span_touches():
    with books(deal(discount={"rate": "0.1"})) as book:
        book.send_together(used("a", "30", 5), used("b", "30", 40), used("c", "30", 70))
        book.apply(deal(discount={"rate": "0.5"}))
        # Given a span that begins as January ends, and ends as March begins
        book.reprocess(31, 60)
        assert book.values() == {"contract 0": (-300, 0), "contract 31": (-1500, 0), "contract 60": (-300, 0)}


def test_a_reprocess_leaves_nothing_of_terms_that_went():
    with books(deal(minimum="100")) as book:
        book.send_together(used("a", "30", 5))
        book.apply(deal())
        book.reprocess()
        assert book.values() == {"contract 0": (0, 0)}


def test_a_charge_of_another_tax_that_opens_in_an_open_month():
    with books(deal(discount={"rate": "0.1"})) as book:
        book.send(used("a", "50", 5), used("deleted", "50", 5))
        book.apply(deal(per_unit("1"), per_unit("2"), tax={"rate": "0.2"}, discount={"rate": "0.1"}))
        # Then it counts in the trees that a delete before it has left settled
        book.delete("deleted")
        assert book.live.store([used("b", "50", 6)]).outcome.net.tax.tolist() == [-200]
        book.check()


def test_periods_that_were_only_tried_are_forgotten():
    with books(deal()) as book:
        book.send(used("a", "30", 5))
        book.live.apply(deal(per_unit("2"), minimum="500", billing_frequency=WEEKLY), validate_only=True)
        book.apply(deal(minimum="100"))
        book.reprocess()
        assert [each.end_us - each.start_us for each in book.live.state.net.lines] == [31 * DAY_US]


def test_tax_of_what_cannot_be_settled():
    share = [{"id": "share", "charges": ["charge0"], "rate": "1000"}]
    with books(deal(tax={"rate": "0.2"}, revenue_shares=share, allow_negative=True)) as book:
        much = "100000000000000"
        book.send(used("a", "10", 5))
        book.send_together(used("b", "1", 6), used("much", much, 7), used("less", f"-{much}", 8))


def test_a_credit_that_is_used_earlier_is_missing_later():
    terms: Objects = {
        "credits": [{"id": "opening", "amount": "100"}, {"id": "short", "amount": "60", "end_date": "2024-02-20"}]
    }
    with books(deal(tax={"rate": "0.2"}, **terms)) as book:
        book.send(used("april", "80", 100), used("march", "50", 70))
        book.send(used("january", "70", 5), used("february", "45", 33))
        book.send_together(used("may", "20", 130), used("late", "55", 6), used("january again", "5", 7))
        book.delete("january", "late", "april")


def test_moves_that_change_more_periods_than_were_made_room_for():
    # Given a credit that is used week by week, so that one early event moves all weeks behind it
    with books(deal(billing_frequency=WEEKLY, credits=[{"id": "opening", "amount": "20"}])) as book:
        book.send_together(*(used(f"week {week}", "2", 7 * week + 0.5) for week in range(8)))
        (moved,) = book.send(used("first", "20", 0.1))
        assert len(moved) == 8


def test_roots_of_a_customer_are_settled_each_by_itself():
    one, other = deal(minimum="100"), deal(contract="other", discount={"rate": "0.5"})
    bare = deal(contract="bare")
    both = {**one, "contracts": one["contracts"] + other["contracts"] + bare["contracts"]}
    with books(both) as book:
        assert book.send(used("a", "30", 5)) == [
            [
                ("OPEN", "contract 0", 10000, 0),
                ("EVENT", "contract 0", -3000, 0),
                ("EVENT", "other 0", -1500, 0),
            ]
        ]
        book.send_together(used("b", "90", 6), used("c", "10", 40))
        book.delete("a")
        # And another version of one moves its pins alone
        halved = {**other["contracts"][0], "discount": {"rate": "0.25"}}
        book.apply({"contracts": [halved]})
        book.reprocess()
        assert book.values()["other 0"] == (-2250, 0)
        assert [each.version for each in book.live.state.net.lines] == [1, 2, 1, 2]


def test_lines_in_another_currency_are_on_no_invoice():
    # Given a month charged in euros
    with books(deal(minimum="100")) as book:
        book.send(used("a", "30", 5), used("b", "30", 40))
        # When the contract is in dollars from now on, by another charge
        dollars = deal(minimum="50", currency="USD")
        dollars["plans"][0]["id"] = "dollars"
        dollars["contracts"][0]["product_contracts"] = [{"id": "charge_in_dollars", "plan": "dollars", "shared": True}]
        book.apply(dollars)
        # Then the open month stays in euros, with the charge that runs on, and dollars count from the next one on
        assert book.send(used("c", "20", 41)) == [[("EVENT", "contract 31", -2000, 0)]]
        assert book.send(used("d", "20", 70)) == [
            [("OPEN", "contract 60", 5000, 0), ("EVENT", "contract 60", -2000, 0)]
        ]
        assert [book.live.state.net.currency(book.live.state, number) for number in range(3)] == ["EUR", "EUR", "USD"]
        book.reprocess()
        book.send(used("e", "1", 6), used("f", "1", 42), used("g", "1", 71))
        book.delete("a", "b", "d")


def test_terms_that_come_hold_from_the_next_period_on():
    with books(deal()) as book:
        assert book.send(used("a", "30", 5)) == [[]]
        book.apply(deal(minimum="100"))
        # Then the month that began without them stays without, whatever opens in it
        assert book.send(used("b", "30", 6)) == [[]]
        assert book.send(used("c", "30", 36)) == [
            [("OPEN", "contract 31", 10000, 0), ("EVENT", "contract 31", -3000, 0)]
        ]
        # Until it is reprocessed
        book.reprocess(0, 20)
        assert book.values() == {"contract 31": (7000, 0), "contract 0": (4000, 0)}


def test_a_charge_that_opens_later_in_a_month_without_terms_has_none_either():
    with books(deal()) as book:
        book.send(used("a", "30", 5))
        book.apply(deal(per_unit("1"), per_unit("2"), minimum="100"))
        assert book.send(used("b", "30", 6), used("c", "1", 7)) == [[], []]
        book.reprocess(32)
        assert book.values() == {}
        book.reprocess()
        assert book.values() == {"contract 0": (0, 0)}


def test_terms_that_go_hold_until_the_next_period():
    with books(deal(minimum="100")) as book:
        book.send(used("a", "30", 5))
        book.apply(deal())
        assert book.send(used("b", "30", 6)) == [[("EVENT", "contract 0", -3000, 0)]]
        assert book.send(used("c", "30", 36)) == [[]]
        # A period that is reprocessed has no invoice beyond its charge lines any more
        book.reprocess()
        assert book.values() == {"contract 0": (0, 0)}
        assert book.send(used("d", "30", 7)) == [[]]
        # And when terms come back it has one again, and the next month too
        book.apply(deal(minimum="200"))
        assert book.send(used("e", "10", 8)) == [[]]
        book.reprocess()
        assert book.values() == {"contract 0": (10000, 0), "contract 31": (17000, 0)}
        book.delete("a", "c")


def test_other_terms_hold_from_the_next_period_and_a_reprocess_moves_pins_of_its_span():
    with books(deal(discount={"rate": "0.1"})) as book:
        book.send(used("a", "50", 5), used("b", "50", 40))
        book.apply(deal(discount={"rate": "0.5"}))
        assert book.send(used("c", "50", 6), used("d", "50", 70)) == [
            [("EVENT", "contract 0", -500, 0)],
            [("EVENT", "contract 60", -2500, 0)],
        ]
        # A span that ends as a period begins does not touch it
        book.reprocess(0, 31)
        assert book.values() == {"contract 0": (-5000, 0), "contract 31": (-500, 0), "contract 60": (-2500, 0)}
        book.reprocess(60, 70)
        assert book.values()["contract 31"] == (-500, 0)
        book.reprocess(59, 60)
        assert book.values()["contract 31"] == (-2500, 0)
        # The same once more moves no pin
        pins = [each.version for each in book.live.state.net.lines]
        book.apply(deal(discount={"rate": "0.5"}))
        book.reprocess()
        assert [each.version for each in book.live.state.net.lines] == pins


def test_periods_that_a_later_version_does_not_have():
    with books(deal(minimum="100")) as book:
        book.send(used("a", "30", 5), used("b", "30", 40))
        # When billing is by the week: a week that reaches into an open month does not open
        book.apply(deal(minimum="70", billing_frequency=WEEKLY))
        assert book.send(used("c", "1", 59.5)) == [[("EVENT", "contract 31", -100, 0)]]
        book.send(used("d", "30", 75), used("e", "30", 82))
        # And a reprocess lets months go, for weeks
        book.reprocess()
        assert book.values()["contract 31"] == (0, 0)
        book.send(used("f", "7", 6), used("g", "7", 13), used("h", "1", 41))
        # And the other way round
        book.apply(deal(minimum="90"))
        book.reprocess(0, 45)
        book.send(used("i", "1", 6), used("j", "1", 50), used("k", "1", 130))
        book.reprocess()
        book.send(used("l", "1", 6))
        book.delete("a", "e", "l")


def test_what_was_only_tried_leaves_no_net_line():
    with books(deal(minimum="100", revenue_shares=[])) as book:
        # Given that the first event of all is foreseen, and that later ones are, which open other lines
        book.send(used("a", "30", 5))
        for _ in range(2):
            book.live.predict([used("x", "30", 35), used("y", "30", 400), used("z", "5", 6)])
            book.check()
        assert book.values() == {"contract 0": (7000, 0)}
        # Then a line that opens in the place of one that was only foreseen counts in its own month
        book.send(used("b", "10", 65), used("c", "10", 35))
        assert book.values() == {"contract 0": (7000, 0), "contract 60": (9000, 0), "contract 31": (9000, 0)}
        # And terms that were only tried leave nothing
        book.live.apply(deal(per_unit("2"), minimum="500", billing_frequency=WEEKLY), validate_only=True)
        book.apply(deal(minimum="300"))
        book.reprocess()
        assert book.values()["contract 0"] == (27000, 0)


def test_lines_beyond_what_was_settled_ahead():
    with books(deal(minimum="100", credits=[{"id": "opening", "amount": "500"}])) as book:
        book.send(used("a", "30", 5))
        book.send(used("years on", "30", 1500), used("between", "30", 800))
        book.send_together(used("more", "30", 2500), used("first", "20", 6), used("again", "120", 2501))


def test_a_tax_that_came_later():
    with books(deal(discount={"rate": "0.1"})) as book:
        book.send(used("a", "50", 5))
        book.apply(deal(tax={"rate": "0.2"}, discount={"rate": "0.1"}))
        book.send(used("b", "50", 6), used("c", "50", 40))
        book.apply(deal(tax={"rate": "0.1"}, discount={"rate": "0.1"}))
        book.send(used("d", "50", 41), used("e", "50", 70))
        book.reprocess()
        book.send(used("f", "50", 7), used("g", "50", 42))


def test_shares_of_charges_that_come_and_go():
    def shared(*rates: str, names: Sequence[str] = ("charge0",)) -> Objects:
        shares = [{"id": f"share{at}", "charges": list(names), "rate": rate} for at, rate in enumerate(rates)]
        return deal(per_unit("1"), per_unit("3"), revenue_shares=shares, minimum="90")

    with books(shared("0.5")) as book:
        book.send(used("a", "10", 5))
        book.apply(shared("0.5", "0.25", names=("charge0", "charge1")))
        book.send(used("b", "10", 6), used("c", "10", 40))
        only = shared("0.5")
        only["contracts"][0]["product_contracts"].pop()
        book.apply(only)
        book.send(used("d", "10", 41), used("e", "10", 70))
        book.reprocess()
        book.send(used("f", "10", 7), used("g", "10", 71))
        book.delete("a", "g")


def test_what_cannot_be_settled_comes_to_nothing_until_it_can():
    # Given a share of a thousand times what is sold, of which 2^63 cents are soon too much, and another contract
    share = [{"id": "share", "charges": ["charge0"], "rate": "1000"}]
    one, other = deal(revenue_shares=share, allow_negative=True), deal(contract="other", discount={"rate": "0.5"})
    with books({**one, "contracts": one["contracts"] + other["contracts"]}) as book:
        much = "100000000000000"
        book.send(used("a", "10", 5))
        assert book.send_together(used("b", "1", 6), used("much", much, 7), used("c", "5", 40), used("d", "3", 8)) == [
            [("EVENT", "contract 0", 100000, 0), ("EVENT", "other 0", -50, 0)],
            [("EVENT", "contract 0", -1100000, 0), ("EVENT", "other 0", -int(much) * 50, 0)],
            [("EVENT", "other 31", -250, 0)],
            [("EVENT", "other 0", -150, 0)],
        ]
        assert book.send(used("e", "2", 9))[0][0][:2] == ("EVENT", "other 0")
        assert book.send_together(used("less", f"-{much}", 9), used("f", "2", 9), used("g", "2", 41))[0][0][2] > 0
        book.delete("f")
    # And in one call that begins with it
    with books(one) as book:
        book.send_together(used("much", much, 7), used("less", f"-{much}", 7), used("c", "5", 40))
        book.send(used("d", "5", 41))


def test_a_contract_that_cannot_be_settled_takes_nothing_from_another():
    share = [{"id": "share", "charges": ["charge0"], "rate": "1000"}]
    one, other = deal(revenue_shares=share), deal(contract="other", discount={"rate": "0.5"})
    with books({**one, "contracts": one["contracts"] + other["contracts"]}) as book:
        much = "100000000000000"
        book.send_together(used("much", much, 7))
        # Given that the first one could not be settled, when both are charged again, less and as much
        assert book.send_together(used("a", "1", 8), used("more", much, 9)) == [
            [("EVENT", "other 0", -50, 0)],
            [("EVENT", "other 0", -50 * int(much), 0)],
        ]


def test_a_charge_that_comes_to_an_open_month_is_of_that_whatever_bills_it_now():
    # Given a division of a division, all billed by the month
    def divided(billed: Objects, *pricings: Objects) -> Objects:
        made = deal(*pricings, minimum="100")
        (root,) = made["contracts"]
        leaf = {"id": "leaf", "billing_frequency": MONTHLY, "product_contracts": root.pop("product_contracts")}
        root["sub_contracts"] = [{"id": "between", "billing_frequency": billed, "sub_contracts": [leaf]}]
        return made

    with books(divided(MONTHLY, per_unit("1"))) as book:
        book.send_together(used("a", "30", 5))
        # When the one between is billed by the year, and there is another charge
        book.apply(divided({**YEARLY, "basis": "CALENDAR"}, per_unit("1"), per_unit("2")))
        # Then that counts in the month that is open, by the terms in force when it opened, and opens no other
        assert book.send_together(used("b", "10", 6)) == [[("EVENT", "contract 0", -3000, 0)]]
        assert list(book.values()) == ["contract 0"]


def test_trees_are_planted_anew_when_there_are_too_many():
    with books(deal(minimum="100")) as book, patch.object(net_trees, "PLACES_MAX", 20):
        book.send(used("a", "30", 5))
        first = book.live.state.net.settled
        assert first.is_full
        book.send(used("b", "30", 6))
        assert book.live.state.net.settled is not first
    with books(deal(minimum="100")) as book:
        book.send(used("a", "30", 5))
        first = book.live.state.net.settled
        with patch.object(net_trees, "PLACES_MAX", first._place_count):
            assert not first.is_full


def test_many_roots_and_lines():
    """More than there was room for at first."""
    one = deal(discount={"rate": "0.5"})
    roots = [deal(contract=f"root{number}", discount={"rate": "0.5"})["contracts"][0] for number in range(17)]
    with books({**one, "contracts": roots}) as book:
        book.send_together(used("a", "10", 5))
        book.send_together(used("b", "10", 40), used("c", "10", 41))
        assert len(book.values()) == 17 * 2


def test_levels_with_periods_of_their_own():
    terms: Objects = {
        "sub_contracts": [
            {
                "id": "south",
                "billing_frequency": WEEKLY,
                "minimum": "35",
                "product_contracts": [{"id": "south_charge", "plan": "plan0", "shared": True}],
            }
        ],
        "credits": [{"id": "late", "amount": "80"}],
        "cap": "150",
    }
    with books(deal(tax={"rate": "0.2"}, **terms)) as book:
        book.send(used("a", "10", 5), used("week", "10", 29), used("february", "20", 33), used("b", "200", 6))
        book.delete("b", "week")


def test_rows_without_charge_lines_move_nothing():
    with books(deal(minimum="100")) as book:
        assert book.send_together(used("a", "30", -5), used("b", "1", 5), used("c", "0", 6), used("b", "1", 5)) == [
            [],
            [("OPEN", "contract 0", 10000, 0), ("EVENT", "contract 0", -100, 0)],
            [],
            [("OPEN", "contract 0", 10000, 0), ("EVENT", "contract 0", -100, 0)],
        ]
