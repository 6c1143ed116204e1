"""What can be wrong with an answer of the live market's vendor, and the words that its reader gets for it."""

from __future__ import annotations

from tests import faulty_http as http
from tests.faulty_http import Reply
from tests.polygon_loopback import refusal
from venues.polygon_client import BODY_BYTES_MAX

UNREADABLE: tuple[object, ...] = ("1", None, True, -3, 0, [], 1e300)
FAULTS: dict[str, tuple[Reply, str]] = {
    "429": (refusal(429, "ERROR", "You've exceeded the maximum requests per minute.", "error"), "more requests than"),
    "429 with Retry-After": (http.answer({}, 429, Retry_After="7"), "asks to wait 7 s"),
    "401": (refusal(401, "ERROR", "Unknown API Key", "error"), "does not accept the key"),
    "403": (refusal(403, "NOT_AUTHORIZED", "You are not entitled to this data."), "plan"),
    "404": (http.answer(b"404 page not found", 404), "POLYGON_BASE_URL"),
    "500": (http.answer(b"oops", 500), "status 500"),
    "502": (http.answer(b"<h1>Bad gateway</h1>", 502), "status 502"),
    "503": (http.answer(b"", 503), "status 503"),
    "a page": (http.answer(b"<html>sign in</html>", Content_Type="text/html"), "other than JSON"),
    "cut JSON": (http.cut_short({"status": "OK", "results": [{"T": "AAPL", "c": 1}]}), "other than JSON"),
    "an error with status 200": (refusal(200, "ERROR", "oops", "error"), "answered with an error"),
    "an empty object": (http.answer({}), "not its own"),
    "a list": (http.answer([]), "not its own"),
    "an empty list": (http.answer({"results": [], "ticker": {}, "status": "OK", "resultsCount": 0}), ""),
    "wrong types": (http.answer({"results": "none", "ticker": 7, "status": "OK", "resultsCount": "x"}), "not its own"),
    "prices of wrong types": (
        http.answer({"results": [{"T": "AAPL", "c": each} for each in UNREADABLE]}),
        "can't be read",
    ),
    "not a number": (http.answer(b'{"results": [{"T": "AAPL", "c": NaN}]}'), "other than JSON"),
    "fewer than announced": (http.answer({"results": [{"T": "A", "c": 1}], "resultsCount": 2}), "announced 2"),
    "nested JSON": (http.answer(b"[" * 100_000), "other than JSON"),
    "not UTF-8": (http.answer(b'{"results": "\xff"}'), "other than JSON"),
    "a gzip bomb": (http.bomb(8), "compressed"),
    "a large body": (http.answer(b" " * (BODY_BYTES_MAX + 1)), "more than"),
    "a byte now and then": (http.drip, "did not answer within 0.3 s"),
    "silence": (http.silence, "did not answer within 0.3 s"),
    "a reset": (http.reset, "can't be reached"),
    "a reset in mid-body": (http.reset_midway, "can't be reached"),
    "no HTTP": (http.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "can't be reached"),
}
"""Each by its name. The words are of the question for the closes of a day; `0.3 s` is what the tests give a request."""
