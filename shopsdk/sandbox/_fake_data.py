"""Made-up customers and their ledgers: the same for the same seed, at addresses that nobody owns."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from shopsdk import AffiliateReferrer, Customer
from shopsdk.sandbox._message import plain_value
from shopsdk.sandbox._rows import Entry, Line, to_cents, to_money

FIRST_ID = 1001
_FIRST_NAMES = (
    "Aaliyah", "Amina", "Anouk", "Bastian", "Bruno", "Camille", "Carlos", "Chiara", "Daniel", "Dilan", "Elena", "Emeka",
    "Eszter", "Farah", "Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Julia", "Kaito", "Kofi", "Lara",
    "Leon", "Linh", "Lucas", "Maja", "Mateo", "Maya", "Mei", "Milan", "Nadia", "Nils", "Noor", "Oliver", "Olivia",
    "Omar", "Petra", "Priya", "Quinn", "Rafael", "Rosa", "Sakura", "Samuel", "Sofia", "Tariq", "Thea", "Tomas",
    "Valeria", "Wanda", "Xavier", "Yara", "Yusuf", "Zoe",
)  # fmt: skip
_LAST_NAMES = (
    "Adeyemi", "Almeida", "Andersson", "Bauer", "Becker", "Brown", "Castillo", "Chen", "Costa", "Dubois", "Eriksen",
    "Farouk", "Fischer", "Garcia", "Haddad", "Hansen", "Horvat", "Ito", "Jansen", "Kaya", "Kim", "Kowalski", "Kumar",
    "Larsen", "Lefebvre", "Lopez", "Mahmoud", "Marino", "Mensah", "Moreau", "Murphy", "Nakamura", "Nguyen", "Novak",
    "Okafor", "Olsen", "Patel", "Pereira", "Petrov", "Popescu", "Rahman", "Ricci", "Rossi", "Santos", "Sato", "Schmidt",
    "Silva", "Singh", "Smith", "Svoboda", "Tanaka", "Torres", "Virtanen", "Wagner", "Walsh", "Weber", "Wood", "Yilmaz",
)  # fmt: skip
_DOMAINS = ("example.com", "example.net", "example.org")
_EPOCH = int(datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC).timestamp())
_TWO_YEARS = 2 * 365 * 86_400
_A_YEAR = 365 * 86_400
_A_MONTH = 30 * 86_400
_MAX_REFERRERS = 500
_ID_STEP = 1_000
"""The ids of each further shop begin at the next multiple of this, and 1."""
_CREDITS = ("Gift card", "Loyalty bonus", "Refund", "Welcome credit", None)

T = TypeVar("T")


def fake_shops(shop_ids: Sequence[int], count: int, seed: int) -> Iterator[Entry]:
    """Make so many customers for each shop. Two shops share no id and no address; the first is as it is alone."""
    first_id = last_id = FIRST_ID
    for place, shop_id in enumerate(shop_ids):
        shop_seed = f"{seed}/shop {shop_id}" if place else seed
        rng = random.Random(f"{shop_seed}/ledgers")  # noqa: S311 - no secret
        for customer in fake_customers(count, shop_seed, first_id):
            yield shop_id, customer, _make_ledger(customer, rng)
            last_id = customer.id
        first_id = last_id - last_id % _ID_STEP + _ID_STEP + 1


def fake_customers(count: int, seed: int | str, first_id: int = FIRST_ID) -> Iterator[Customer]:
    """Make the customers of a shop, by rising id, with gaps as deletions leave them."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    affiliates: list[AffiliateReferrer] = []
    customer_id = first_id
    for _ in range(count):
        customer = _make_customer(customer_id, rng, affiliates)
        yield customer
        if customer.affiliate_code is not None and len(affiliates) < _MAX_REFERRERS:
            affiliates.append(AffiliateReferrer(id=customer.id, email=customer.email))
        customer_id += 1 if rng.random() < 0.9 else 2 + int(rng.random() * 4)


def fake_customer(customer_id: int, seed: int) -> tuple[Customer, list[Line]]:
    """Make one more customer and its ledger; the same for the same id and seed."""
    rng = random.Random(f"{seed}/{customer_id}")  # noqa: S311 - no secret
    customer = _make_customer(customer_id, rng)
    return customer, _make_ledger(customer, rng)


def check_count(count: int) -> int:
    """Check and return the number of customers to make up."""
    if isinstance(count, bool) or count < 0:
        raise ValueError(f"customers must be 0 or more, not {count!r}")
    return plain_value(count)


def _make_customer(customer_id: int, rng: random.Random, affiliates: Sequence[AffiliateReferrer] = ()) -> Customer:
    """Make a customer; the id in the address keeps the address unique."""
    chance = rng.random
    first, last = _choose(rng, _FIRST_NAMES), _choose(rng, _LAST_NAMES)
    orders = 0 if chance() < 0.15 else 1 + int(chance() ** 3 * 40)
    on_discord = chance() < 0.35
    referrer = _choose(rng, affiliates) if affiliates and chance() < 0.12 else None
    return Customer(
        id=customer_id,
        email=_email(rng, first.lower(), last.lower(), customer_id),
        discord_id=str(10**17 + int(chance() * 9 * 10**17)) if on_discord else None,
        discord_username=f"{first.lower()}_{last.lower()[: 2 + int(chance() * 4)]}" if on_discord else None,
        balance=to_money(int(chance() * 15_000) if chance() < 0.3 else 0),
        total_completed=orders,
        total_spent_usd=to_money(sum(135 + int(chance() * 4_000) for _ in range(min(orders, 5)))),
        last_completed_at=_moment(chance()) if orders else None,
        newsletter_at=_moment(chance()) if chance() < 0.4 else None,
        affiliate_code=f"{first.upper()}{customer_id % 10_000}" if chance() < 0.08 else None,
        affiliate_referrer_id=None if referrer is None else referrer.id,
        affiliate_referrer=referrer,
    )


def _make_ledger(customer: Customer, rng: random.Random) -> list[Line]:
    """Make the ledger that leads to a customer's balance: a credit, and what orders took of it."""
    if not customer.balance:
        return []
    chance = rng.random
    lines: list[Line] = []  # backwards
    credit = to_cents(customer.balance)
    moment = _EPOCH - int(chance() * _A_YEAR)
    for _ in range(min(customer.total_completed or 0, int(chance() * 3))):
        price = 135 + int(chance() * 2_000)
        lines.append((-price, f"Order #{10_000 + int(chance() * 90_000)}", _line_time(moment)))
        credit += price
        moment -= 1 + int(chance() * _A_MONTH)
    lines.append((credit, _choose(rng, _CREDITS), _line_time(moment)))
    return lines[::-1]


def _line_time(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC).isoformat()[:19]}.000000Z"


def _email(rng: random.Random, first: str, last: str, number: int) -> str:
    local = _choose(rng, (f"{first}.{last}", f"{first}", f"{first[0]}{last}", f"{last}.{first}", f"{first}_{last}"))
    return f"{local}{number}@{_choose(rng, _DOMAINS)}"


def _moment(share: float) -> datetime:
    return datetime.fromtimestamp(_EPOCH - int(share * _TWO_YEARS), UTC)


def _choose(rng: random.Random, among: Sequence[T]) -> T:
    return among[int(rng.random() * len(among))]
