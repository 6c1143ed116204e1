"""A venue and a clock as a recording has them: what they answer is recorded, or comes from the recording.

Questions leave out the time: a playback's own clock is a little later, and its answers carry the recorded times.
Outside a passage both are what they are over; a playback has no venue underneath, and shows what was seen last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import date, datetime
from typing import TypeVar

from pydantic import TypeAdapter

from recording.recording import Differs, Recording
from values.clock import Clock, iso, parse_time
from values.corporate_action import CorporateAction
from values.errors import Refused, UnknownSymbol, VenueUnavailable
from values.instrument import Instrument
from values.quote import Bar, Interval, MarketSession, Quote
from venues.venue import Venue

T = TypeVar("T")
_INSTRUMENT = TypeAdapter(Instrument)
_INSTRUMENTS = TypeAdapter(tuple[Instrument, ...])
_QUOTE = TypeAdapter(Quote)
_BARS = TypeAdapter(tuple[Bar, ...])
_ACTIONS = TypeAdapter(tuple[CorporateAction, ...])
_SESSION = TypeAdapter(MarketSession)
_UNRECORDED = {
    "session": {"is_open": False, "next_change": None, "note": "a run that was played back: it is over"},
    "instruments": [],
    "bars": [],
    "actions": [],
}
"""What is answered after a playback of what its run never asked."""


class RecordedVenue:
    """`venues.venue.Venue` on a recording. `venue` is None in a playback, which asks nobody."""

    def __init__(self, venue: Venue | None, recording: Recording, name: str) -> None:
        self._venue = venue
        self._recording = recording
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def instruments(self) -> tuple[Instrument, ...]:
        return self._answer("instruments", _INSTRUMENTS, lambda venue: venue.instruments())

    def instrument(self, symbol: str) -> Instrument:
        return self._answer(f"instrument {symbol}", _INSTRUMENT, lambda venue: venue.instrument(symbol))

    def quote(self, symbol: str, now: datetime) -> Quote:
        return self._answer(f"quote {symbol}", _QUOTE, lambda venue: venue.quote(symbol, now))

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        question = f"bars {symbol} {interval} {count}"
        return self._answer(question, _BARS, lambda venue: venue.bars(symbol, interval, count, now))

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        question = f"session {symbol or 'of any'}"
        return self._answer(question, _SESSION, lambda venue: venue.session(now, symbol))

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        question = f"actions of {' '.join(sorted(symbols))} from {first} to {last}"
        return self._answer(question, _ACTIONS, lambda venue: venue.corporate_actions(symbols, first, last))

    def _newest(self, question: str) -> str:
        """What was last recorded of it, by whomever, a price as stale: nobody trades on it."""
        found = self._recording.newest(question)
        if found is None:
            word = question.partition(" ")[0]
            if word not in _UNRECORDED:
                raise VenueUnavailable(f"{question}: nothing of it was recorded, and a playback asks nobody")
            return json.dumps({"answer": _UNRECORDED[word]})
        answer = json.loads(found)
        if question.startswith("quote ") and "answer" in answer:
            answer["answer"]["stale"] = True
        return json.dumps(answer)

    def _answer(self, question: str, adapter: TypeAdapter[T], ask: Callable[[Venue], T]) -> T:
        def answered() -> str:
            if self._venue is None:
                return self._newest(question)
            try:
                return json.dumps({"answer": adapter.dump_python(ask(self._venue), mode="json")})
            except UnknownSymbol as error:
                return json.dumps({"unknown": error.sentence})
            except Refused as error:
                return json.dumps({"refused": [error.code, error.sentence]})
            except VenueUnavailable as error:
                return json.dumps({"unavailable": str(error)})

        try:
            found = json.loads(self._recording.answer(question, answered))
        except Differs as error:
            raise VenueUnavailable(str(error)) from None
        if "answer" in found:
            return adapter.validate_python(found["answer"])
        if "unavailable" in found:
            raise VenueUnavailable(found["unavailable"])
        if "unknown" in found:
            raise UnknownSymbol.told(found["unknown"])
        raise Refused(*found["refused"])


class RecordedClock:
    """The run's clock, whose market time inside a passage is the recorded one. Wall time is always the machine's."""

    def __init__(self, clock: Clock, recording: Recording) -> None:
        self._clock = clock
        self._recording = recording

    def now(self) -> datetime:
        try:
            return parse_time(self._recording.answer("now", lambda: iso(self._clock.now())))
        except Differs as error:
            raise VenueUnavailable(str(error)) from None

    def wall(self) -> datetime:
        return self._clock.wall()
