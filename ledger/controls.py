"""What the owner asks for, each request a row that stays: pause, resume, reduce, halt, run now, another strategy.

The request changes the accounts itself, in whatever process it is made, so it holds with the floor or without; a
running floor reads the new rows to cancel the sessions of a halted trader and to run at once, all traders or one. What
is asked of `run` while no floor runs, a later one does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, insert, select

from accounts import list_accounts, set_state
from database import AccountRecord, Actor, Store, lock_run, write_account
from ledger.texts import check_strategy
from market import Market
from store import tables
from values.errors import Refused
from values.names import normalise_name

ControlAction = Literal["pause", "resume", "reduce", "halt", "run", "strategy"]
_DONE: dict[ControlAction, str] = {
    "pause": "paused",
    "resume": "active again",
    "reduce": "reducing: sales only",
    "halt": "halted",
    "run": "asked to run now",
    "strategy": "has a new strategy",
}


@dataclass(frozen=True, slots=True)
class Control:
    """A request; `account` None is the whole floor."""

    id: int
    action: ControlAction
    account: str | None


def ask(
    store: Store,
    market: Market,
    action: ControlAction,
    account: str | None,
    actor: Actor = "operator",
    argument: str = "",
) -> list[str]:
    """Carry out and record a request; the accounts that it concerns. `argument` is the new strategy.

    Raises Refused `unknown_account`, `bad_strategy`, and `not_able` when the one trader asked to run may not.
    """
    known = {each.name: each for each in list_accounts(store) if each.kind != "baseline"}
    traders = [each.name for each in known.values() if each.kind == "trader"]
    if account is not None:
        account = normalise_name(account)
        if account not in known:
            raise Refused("unknown_account", f"there is no account {account}; there are {', '.join(traders) or 'none'}")
        if action == "run":
            _check_able(known[account])
    elif action == "strategy":
        raise Refused("bad_account", "a strategy is one trader's own: name the trader")
    concerned = traders if account is None else [account]
    clock = store.clock()
    if action == "strategy":
        check_strategy(argument)
    for name in concerned:
        if action == "pause":
            set_state(store, market, name, None, "", paused=True)
        elif action == "resume":
            set_state(store, market, name, "active", "", paused=False)
        elif action == "reduce":
            set_state(store, market, name, "reducing", f"the {actor} asked for sales only; `resume` lifts it")
        elif action == "halt":
            set_state(store, market, name, "halted", f"the {actor} halted it; `resume` lifts it")
        elif action == "strategy":
            write_account(store, name, strategy=argument, actor=actor)
    with store.write() as connection:
        lock_run(connection)  # so that ids follow the order of commits, by which a floor finds what is new
        connection.execute(
            insert(tables.controls).values(
                action=action,
                account=account,
                argument=argument if action == "strategy" else "",
                actor=actor,
                market_time=clock.now(),
                wall_time=clock.wall(),
            )
        )
    return concerned


def _check_able(account: AccountRecord) -> None:
    """Raises Refused `not_able` for an account that has no sessions, or none for now."""
    why = None
    if account.kind != "trader":
        why = f"{account.name} is a client's account: no trader of the floor's runs it"
    elif account.paused:
        why = f"{account.name} is paused, so it can't run: resume it first"
    elif account.state == "halted":
        why = f"{account.name} is halted, so it can't run: resume it first ({account.state_reason})"
    if why is not None:
        raise Refused("not_able", why)


def told(action: ControlAction, concerned: Sequence[str]) -> str:
    """What a request came to, as a sentence."""
    return f"{', '.join(concerned) or 'no trader'}: {_DONE[action]}"


def newest_control(store: Store) -> int:
    """The id of the newest request, 0 when there is none."""
    with store.read() as connection:
        return connection.execute(select(func.max(tables.controls.c.id))).scalar_one() or 0


def controls_after(store: Store, control_id: int, limit_rows: int = 100) -> list[Control]:
    """The requests made after `control_id`, oldest first."""
    table = tables.controls.c
    with store.read() as connection:
        rows = connection.execute(
            select(table.id, table.action, table.account)
            .where(table.id > control_id)
            .order_by(table.id)
            .limit(limit_rows)
        )
        return [Control(row.id, row.action, row.account) for row in rows]
