"""`reset`: put the store aside as a copy, so that the next start makes a new one."""

from __future__ import annotations

import re
import sys
from contextlib import closing

from database import Store
from values.clock import wall_now
from values.errors import StoreEmpty, StoreUnusable
from values.settings import StoreSettings, load


def reset_store(yes: bool) -> int:
    """Ask, then move the store away; the exit code. Raises StoreUnusable while a floor runs on it."""
    address = load(StoreSettings).store_address
    path = address.path
    try:
        Store(address).close()
    except StoreEmpty:
        print(f"there is no store at {address}: nothing to reset")
        return 0
    stamp = re.sub(r"[^0-9]", "", wall_now().isoformat())[:14]
    copy = path.with_name(f"{path.name}.kept-{stamp}")
    if not yes:
        print(f"{address} will be kept as {copy.name}, and the next start makes a new store.")
        try:
            answer = input("Reset? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return 1
    with closing(Store(address)) as store:
        held = store.hold_floor()
        if held is None:
            raise StoreUnusable(f"a floor runs on {address} ({store.floor_holder()}): stop it first")
        try:
            # the copy is whole before the store goes, so that an interruption loses nothing
            store.backup(copy)
            store.discard()
            for memory in path.parent.glob(f"{path.name}.memory-*"):  # a new run must not remember the old one
                memory.rename(copy.with_name(copy.name + memory.name.removeprefix(path.name)))
        finally:
            held.release()
    print(f"kept as {copy}; the next `trading-floor run` makes a new store", file=sys.stdout)
    return 0
