"""`--record FILE` and `--playback FILE`: a run on a recording, and the same run again, asking nobody.

A recording begins with a copy of the store. A playback makes a new store of that copy, starts the accounts servers
alone, and takes models, prices, research, memory and the market's time from the recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from database import Store
from market import Market, open_market, recorded
from recording.recording import Recording
from store.playback import copy_database, make_played_store
from trading_floor import Floor
from values.clock import parse_time
from values.errors import Refused
from values.schedule import Tape
from values.settings import FloorSettings


def hiding(secrets: Sequence[str]) -> Callable[[str], str]:
    """Text without any of `secrets`, also as JSON writes them."""
    forms = {form: "[secret]" for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}

    def hide(text: str) -> str:
        for form, mark in forms.items():
            text = text.replace(form, mark)
        return text

    return hide


def begin_recording(store: Store, market: Market, path: Path, settings: FloorSettings) -> Recording:
    """A new recording at `path`, with a copy of the store as it is. Raises Refused where the file can't be made."""
    store.backup(path)
    Recording.begin(path)
    recording = Recording(path, "record", hiding(settings.secrets))
    recording.note("minds closed", market.minds_closed)
    recording.note("market", market.name)
    return recording


def open_playback(path: Path, settings: FloorSettings) -> tuple[Store, Market, Recording, Tape]:
    """The new store, the market, the recording and the times of its cycles. Raises Refused."""
    address = settings.store_address
    if not address.is_file:
        raise Refused("no_playback", "a playback makes a new store in a file: DATABASE_URL=sqlite:///playback.db")
    recording = Recording(path, "play")
    if recording.passages("asked %"):
        raise Refused(
            "no_playback",
            f"{path} holds sessions that its owner asked for between two cycles (`run`): only whole cycles play back",
        )
    starts = [parse_time(answer) for _, _, answer in recording.passages("cycle % begins")]
    if not starts:
        raise Refused("no_playback", f"{path} holds no cycle: there is nothing to play back")
    make_played_store(path, address.path, hashlib.sha256(path.read_bytes()).hexdigest())
    copy_database(path, address.recording_path)
    store = Store(address)
    market = replace(open_market(store, settings), minds_closed=bool(recording.fact("minds closed")))
    tape = Tape(starts, recording.latest_time(), 0.0, has_end=bool(recording.passages("the end")))
    return store, recorded(market, recording), recording, tape


@contextlib.contextmanager
def ending_at_a_difference(floor: Floor, recording: Recording | None) -> Iterator[None]:
    """Stop the floor at the first thing that is not as it was recorded."""
    if recording is None:
        yield
        return
    loop = asyncio.get_running_loop()
    recording.on_difference = lambda: loop.call_soon_threadsafe(floor.stop)
    try:
        yield
    finally:
        recording.on_difference = None
