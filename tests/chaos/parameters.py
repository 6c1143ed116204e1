"""Every parameter of every tool of ours: where a value goes in a call that is valid but for it, and the rule for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos import verdicts
from tests.chaos.verdicts import LEGAL, Outcomes, Rule, only
from tests.chaos.worlds import RIVALS, World

PRICE = 200
ORDER = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "a test"}
DECISION = {
    "name": "warren", "symbol": "AAPL", "action": "hold", "confidence": 0.5, "horizon_days": 30, "rationale": "a test",
}  # fmt: skip
ENTITY = {"name": "TSMC", "entityType": "company", "observations": ["a foundry"]}
ADDITION = {"entityName": "NVDA", "contents": ["new"]}
DELETION = {"entityName": "NVDA", "observations": ["never said"]}

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where a value goes: `place` makes the arguments of a call, valid but for it."""

    tool: str
    name: str
    rule: Rule
    place: Callable[[Any], Arguments]

    @classmethod
    def of(cls, tool: str, name: str, rule: Rule, /, **others: Any) -> Parameter:
        return cls(tool, name, rule, lambda value: {**others, name: value})

    @classmethod
    def within(cls, tool: str, outer: str, name: str, rule: Rule, row: Arguments) -> Parameter:
        return cls(tool, f"{outer}[0].{name}", rule, lambda value: {outer: [{**row, name: value}]})


def of_accounts(world: World) -> list[Parameter]:
    name = verdicts.bound_name if world.bound else verdicts.any_name

    def buying(value: Any) -> Outcomes:
        shares = verdicts.quantity_of(value)
        if shares is None:
            return only("bad_quantity")
        return LEGAL if shares * PRICE * 1.002 <= 100_000 else frozenset({"over_limit", "insufficient_cash"})

    def selling(value: Any) -> Outcomes:
        shares = verdicts.quantity_of(value)
        if shares is None:
            return only("bad_quantity")
        return LEGAL if shares <= world.holding("AAPL") else only("insufficient_shares")

    def selling_key(value: Any) -> Outcomes:
        is_used = isinstance(value, str) and ("warren", value) in world.keys
        return only("key_reused") if is_used else verdicts.order_key(value)

    def trade(tool: str, quantity: Rule, key: Rule) -> list[Parameter]:
        rules = {
            "name": name, "symbol": verdicts.symbol, "quantity": quantity, "rationale": verdicts.rationale,
            "client_order_id": key,
        }  # fmt: skip
        return [Parameter.of(tool, each, rule, **ORDER) for each, rule in rules.items()]

    judged = {
        "name": name,
        "symbol": verdicts.symbol,
        "action": verdicts.one_of("buy", "sell", "hold"),
        "confidence": verdicts.number(0, 1, "bad_decision", whole=False),
        "horizon_days": verdicts.number(0, 36_500, "bad_decision", whole=True),
        "rationale": verdicts.rationale,
    }
    return [
        *(Parameter.of(tool, "name", name) for tool in ("get_balance", "get_holdings", "get_account")),
        Parameter.of("get_transactions", "name", name),
        Parameter.of("get_transactions", "cursor", verdicts.page_cursor, name="warren"),
        *trade("buy_shares", buying, verdicts.order_key),
        *trade("sell_shares", selling, selling_key),
        Parameter.of("change_strategy", "name", name, strategy="Another."),
        Parameter.of("change_strategy", "strategy", verdicts.strategy, name="warren"),
        *(Parameter.of("record_decision", each, rule, **DECISION) for each, rule in judged.items()),
    ]


def of_market(_: World) -> list[Parameter]:
    searched = {
        "query": verdicts.any_text,
        "kind": verdicts.one_of("equity", "etf", "coin", optional=True),
        "sector": verdicts.optional_text,
        "limit": verdicts.number(1, 200, "bad_limit", whole=True),
        "cursor": verdicts.listing_cursor,
    }
    return [
        Parameter.of("lookup_share_price", "symbol", verdicts.symbol),
        Parameter.of("get_price_history", "symbol", verdicts.symbol),
        Parameter.of("get_price_history", "interval", verdicts.one_of("hour", "day"), symbol="AAPL"),
        Parameter.of("get_price_history", "count", verdicts.number(1, 500, "bad_count", whole=True), symbol="AAPL"),
        *(Parameter.of("find_symbols", each, rule) for each, rule in searched.items()),
    ]


def of_search(_: World) -> list[Parameter]:
    rules = {
        "query": verdicts.search_query,
        "count": verdicts.number(1, 20, "bad_argument", whole=True),
        "freshness": verdicts.one_of("day", "week", "month", "year", optional=True),
    }
    return [
        Parameter.of(tool, each, rule, **{"query": "technology", each: None})
        for tool in ("web_search", "news_search")
        for each, rule in rules.items()
    ]


def of_push(_: World) -> list[Parameter]:
    return [
        Parameter.of("push", "message", verdicts.message),
        Parameter.of("push", "title", verdicts.title, message="a test"),
    ]


def of_memory(world: World) -> list[Parameter]:
    name, texts = verdicts.memory_text(200), verdicts.memory_texts(4_000, outermost=False)
    names = verdicts.memory_texts(200, outermost=True)

    def known(value: Any) -> Outcomes:
        return only("unknown_entity") if name(value) == LEGAL and value not in world.entities else name(value)

    def rows(tool: str, outer: str, row: Arguments, **rules: Rule) -> list[Parameter]:
        whole = Parameter.of(tool, outer, verdicts.memory_rows)
        return [whole, *(Parameter.within(tool, outer, each.strip("_"), rule, row) for each, rule in rules.items())]

    return [
        *rows("create_entities", "entities", ENTITY, name=name, entityType=name, observations=texts),
        *rows("create_relations", "relations", RIVALS, from_=known, to=known, relationType=name),
        *rows("add_observations", "observations", ADDITION, entityName=known, contents=texts),
        Parameter.of("delete_entities", "entityNames", names),
        *rows("delete_observations", "deletions", DELETION, entityName=name, observations=texts),
        *rows("delete_relations", "relations", RIVALS, from_=name, to=name, relationType=name),
        Parameter.of("search_nodes", "query", verdicts.memory_query),
        Parameter.of("open_nodes", "names", names),
    ]
