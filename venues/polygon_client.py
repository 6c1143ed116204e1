"""Requests to Polygon's REST API (its vendor is now Massive), each within a deadline, without a retry or a redirect.

The key goes into one header and nowhere else; nothing of what an error says is repeated. Answers are bounded in time
and size, are JSON objects, and numbers keep their text (Decimal). `vendor_queue.py` keeps whoever asks to the plan.
Formats: massive.com/docs/rest and the vendor's own client library, `massive`, which the tests parse every fixture with.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx2
from pydantic import SecretStr

from values.clock import wall_now
from values.errors import VenueUnavailable
from values.money import EXACT, PRICE_DECIMALS

BASE_URL = "https://api.massive.com"
DEADLINE_S = 8.0
CONNECT_S = 4.0
BODY_BYTES_MAX = 16_000_000
LEFT_BEHIND_MAX = 8
"""Requests past their deadline that still hang, in a look-up of a name say: with so many, no new one starts."""

PRICE_DIGITS_MAX = 8
"""Digits before the point: a share at 100 million USD or more is an error of somebody's."""

Kind = Literal["rate", "key", "plan", "missing", "down", "garbled"]

_SENTENCES: Mapping[int, tuple[Kind, str]] = {
    400: ("garbled", "did not understand the request (status 400)"),
    401: ("key", "does not accept the key (status 401); look at POLYGON_API_KEY"),
    403: ("plan", "refuses this to the plan of the key (status 403)"),
    404: ("down", "has no such service at this address (status 404); look at POLYGON_BASE_URL"),
    429: ("rate", "gets more requests than the plan of this key allows (status 429)"),
}


class VendorFault(VenueUnavailable):
    """Why there is no answer. `kind` is for programs; `wait_s` is how long the vendor asks to wait."""

    def __init__(self, kind: Kind, sentence: str, wait_s: float | None = None) -> None:
        super().__init__(f"Polygon {sentence}")
        self.kind = kind
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def parsed(self) -> dict[str, Any]:
        """Raises VendorFault for what is no JSON object."""
        try:
            said = json.loads(self.body, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError, ArithmeticError):
            raise VendorFault("garbled", "answered with something other than JSON") from None
        if not isinstance(said, dict):
            raise VendorFault("garbled", "answered in a form that is not its own")
        return said


