"""Who sits at which desk: a trader for each persona, with its model, its servers, its record and the floor's budget."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from database import Store
from desks.guests import Guests, Invited
from desks.servers import Servers
from ledger.sessions import end_session_row, open_session_row
from model_clients.budget import Budget, CapNear
from model_clients.choice import Choice, choose, route
from model_clients.house import HouseModel
from model_clients.prices import Prices
from model_clients.providers import Providers
from model_clients.recorded import RecordedClient
from model_clients.routing import Candidate, Rests, Route
from personas import Persona
from push.events import Announcer
from recording.recording import Recording
from recording.session import FillOrder, SessionRecording
from tracers import LogTracer
from traders import SessionBounds, SessionEnd, Trader
from values.clock import Clock
from values.errors import Refused, StoreUnusable
from values.session import Mode, Outcome
from values.settings import Event, FloorSettings, ModelSettings

logger = logging.getLogger("floor")

EVENTS: Mapping[Outcome, Event] = {"failed": "error", "timed_out": "error", "over_budget": "budget"}
"""As what a session's end is told; any other is a session's."""


class Models:
    """Who is asked: what was chosen for each trader, and the ways there. Raises BadSetting for what can't be had."""

    def __init__(
        self, personas: Sequence[Persona], settings: ModelSettings, recording: Recording | None = None
    ) -> None:
        """In a playback nobody is asked, and what was chosen is on the recording."""
        self._providers = Providers(settings)
        self._prices = Prices(settings.prices_path, settings.base_urls)
        self._rests = Rests()
        if recording is not None and recording.is_playing:
            kept = dict(recording.fact("models"))  # type: ignore[call-overload]
            self.choice = Choice({name: tuple(models) for name, models in kept.items()}, ())
        else:
            self.choice = choose(personas, settings, self._providers, self._prices)

    def route(self, persona: Persona, tape: SessionRecording | None = None) -> Route:
        """To be closed by the caller. On a playback's tape it costs nothing."""
        models = self.choice.models[persona.name]
        house = HouseModel(persona.rulebook)
        if tape is not None and tape.is_playing:
            played = [Candidate(each, RecordedClient(each, None, tape)) for each in models or (house.name,)]
            return Route(played, self._rests)
        live = route(models, self._providers, self._prices, self._rests) if models else Route.to(house.name, house)
        if tape is None:
            return live
        kept = [replace(each, client=RecordedClient(each.model, each.client, tape)) for each in live.candidates]
        return Route(kept, self._rests)

    @property
    def shown(self) -> str:
        """All of them in a few words, for the floor's first line."""
        if self.choice.is_house:
            return "house (rule-based)"
        each = {name: models[0] if models else "house" for name, models in self.choice.models.items()}
        if len(set(each.values())) == 1:
            return next(iter(each.values()))
        return ", ".join(f"{name} {model}" for name, model in each.items())


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

    def tell_cap_near(self, near: CapNear) -> None:
        """The owner hears of each day's cap once."""
        logger.warning("%s", near.sentence)
        if self.announcer is None:
            return
        whose = near.account or "the floor"
        try:
            self.announcer.announce(
                "budget", near.by, f"budget: {whose}", near.sentence, about=f"cap of {whose} on {near.day}"
            )
        except (Refused, StoreUnusable) as error:
            logger.info("the owner is not told of the cap of %s: %s", whose, error)


@contextlib.asynccontextmanager
async def seats(
    personas: Sequence[Persona],
    servers: Servers,
    recorder: FloorRecorder,
    settings: FloorSettings,
    models: Models,
    recording: Recording | None = None,
    guests: Guests | None = None,
) -> AsyncIterator[dict[str, Trader]]:
    """The traders by name. Their model clients are closed with the context: each has its own, and with it its own
    connections, so that what a server writes to one is never taken for its answer to another; what they share is the
    provider's rate limit.

    Raises BadSetting for a model that can't be had.
    """
    bounds = SessionBounds(
        settings.session_turns,
        float(settings.session_seconds),
        Decimal(settings.session_cents) / 100,
        settings.session_searches,
    )
    budget = Budget(
        recorder.store,
        Decimal(settings.trader_day_cents) / 100,
        Decimal(settings.floor_day_cents) / 100,
        recorder.tell_cap_near,
    )
    await asyncio.to_thread(budget.settle_abandoned, of_others=True)
    async with contextlib.AsyncExitStack() as open_routes:
        traders = {}
        fills = None if recording is None else FillOrder(recording)
        for persona in personas:
            tape = None if fills is None or recording is None else SessionRecording(recording, persona.name, fills)
            route = models.route(persona, tape)
            open_routes.push_async_callback(route.close)
            traders[persona.name] = Trader(
                persona.name,
                persona.last_name,
                route,
                prompt=persona.prompt,
                recording=tape,
                servers=servers.of(persona.name),
                recorder=recorder,
                tracer=recorder.tracer.tracer,
                bounds=bounds,
                budget=budget,
                invited=Invited(guests, persona.servers),
            )
        yield traders
