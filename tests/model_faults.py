"""What a model's server may do wrong, as data: each kind, what it answers, and what becomes of the session.

A kind answers whole or streamed, as it is asked.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from tests.model_loopback import Answer, Cut, Drip, Gone, Hang, Raw, Reply, Reset, too_many, tool_call

MB = 1_000_000
PIECE_CHARS = 50_000
SYMBOL = "AAPL"
EVENTS = {"content-type": "text/event-stream"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = b'ff\r\ndata: {"choices": [{"delta": {"content"'

Ends = Literal["goes on", "text", "failed", "timed_out"]
Make = Callable[[str, bool], Reply]
"""Of the trader's name and whether a stream is asked for."""


@dataclass(frozen=True)
class Fault:
    """`ends` is what becomes of the session: it goes on with the next call, the text ends AutoGen's run, or it is over.

    `says` is a pattern in the reason of a session that it ends; `fills` orders of its own are filled; `lasts`: the
    model does nothing else from then on; `is_costly`: it uses up the session's money; `is_blank`: the text is none;
    `is_retried`: the client asks again within the same call.
    """

    name: str
    make: Make
    ends: Ends
    says: str = ""
    fills: int = 0
    lasts: bool = False
    is_costly: bool = False
    is_blank: bool = False
    is_retried: bool = False


def plain(reply: Reply) -> Make:
    """The same, whether streamed or not."""
    return lambda _, __: reply


def body(whole: str | bytes) -> Make:
    """The text of an answer, as the one event of a stream where that is asked for."""

    def make(_: str, streamed: bool) -> Reply:
        data = whole.encode() if isinstance(whole, str) else whole
        if not streamed:
            return Raw(data)
        return Raw(b"data: " + data.replace(b'"message"', b'"delta"') + b"\n\ndata: [DONE]\n\n", headers=EVENTS)

    return make


def message(**fields: Any) -> Make:
    return body(completion(fields))


def completion(said: Mapping[str, Any], finish_reason: Any = "stop", **more: Any) -> str:
    return json.dumps({"choices": [{"message": said, "finish_reason": finish_reason}], **more})


def arguments(text: str, tool: str = "lookup_share_price") -> Make:
    """A call whose arguments are this text, well formed or not."""
    return plain(Answer(calls=[{"id": "fault", "type": "function", "function": {"name": tool, "arguments": text}}]))


def orders(*changes: Mapping[str, Any], ids: Sequence[str | None] = ("fault",)) -> Make:
    """An order for each id, or for each change of a good one."""

    def make(name: str, _: bool) -> Reply:
        good = {"name": name, "symbol": SYMBOL, "quantity": 1, "rationale": "a fault"}
        return Answer(
            calls=[
                tool_call("buy_shares", call_id, **{**good, **change}) for change in changes or ({},) for call_id in ids
            ]
        )

    return make


def long_text(text: str) -> Make:
    """Streamed in pieces of PIECE_CHARS."""
    return lambda _, streamed: _stream([{"content": part} for part in _cut(text)]) if streamed else Answer(text)


def long_call(name: str = "get_market_status", text: str = "{}", call_id: str = "fault") -> Make:
    """A call with a long name, arguments or id, streamed in pieces of PIECE_CHARS."""

    def make(_: str, streamed: bool) -> Reply:
        if not streamed:
            return Answer(calls=[_call(name, text, call_id)])
        deltas = [{"index": 0, "id": call_id, "function": {"name": part}} for part in _cut(name)]
        deltas += [{"index": 0, "function": {"arguments": part}} for part in _cut(text)]
        return _stream([{"tool_calls": [delta]} for delta in deltas])

    return make


def _stream(deltas: Sequence[Mapping[str, Any]]) -> Raw:
    choices = [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": "stop"}]
    events = [*(json.dumps({"choices": [choice]}) for choice in choices), "[DONE]"]
    return Raw("".join(f"data: {event}\n\n" for event in events), headers=EVENTS)


def _call(name: str, text: str, call_id: str = "fault") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _cut(text: str) -> list[str]:
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]


def usage(**counts: Any) -> Make:
    return body(completion({"content": "I hold."}, usage={"prompt_tokens": 10, "completion_tokens": 1} | counts))


