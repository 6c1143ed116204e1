"""What the owner asks for, each request a row that stays: pause, resume, reduce, halt, run now.

The request changes the accounts itself, in whatever process it is made, so it holds with the floor or without; a
running floor reads the new rows to cancel the sessions of a halted trader and to run at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, insert, select

from accounts import list_accounts, set_state
from database import Actor, Store
from market import Market
from store import tables
from values.errors import Refused
from values.names import normalise_name

ControlAction = Literal["pause", "resume", "reduce", "halt", "run"]


@dataclass(frozen=True, slots=True)
class Control:
    """A request; `account` None is the whole floor."""

    id: int
    action: ControlAction
    account: str | None


def ask(
    store: Store, market: Market, action: ControlAction, account: str | None, actor: Actor = "operator"
) -> list[str]:
    """Carry out and record a request; the accounts that it concerns. Raises Refused `unknown_account`."""
    traders = [each.name for each in list_accounts(store) if each.kind == "trader"]
    if account is not None:
        account = normalise_name(account)
        if account not in {each.name for each in list_accounts(store) if each.kind != "baseline"}:
            raise Refused("unknown_account", f"there is no account {account}; there are {', '.join(traders) or 'none'}")
    concerned = traders if account is None else [account]
    clock = store.clock()
    for name in concerned:
        if action == "pause":
            set_state(store, market, name, None, "", paused=True)
        elif action == "resume":
            set_state(store, market, name, "active", "", paused=False)
        elif action == "reduce":
            set_state(store, market, name, "reducing", f"the {actor} asked for sales only; `resume` lifts it")
        elif action == "halt":
            set_state(store, market, name, "halted", f"the {actor} halted it; `resume` lifts it")
    with store.write() as connection:
        connection.execute(
            insert(tables.controls).values(
                action=action,
                account=account,
                argument="",
                actor=actor,
                market_time=clock.now(),
                wall_time=clock.wall(),
            )
        )
    return concerned


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