class PolygonClient:
    """One key at one address. Safe to use from several threads; keeps no connection, so that it may be forked."""

    def __init__(self, key: SecretStr, base_url: str = BASE_URL, *, deadline_s: float = DEADLINE_S) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        self.deadline_s = deadline_s
        self._places = threading.BoundedSemaphore(LEFT_BEHIND_MAX)

    def ask(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object that the vendor answers. Raises VendorFault; ends within `deadline_s` and half a second."""
        if not self._places.acquire(blocking=False):
            raise VendorFault("down", f"left {LEFT_BEHIND_MAX} earlier requests hanging; is there a network?")
        answers: queue.SimpleQueue[_Answer | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put(asyncio.run(self._get(path, dict(params or {}))))
            except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
                answers.put(error)
            finally:
                self._places.release()

        # a thread of its own: the caller may run an event loop, and a hanging name service can't be cancelled
        threading.Thread(target=work, name="polygon-request", daemon=True).start()
        try:
            outcome = answers.get(timeout=self.deadline_s + 0.5)
        except queue.Empty:
            outcome = TimeoutError()
        if isinstance(outcome, _Answer):
            return _read(outcome)
        if isinstance(outcome, VendorFault):
            raise outcome
        if isinstance(outcome, TimeoutError):
            raise VendorFault("down", f"did not answer within {self.deadline_s:g} s") from None
        if isinstance(outcome, httpx2.HTTPError | httpx2.InvalidURL | OSError | ValueError):
            raise VendorFault(
                "down", f"can't be reached ({type(outcome).__name__}); look at the network and POLYGON_BASE_URL"
            ) from None
        raise outcome

    async def _get(self, path: str, params: dict[str, str]) -> _Answer:
        key = self._key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json", "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        async with (
            asyncio.timeout(self.deadline_s),
            httpx2.AsyncClient(verify=_tls(), timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", f"{self._base_url}{path}", params=params, headers=headers) as response,
        ):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise VendorFault("garbled", "sent a compressed answer, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise VendorFault("garbled", f"sent more than {BODY_BYTES_MAX:,} bytes")
            # a gateway may show in its answer what it was asked with
            return _Answer(response.status_code, response.headers, bytes(body).replace(key.encode(), b"[key]"))


def cursor_of(said: Mapping[str, Any]) -> str | None:
    """The next page's cursor. Its address is not followed: only the cursor is taken from it."""
    url = said.get("next_url")
    if not isinstance(url, str) or len(url) > 4000:
        return None
    try:
        found = parse_qs(urlsplit(url).query).get("cursor", [])
    except ValueError:
        return None
    return found[0] if found else None


def rows_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of `results`; none where the vendor counts none. Raises VendorFault for any other form."""
    results = said.get("results")
    count = said.get("resultsCount", said.get("count"))
    if results is None and count == 0:
        return []
    if results is None and said.get("status") in ("OK", "DELAYED") and count is None and "request_id" in said:
        return []  # the reference services leave it out where nothing is found
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise VendorFault("garbled", "answered in a form that is not its own")
    return results


def price_of(value: object) -> Decimal | None:
    """A price in USD, half-even to the 8 decimals that the store keeps; None for what can't be one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite() or number <= 0 or not -PRICE_DECIMALS <= number.adjusted() < PRICE_DIGITS_MAX:
        return None
    price = number.quantize(Decimal(1).scaleb(-PRICE_DECIMALS), rounding=ROUND_HALF_EVEN, context=EXACT)
    return price if price > 0 else None


def time_of(value: object, units_a_second: int) -> datetime | None:
    """A Unix time in whole units, from 2000 to 2100; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if not 946_684_800 <= value // units_a_second <= 4_102_444_800:
        return None
    seconds, rest = divmod(value, units_a_second)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest * 1_000_000 // units_a_second)


def _read(answer: _Answer) -> dict[str, Any]:
    """What an answer says. Raises VendorFault with a sentence that holds nothing of what was sent."""
    status = answer.status
    if status == 200:
        said = answer.parsed()
        if said.get("status") == "NOT_AUTHORIZED":
            raise VendorFault(*_SENTENCES[403])
        if said.get("status") == "ERROR":
            raise VendorFault("garbled", "answered with an error")
        return said
    if status == 404 and _status_of(answer) in ("NOT_FOUND", "NotFound"):
        raise VendorFault("missing", "knows nothing of it (status 404)")
    if status == 429:
        wait_s = _wait_s(answer.headers.get("retry-after", "").strip(), wall_now())
        when = "" if wait_s is None else f"; it asks to wait {wait_s:,.0f} s"
        raise VendorFault("rate", f"{_SENTENCES[429][1]}{when}", wait_s)
    if 300 <= status < 400:
        raise VendorFault("down", f"points to another address (status {status}), which is not followed")
    if status in _SENTENCES:
        raise VendorFault(*_SENTENCES[status])
    raise VendorFault("down", f"{'failed on its side' if status >= 500 else 'gave no answer'} (status {status})")


def _status_of(answer: _Answer) -> object:
    try:
        return answer.parsed().get("status")
    except VendorFault:
        return None


def _wait_s(after: str, wall: datetime) -> float | None:
    """Retry-After in seconds: a whole number of them, or a date."""
    if re.fullmatch(r"\d{1,9}", after):
        return float(after)
    try:
        moment = parsedate_to_datetime(after)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - wall).total_seconds())
    except (ValueError, OverflowError):
        return None


def _no_number(text: str) -> None:
    raise ValueError(text)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Made once: it reads every root certificate, in 20 ms."""
    return httpx2.create_ssl_context()
