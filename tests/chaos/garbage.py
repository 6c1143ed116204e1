"""Lines that are no call: what a broken or hostile client writes to a server's standard input."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.raw_stdio import call, encoded, request

ORDER = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "a test"}
BAD_REQUEST, NO_METHOD, BAD_PARAMS, UNREADABLE = -32600, -32601, -32602, -32700


@dataclass(frozen=True, slots=True)
class Frame:
    """A bad line. `code`: of the error that its id gets; without an id, nothing may come back."""

    line: bytes
    id: object = None
    code: int = 0


def frames(chance: random.Random) -> Iterator[Frame]:
    """Bad lines without end, every kind in turn. None can be a trade, though many are made of one."""
    number = 0
    while True:
        for make in MAKERS:
            number += 1
            yield make(chance, f"bad {number}" if chance.random() < 0.5 else 1_000 + number)


def _random_bytes(chance: random.Random, _: object) -> Frame:
    return Frame(chance.randbytes(chance.randint(1, 400)).replace(b"\n", b"").replace(b"{", b""))


def _half_json(chance: random.Random, request_id: object) -> Frame:
    """A trade that breaks off: it says its id first, as one library writes it, or never comes to say it."""
    whole, code = encoded(call(request_id, "buy_shares", **ORDER)), UNREADABLE
    if chance.random() < 0.5:
        whole = encoded({"method": "tools/call", "params": {"arguments": ORDER}, "jsonrpc": "2.0", "id": request_id})
        return Frame(whole[: chance.randint(1, whole.index(b'"id"'))])
    return Frame(whole[: chance.randint(whole.index(b'"params"'), len(whole) - 1)], request_id, code)


def _wrong_version(chance: random.Random, request_id: object) -> Frame:
    version = chance.choice(["1.0", "2", "3.0", "", 2.0, 2, None, ["2.0"], True])
    line = encoded(call(request_id, "buy_shares", **ORDER) | {"jsonrpc": version})
    # a version that is no text stands before the id, where its end is not looked for
    return Frame(line, request_id, BAD_REQUEST) if isinstance(version, str) else Frame(line)


def _unknown_method(chance: random.Random, request_id: object) -> Frame:
    method = chance.choice(["", "tools/Call", "__init__", "rpc.discover", "../../tools/call", "x" * 100_000, "\u202e"])
    return Frame(encoded(request(request_id, method)), request_id, NO_METHOD)


def _bad_params(chance: random.Random, request_id: object) -> Frame:
    params = chance.choice([[], ["buy_shares", ORDER], "buy_shares", 1, True])
    return Frame(encoded(request(request_id, "tools/call", params)), request_id, BAD_REQUEST)


def _bad_call(chance: random.Random, request_id: object) -> Frame:
    params = chance.choice([{}, {"name": 1}, {"name": None, "arguments": ORDER}, {"name": "x", "arguments": [1]}])
    return Frame(encoded(request(request_id, "tools/call", params)), request_id, BAD_PARAMS)


def _huge_id(chance: random.Random, _: object) -> Frame:
    """An integer id of any length that Python converts gets its answer; one beyond it is nobody's."""
    if chance.random() < 0.5:
        number = 10 ** chance.randint(19, 4_000)
        return Frame(encoded(request(number, "tools/none")), number, NO_METHOD)
    return Frame(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % (b"9" * chance.randint(4_500, 9_000)))


def _odd_id(chance: random.Random, _: object) -> Frame:
    odd = chance.choice([None, True, 1.5, [], {}, [1], float("nan"), {"$ne": 1}])
    return Frame(encoded(call(odd, "buy_shares", **ORDER)))


def _batch(chance: random.Random, request_id: object) -> Frame:
    return Frame(encoded([call(request_id, "buy_shares", **ORDER)] * chance.randint(0, 5)))


def _response_to_nothing(chance: random.Random, request_id: object) -> Frame:
    told: dict[str, Any] = chance.choice(
        [{"result": {}}, {"error": {"code": 1, "message": "m"}}, {"result": 5}, {"error": None}]
    )
    return Frame(encoded({"jsonrpc": "2.0", "id": request_id} | told))


def _notification_for_nothing(chance: random.Random, request_id: object) -> Frame:
    method, params = chance.choice([
        ("notifications/cancelled", {"requestId": request_id}), ("notifications/cancelled", {"requestId": {}}),
        ("notifications/progress", {"progressToken": request_id, "progress": 1}), ("notifications/initialized", []),
        ("notifications/none", {}), ("tools/call", {"name": "buy_shares", "arguments": ORDER}),
    ])  # fmt: skip
    return Frame(encoded({"jsonrpc": "2.0", "method": method, "params": params}))


def _invalid_utf8(chance: random.Random, request_id: object) -> Frame:
    bad = chance.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe2\x82"])
    line = encoded(call(request_id, "buy_shares", **ORDER)).replace(b"a test", b"a " + bad + b" test")
    return Frame(line, request_id, UNREADABLE)


def _unreadable_value(chance: random.Random, request_id: object) -> Frame:
    """Well-formed JSON that the reader has no value for; the id stands first or last."""
    value = chance.choice([b'"\\ud800"', b"9" * 5_000, b"[" * 300 + b"]" * 300, b'"\\u12"', b"1e", b"+1", b"0x10"])
    whole = encoded(call(request_id, "buy_shares", **ORDER))
    if chance.random() < 0.5:
        params = whole[whole.index(b'"params"') : -1]
        whole = b'{"method":"tools/call",' + params + b',"jsonrpc":"2.0","id":' + encoded(request_id) + b"}"
    return Frame(whole.replace(b'"a test"', value), request_id, UNREADABLE)


def _blank(chance: random.Random, _: object) -> Frame:
    return Frame(
        chance.choice([b"", b" ", b"\t\r", b"null", b"0", b'"ping"', b"{}", b"[]", b"\x00\x00", b"\xef\xbb\xbf"])
    )


MAKERS: tuple[Callable[[random.Random, object], Frame], ...] = (
    _random_bytes, _half_json, _wrong_version, _unknown_method, _bad_params, _bad_call, _huge_id, _odd_id, _batch,
    _response_to_nothing, _notification_for_nothing, _invalid_utf8, _unreadable_value, _blank,
)  # fmt: skip
