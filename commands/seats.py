"""Who sits at which desk: a trader for each persona, with its model, its servers and its record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from database import Store
from desks.servers import Servers
from ledger.sessions import end_session_row, open_session_row
from model_clients.house import HouseModel
from model_clients.meter import Price
from model_clients.providers import client_for
from model_clients.recorded import RecordedClient
from personas import Persona
from push.events import Announcer
from recording.recording import Recording
from recording.session import FillOrder, SessionRecording
from tracers import LogTracer
from traders import SessionBounds, SessionEnd, Trader
from values.clock import Clock
from values.errors import Refused, StoreUnusable
from values.session import Mode, Outcome
from values.settings import Event, FloorSettings

logger = logging.getLogger("floor")

EVENTS: Mapping[Outcome, Event] = {"failed": "error", "timed_out": "error", "over_budget": "budget"}
"""As what a session's end is told; any other is a session's."""


@dataclass(slots=True)
class FloorRecorder:
    """Sessions' rows in the store, after their log rows; then a message to the owner of how each ended.

    A write is finished even when the floor is being stopped. Without an announcer nobody is told.
    """

    store: Store
    tracer: LogTracer
    announcer: Announcer | None = None
    _clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self._clock = self.store.clock()

    async def opened(self, session_id: str, account: str, mode: Mode, model: str) -> None:
        cycle = self.store.run().cycle
        await asyncio.to_thread(open_session_row, self.store, session_id, account, cycle, mode, model, self._clock)

    async def ended(self, end: SessionEnd) -> None:
        def write() -> None:
            if not self.tracer.flush():
                logger.warning("log rows of %s were not written in time", end.session_id)
            end_session_row(
                self.store,
                end.session_id,
                outcome=end.outcome,
                reason=end.reason,
                appraisal=end.appraisal,
                turns=end.turns,
                tool_calls=end.tool_calls,
                calls=end.model_calls,
                clock=self._clock,
            )

        await asyncio.shield(asyncio.to_thread(write))
        if self.announcer is not None and end.outcome != "interrupted":
            await asyncio.to_thread(self._tell, self.announcer, end)

    def _tell(self, announcer: Announcer, end: SessionEnd) -> None:
        """A row and no more: a session neither waits nor fails for a message."""
        try:
            announcer.announce(
                EVENTS.get(end.outcome, "session"),
                end.account,
                f"{end.account}: session {end.outcome.replace('_', ' ')}",
                end.appraisal or end.reason,
                about=f"session {end.session_id}",
                session_id=end.session_id,
            )
        except (Refused, StoreUnusable) as error:
            logger.info("the owner is not told of %s's session: %s", end.account, error)


@contextlib.asynccontextmanager
async def seats(
    personas: Sequence[Persona],
    servers: Servers,
    recorder: FloorRecorder,
    settings: FloorSettings,
    recording: Recording | None = None,
) -> AsyncIterator[dict[str, Trader]]:
    """The traders by name. Their model clients are closed with the context: each has its own, and with it its own
    connections, so that what a server writes to one is never taken for its answer to another.

    Raises BadSetting for a model that can't be had.
    """
    asking = () if settings.model == "house" else personas
    clients = {persona.name: client_for(settings.model, settings) for persona in asking}
    bounds = SessionBounds(
        settings.session_turns,
        float(settings.session_seconds),
        Decimal(settings.session_cents) / 100,
        Price(settings.model_input_usd or Decimal(0), settings.model_output_usd or Decimal(0)),
    )
    traders = {}
    fills = None if recording is None else FillOrder(recording)
    for persona in personas:
        house = HouseModel(persona.rulebook)
        model = settings.model if clients else house.name
        client = clients.get(persona.name, house)
        tape = None if fills is None or recording is None else SessionRecording(recording, persona.name, fills)
        traders[persona.name] = Trader(
            persona.name,
            persona.last_name,
            model,
            prompt=persona.prompt,
            client=client if tape is None else RecordedClient(model, None if tape.is_playing else client, tape),
            recording=tape,
            servers=servers.of(persona.name),
            recorder=recorder,
            tracer=recorder.tracer.tracer,
            bounds=bounds,
        )
    try:
        yield traders
    finally:
        for client in clients.values():
            await client.close()