def costly(is_text: bool) -> Make:
    """An answer that costs more than a session may."""
    said = {"content": "Well."} if is_text else {"tool_calls": [_call("get_market_status", "{}")]}
    return body(completion(said, usage={"prompt_tokens": 10_000_000, "completion_tokens": 10_000_000}))


def nested(depth: int, inside: str = "") -> str:
    return "[" * depth + inside + "]" * depth


def surplus(_: str, streamed: bool) -> Reply:
    """A good call whose Content-Length is too short by what follows it."""
    made = body(completion({"tool_calls": [_call("get_market_status", "{}")]}))("", streamed)
    assert isinstance(made, Raw)
    assert isinstance(made.body, bytes)
    return Raw(made.body + b"and more of it", 200, made.headers, claimed_bytes=len(made.body), stays_open=True)


@cache
def packed(layers: int) -> bytes:
    data = bytes(64 * MB)
    for _ in range(layers):
        data = gzip.compress(data, 6)
    return data


def bomb(layers: int) -> Make:
    """A thousand times larger than it looks, or a hundred thousand times."""
    return lambda _, __: Raw(packed(layers), headers={"content-encoding": ", ".join(["gzip"] * layers)})


GOOD = completion({"content": "I hold."})
EACH_A_CALL = [_call("get_market_status", "{}", f"fault_{at}") for at in range(129)]

FAULTS: tuple[Fault, ...] = (
    # the body
    Fault("broken JSON", body('{"choices": [{"message"'), "failed", "no JSON"),
    Fault("an empty body", plain(Raw(b"")), "failed", "no JSON"),
    Fault("bytes that are no text", body(b"\xff\xfe\x00\x80"), "failed", "no JSON"),
    Fault("a list for a body", body("[]"), "failed", "should be an object"),
    Fault("a number for a body", body("1e999"), "failed", "should be an object"),
    Fault("brackets without end", body("[" * 200_000), "failed", "no JSON"),
    Fault("a number of 5,000 digits", body('{"usage": ' + "9" * 5_000 + "}"), "failed", "no JSON"),
    Fault("empty choices", body('{"choices": []}'), "failed", "no choices"),
    Fault("choices of text", body('{"choices": "buy"}'), "failed", "choices should be a list"),
    Fault("a choice of null", body('{"choices": [null]}'), "failed", "should be an object"),
    Fault("a message of text", body('{"choices": [{"message": "buy"}]}'), "failed", "should be an object"),
    Fault("an error under 200", body('{"error": {"message": "died"}}'), "failed", "died"),
    Fault("a web page under 200", plain(Raw("<!doctype html><p>Sign in")), "failed", "web page"),
    # the message
    Fault("content of a number", message(content=10**30), "failed", "content should be a text"),
    Fault("content of parts", message(content=[{"type": "text", "text": "buy"}]), "failed", "content should be a text"),
    Fault("calls of an object", message(tool_calls={"name": "buy"}), "failed", "tool_calls should be a list"),
    Fault("a call of null", message(tool_calls=[None]), "failed", "should be an object"),
    Fault("a function of text", message(tool_calls=[{"function": "buy"}]), "failed", "should be an object"),
    Fault("a name of a number", message(tool_calls=[{"function": {"name": 7}}]), "failed", "name should be a text"),
    Fault("129 calls at once", message(tool_calls=EACH_A_CALL), "failed", "129 calls|more than 128 calls"),
    Fault("128 calls at once", message(tool_calls=EACH_A_CALL[:128]), "goes on"),
    Fault("deep brackets nobody reads", body(
        f'{{"choices": [{{"message": {{"content": "I hold."}}, "finish_reason": {nested(800)}}}]}}'), "text"),
    # what it says it used
    Fault("10**30 tokens", usage(prompt_tokens=10**30), "failed", "prompt_tokens should be"),
    Fault("negative tokens", usage(completion_tokens=-1), "failed", "completion_tokens should be"),
    Fault("tokens that are NaN", usage(prompt_tokens=float("nan")), "failed", "prompt_tokens should be"),
    Fault("tokens in words", usage(prompt_tokens="many"), "failed", "prompt_tokens should be"),
    Fault("usage of a list", body(completion({"content": "I hold."}, usage=[1])), "failed", "usage should be"),
    Fault("no usage", plain(Answer("I hold.", counts=False)), "text"),
    Fault("a call that costs too much", costly(is_text=False), "goes on", is_costly=True),
    Fault("a text that costs too much", costly(is_text=True), "text", is_costly=True),
    # what it asks for
    Fault("an invented tool", arguments("{}", "sell_everything"), "goes on"),
    Fault("a tool without a name", arguments("{}", ""), "goes on"),
    Fault("a tool name of 2 MB", long_call(name="x" * 2 * MB), "goes on"),
    Fault("an invented ticker", orders({"symbol": "ZZZZ"}, {"symbol": "А\u0410PL"}), "goes on"),
    Fault("wrong types", orders({"quantity": True}, {"quantity": [1]}, {"symbol": 7}, {"rationale": None}), "goes on"),
    Fault("huge numbers", orders({"quantity": 10**30}, {"quantity": 1e308}, {"quantity": -1}), "goes on"),
    Fault("numbers that are none", orders({"quantity": float("nan")}, {"quantity": float("-inf")}), "goes on"),
    Fault("another's account", orders({"name": "warren"}), "goes on"),
    Fault("broken arguments", arguments('{"symbol": "AA'), "goes on"),
    Fault("arguments of a list", arguments('["AAPL"]'), "goes on"),
    Fault("arguments of an object", message(tool_calls=[
        {"id": "fault", "function": {"name": "lookup_share_price", "arguments": {"symbol": SYMBOL}}}]), "goes on"),
    Fault("arguments 100,000 deep", arguments('{"symbol": ' + "[" * 100_000), "goes on"),
    Fault("arguments 900 deep", arguments('{"symbol": ' + nested(900) + "}"), "goes on"),
    Fault("arguments 90 deep", arguments('{"symbol": ' + nested(90) + "}"), "goes on"),
    Fault("arguments of 5,000 digits", arguments('{"symbol": ' + "9" * 5_000 + "}"), "goes on"),
    Fault("half a character in an argument", arguments(r'{"symbol": ["\ud800", {"\udfff": NaN}]}'), "goes on"),
    Fault("half a character in an order", orders({"rationale": "half \ud83d of it"}), "goes on", fills=1),
    Fault("NUL in an argument", arguments(r'{"symbol": "AA\u0000PL", "\u0000": 1}'), "goes on"),
    Fault("an argument of 2 MB", long_call("lookup_share_price", json.dumps({"symbol": "x" * 2 * MB})), "goes on"),
    Fault("one id for three orders", orders(ids=("same", "same", "same")), "goes on", fills=3),
    Fault("no id for two orders", orders(ids=(None, None)), "goes on", fills=2),
    Fault("an id of the call before", orders(ids=("step_0",)), "goes on", fills=1),
    Fault("an id of a number", message(tool_calls=[_call("get_market_status", "{}") | {"id": 7}]), "goes on"),
    Fault("an id of 2 MB", long_call(call_id="x" * 2 * MB), "goes on"),
    Fault("calls without end", arguments('{"symbol": "AAPL"}'), "failed", "all 12 turns", lasts=True),
    Fault("orders without end", orders(ids=("a", "b", "c", "d")), "failed", "all 12 turns", fills=99, lasts=True),
    # what it says
    Fault("empty text", plain(Answer("")), "text", is_blank=True),
    Fault("blank text", plain(Answer(" \n\t\u2003")), "text", is_blank=True),
    Fault("no text", message(content=None), "text", is_blank=True),
    Fault("nothing but empty text", plain(Answer("")), "failed", "without an appraisal", lasts=True),
    Fault("control characters", plain(Answer("\x1b]0;owned\x07\x1b[2J\x0b\x85\u202eI hold.")), "text"),
    Fault("NUL in the text", plain(Answer("I\0hold.\0")), "text"),
    Fault("half a character in the text", plain(Answer("half \ud83d of it \udfff")), "text"),
    Fault("2 MB of text", long_text("x" * 2 * MB), "text"),
    Fault("9 MB of text", long_text("x" * 9 * MB), "failed", "larger than 8,000,000 bytes"),
    Fault("2 MB of reasoning", message(content="I hold.", reasoning_content="y" * 2 * MB), "text"),
    # HTTP
    Fault("one 429", plain(too_many()), "goes on", is_retried=True),
    Fault("one 429 that says when", plain(too_many("1")), "goes on", is_retried=True),
    Fault("a 429 storm", plain(too_many()), "failed", r"\(429\).*tried 3 times", lasts=True),
    Fault("a 429 storm that says when", plain(too_many("2")), "failed", r"\(429\).*tried 3 times", lasts=True),
    Fault("a 429 for a year", plain(too_many("31536000")), "failed", r"\(429\).*31536000\.0 s away", lasts=True),
    Fault("a 429 until 9999", plain(too_many("Fri, 31 Dec 9999 23:59:59 GMT")), "failed", "s away", lasts=True),
    Fault("a 429 of nonsense", plain(too_many("soon\t-1e999")), "goes on", is_retried=True),
    Fault("one 500", plain(Raw('{"error": null}', 500)), "goes on", is_retried=True),
    Fault("500s", plain(Raw('{"error": "out of memory"}', 500)), "failed", r"\(500\).*tried 3", lasts=True),
    Fault("502s of HTML", plain(Raw("<html>" + "x" * MB, 502)), "failed", r"\(502\).*tried 3", lasts=True),
    Fault("a 401", plain(Raw("{}", 401)), "failed", "refuses the API key"),
    Fault("a 404", plain(Raw("no such model", 404)), "failed", "is not there"),
    Fault("a redirect", plain(Raw(b"", 307, {"location": "http://127.0.0.1:1/v1"})), "failed", "redirects"),
    Fault("a 101", plain(Raw(b"", 101, {"upgrade": "h2c", "connection": "upgrade"})), "goes on",
          is_retried=True),
    Fault("a 204", plain(Cut(b"HTTP/1.1 204 No Content\r\n\r\n")), "failed", "no JSON"),
    Fault("one that is no HTTP", plain(Cut(b"220 mail.example.com ESMTP\r\n")), "goes on", is_retried=True),
    Fault("a million headers", plain(Cut(b"HTTP/1.1 200 OK\r\n" + b"x-fault: 1\r\n" * 100_000)), "failed",
          "hung up.*tried 3", lasts=True),
    Fault("cookies", plain(Raw(GOOD, headers={"set-cookie": "a=" + "x" * 4_000})), "text"),
    Fault("a gzip bomb", bomb(1), "failed", "larger than 8,000,000 bytes"),
    Fault("a gzip bomb in a gzip bomb", bomb(2), "failed", "larger than 8,000,000 bytes"),
    Fault("gzip that is none", plain(Raw(b"{}", headers={"content-encoding": "gzip"})), "failed", "in the middle"),
    Fault("more than it said", surplus, "goes on"),
    Fault("less than it said", plain(Raw('{"choices"', claimed_bytes=900)), "failed", "in the middle"),
    Fault("a chunked body cut short", plain(Cut(CHUNKED + BEGUN)), "failed", "in the middle"),
    Fault("a chunk of no size", plain(Cut(CHUNKED + b"zz\r\n")), "failed", "in the middle"),
    Fault("a reset before the answer", plain(Reset()), "goes on", is_retried=True),
    Fault("a reset in the body", plain(Reset(HEAD + b'{"choices"')), "failed", "in the middle"),
    Fault("a server that dies", plain(Gone()), "failed", "can't be reached.*tried 3", lasts=True),
    # time
    Fault("silence", plain(Hang()), "timed_out", "not done within"),
    Fault("silence in the head", plain(Hang(b"HTTP/1.1 200 OK\r\ncontent-")), "timed_out", "not done within"),
    Fault("silence in the body", plain(Hang(HEAD + b'{"choices": [')), "timed_out", "not done within"),
    Fault("silence in a stream", plain(Hang(CHUNKED + BEGUN)), "timed_out", "not done within"),
    Fault("a slow drip", plain(Drip(HEAD, b" ")), "timed_out", "not done within"),
    Fault("comments without end", plain(Drip(CHUNKED, b"4\r\n: a\n\r\n")), "timed_out", "not done within"),
    Fault("headers without end", plain(Drip(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n")), "timed_out", "not done within"),
    Fault("100s without end", plain(Drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")), "timed_out", "not done within"),
)  # fmt: skip
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}
