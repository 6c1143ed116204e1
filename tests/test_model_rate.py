"""One queue for all requests of a provider and key: a small plan is never broken, and nobody waits without end."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from autogen_core.models import LLMMessage, UserMessage
from hypothesis import given
from hypothesis import strategies as st

from model_clients.failures import RateLimited
from model_clients.gate import CLOSED_MAX_S, Gate, TooLong
from model_clients.language_model import LanguageModel
from model_clients.limits import Told, duration_s, limits_told
from model_clients.patience import Patience
from model_clients.providers import Providers
from tests.model_loopback import ModelLoopback, Raw, Reply
from tests.provider_wires import NAMES, TEXTS, error, judge_of, raw
from values.settings import ModelSettings, load

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEGIN: list[LLMMessage] = [UserMessage(content="Begin.", source="user")]
TRADERS = 4


class Clock:
    """Time that jumps to the next moment that anyone sleeps until, once nobody has anything else to do.

    It goes on only when `is_idle` says so: a request that is under way takes no time of this clock.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.asleep: list[tuple[float, asyncio.Event]] = []
        self.is_idle: Callable[[], bool] = lambda: True
        self.patience = Patience(self.sleep, lambda: self.now, lambda: 1.0, lambda: NOON + timedelta(seconds=self.now))

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.asleep.append((self.now + seconds, woken))
        await woken.wait()

    async def run(self, *calls: Any) -> list[Any]:
        """What the calls come to, their errors included; time goes on while they wait."""
        working = asyncio.gather(*calls, return_exceptions=True)
        while not working.done():
            await asyncio.sleep(0.001)  # sockets want real time, and nobody's clock
            if self.asleep and self.is_idle():
                self.asleep.sort(key=lambda each: each[0])
                at, woken = self.asleep.pop(0)
                self.now = max(self.now, at)
                woken.set()
                await asyncio.sleep(0.002)
        return await working


class Plan:
    """A provider that takes `limit` requests in any `window_s` seconds, or as a bucket that refills, and says so.

    `style` is how it tells: OpenAI's durations, Anthropic's times, or nothing but a 429 with a number or without.
    """

    def __init__(self, clock: Clock, style: str, limit: int, *, is_bucket: bool) -> None:
        self.clock, self.style, self.limit, self.is_bucket = clock, style, limit, is_bucket
        self.taken: deque[float] = deque()
        self.full = float(limit)
        self.at = 0.0
        self.refused = 0
        self.took = 0

    def answer(self, _: Mapping[str, Any]) -> Reply:
        now = self.clock.now
        if self.is_bucket:
            self.full, self.at = min(self.limit, self.full + (now - self.at) * self.limit / 60), now
            left, whole_s = self.full, (self.limit - self.full + 1) * 60 / self.limit
        else:
            while self.taken and self.taken[0] <= now - 60:
                self.taken.popleft()
            left, whole_s = self.limit - len(self.taken), 60.0
        if left < 0.999:
            self.refused += 1
            return self.refusal()
        self.took += 1
        self.full -= 1
        self.taken.append(now)
        return Raw(json.dumps(TEXTS[self.provider]), headers=self.headers(int(left - 0.999), whole_s))

    @property
    def provider(self) -> str:
        return {"anthropic": "anthropic", "google": "google"}.get(self.style, "openai")

    def headers(self, left: int, whole_s: float) -> dict[str, str]:
        if self.style == "openai":
            return {"x-ratelimit-limit-requests": str(self.limit), "x-ratelimit-remaining-requests": str(left),
                    "x-ratelimit-reset-requests": f"{int(whole_s // 60)}m{whole_s % 60:.3f}s"}  # fmt: skip
        if self.style == "anthropic":
            reset = (NOON + timedelta(seconds=self.clock.now + whole_s)).isoformat().replace("+00:00", "Z")
            named = {"limit": str(self.limit), "remaining": str(left), "reset": reset}
            return {f"anthropic-ratelimit-requests-{name}": value for name, value in named.items()}
        return {}

    def refusal(self) -> Raw:
        if self.style == "google":  # as in github.com/google-gemini/gemini-cli/issues/8437
            quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": str(self.limit)}
            retry = f"{self.taken[0] + 60 - self.clock.now:.3f}s"
            details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
                       {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry}]  # fmt: skip
            return raw(
                {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no", "details": details}}, 429
            )
        return raw(error("openai", 429, "Rate limit reached"), 429)


@asynccontextmanager
async def floor(clock: Clock, plan: Plan) -> AsyncIterator[tuple[ModelLoopback, list[LanguageModel]]]:
    """Four traders with a client each, on one key."""
    async with ModelLoopback(plan.answer, judge=judge_of(plan.provider)) as server:
        given: dict[str, Any] = {f"{plan.provider}_base_url": server.base_url, f"{plan.provider}_api_key": "k" * 20}
        providers = Providers(load(ModelSettings, **given), clock.patience)
        made = [providers.client(f"{plan.provider}/{NAMES.get(plan.provider, 'large')}") for _ in range(TRADERS)]
        clients = [client for client in made if isinstance(client, LanguageModel)]
        asked = [0]

        def is_idle() -> bool:
            """Nothing is on its way: the server has answered all that came, and it was read."""
            was, asked[0] = asked[0], len(server.requests)
            return server.open_now == 0 and was == asked[0]

        clock.is_idle = is_idle
        try:
            yield server, clients
        finally:
            for client in clients:
                await client.close()


async def trade(client: LanguageModel, turns: int) -> int:
    """Turns that were answered."""
    answered = 0
    for _ in range(turns):
        try:
            await client.create(BEGIN)
            answered += 1
        except RateLimited:
            break
    return answered


@pytest.mark.parametrize(
    ("style", "is_bucket", "limit"),
    [("openai", True, 5), ("openai", False, 5), ("anthropic", True, 6), ("anthropic", False, 8)],
)
async def test_four_traders_at_once_never_break_a_small_plan_that_tells_its_limits(
    style: str, is_bucket: bool, limit: int
) -> None:
    clock = Clock()
    plan = Plan(clock, style, limit, is_bucket=is_bucket)
    async with floor(clock, plan) as (_, clients):
        answered = await clock.run(*(trade(client, 3) for client in clients))
        assert plan.refused == 0
        assert plan.took == sum(answered) >= limit


async def test_a_plan_that_is_only_known_by_its_refusal_is_broken_once() -> None:
    """Gemini tells no limits in headers; its refusal names them."""
    clock = Clock()
    plan = Plan(clock, "google", 5, is_bucket=False)
    plan.taken.extend([-30.0, -30.0])  # the owner's own, under the same key
    async with floor(clock, plan) as (_, clients):
        answered = await clock.run(*(trade(client, 4) for client in clients))
        broken = plan.refused
        assert 1 <= broken <= TRADERS  # those that were under way together
        assert sum(answered) >= 8
        clock.now += 600
        await clock.run(*(trade(client, 2) for client in clients))
        assert plan.refused == broken


async def test_a_plan_that_says_nothing_is_learned_from_what_it_bore() -> None:
    clock = Clock()
    plan = Plan(clock, "silent", 6, is_bucket=False)
    async with floor(clock, plan) as (_, clients):
        await clock.run(*(trade(client, 4) for client in clients))
        broken = plan.refused
        assert 0 < broken <= 3 * TRADERS
        for _ in range(3):
            clock.now += 61
            await clock.run(*(trade(client, 1) for client in clients))
        assert plan.refused == broken


def gate_of(clock: Clock) -> Gate:
    return Gate(clock.patience)


async def opened_gate(clock: Clock, told: Mapping[str, Told]) -> Gate:
    """A gate that has heard its first answer."""
    gate = gate_of(clock)
    async with gate.passage({"requests": 1}, 55) as passage:
        gate.answered(passage, told)
    return gate


async def passes(gate: Gate, name: str, order: list[str], deadline: float = 1_000.0, tokens: float = 0) -> None:
    async with gate.passage({"requests": 1, "tokens": tokens}, deadline) as passage:
        order.append(name)
        gate.answered(passage, {})


async def test_the_first_request_goes_alone_and_the_others_follow_its_answer() -> None:
    clock = Clock()
    gate = gate_of(clock)
    order: list[str] = []
    async with gate.passage({"requests": 1}, 55) as first:
        others = [asyncio.ensure_future(passes(gate, name, order)) for name in "bcd"]
        await asyncio.sleep(0.01)
        assert order == []
        gate.answered(first, {})
    await asyncio.gather(*others)
    assert order == ["b", "c", "d"]


async def test_who_came_first_goes_first_and_who_is_cancelled_frees_his_place() -> None:
    clock = Clock()
    gate = await opened_gate(clock, {"requests": Told(1, 0, 30)})
    order: list[str] = []
    waiting = {name: asyncio.ensure_future(passes(gate, name, order)) for name in "abcd"}
    await asyncio.sleep(0.01)
    assert order == []
    waiting["a"].cancel()
    waiting["c"].cancel()
    await clock.run(*waiting.values())
    assert order == ["b", "d"]
    assert clock.now == pytest.approx(30 + 30, abs=1)
    assert not gate._line.locked()


async def test_a_turn_that_is_too_far_away_is_refused_at_once_with_how_far() -> None:
    clock = Clock()
    gate = await opened_gate(clock, {"requests": Told(10, 0, 600)})
    with pytest.raises(TooLong) as caught:
        await passes(gate, "a", [], deadline=55)
    assert caught.value.wait_s == pytest.approx(60)
    assert clock.now == 0


async def test_a_queue_that_does_not_move_ends_at_each_ones_deadline() -> None:
    gate = Gate()
    now = asyncio.get_running_loop().time()
    async with gate.passage({}, Patience().monotonic() + 55):
        with pytest.raises(TooLong) as caught:
            await passes(gate, "b", [], deadline=Patience().monotonic() + 0.05)
    assert caught.value.wait_s is None
    assert asyncio.get_running_loop().time() - now < 1


async def test_a_call_whose_turn_comes_too_late_says_so() -> None:
    clock = Clock()
    plan = Plan(clock, "openai", 1, is_bucket=False)
    async with floor(clock, plan) as (server, clients):
        await clients[0].create(BEGIN)
        with pytest.raises(
            RateLimited,
            match=r"large at http.* takes no request for now: this one's turn .* is 60\.0 s away, and a call",
        ):
            await clients[1].create(BEGIN)
        assert len(server.requests) == 1


async def test_tokens_are_kept_within_their_limit_too() -> None:
    clock = Clock()
    gate = await opened_gate(clock, {"tokens": Told(6_000, 6_000, 0), "requests": Told(1_000, 1_000, 0)})
    order: list[str] = []
    await clock.run(*(passes(gate, name, order, tokens=4_000) for name in "ab"))
    assert order == ["a", "b"]
    assert clock.now == pytest.approx(20, abs=0.1)
    await clock.run(passes(gate, "c", order, tokens=9_000))  # more than there ever is goes when all is there
    assert clock.now == pytest.approx(80, abs=1)


async def test_a_refusal_keeps_everyone_away_but_not_for_a_year() -> None:
    clock = Clock()
    gate = await opened_gate(clock, {})
    async with gate.passage({}, 1_000) as passage:
        gate.refused(passage, {}, 31_536_000, is_told=True, a_minute=None)
    order: list[str] = []
    await clock.run(passes(gate, "a", order), passes(gate, "b", order))
    assert (order, clock.now) == (["a", "b"], CLOSED_MAX_S)


async def test_a_hung_request_does_not_hold_up_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_clients.gate.ALONE_S", 0.02)
    gate = gate_of(Clock())
    order: list[str] = []
    async with gate.passage({}, 55):  # never answered
        await asyncio.wait_for(asyncio.gather(*(passes(gate, name, order) for name in "ab")), 5)
    assert order == ["a", "b"]


async def test_models_of_one_provider_are_counted_alone_where_their_provider_does_so() -> None:
    settings = load(ModelSettings, openai_api_key="k" * 20, openrouter_api_key="k" * 20)
    providers = Providers(settings)
    made = [providers.client(f"{name}/{model}") for name in ("openai", "openrouter") for model in "abb"]
    gates = [client._endpoint._gate for client in made if isinstance(client, LanguageModel)]
    assert [gates[0] is gates[1], gates[1] is gates[2]] == [False, True]
    assert [gates[3] is gates[4], gates[4] is gates[5], gates[2] is gates[3]] == [True, True, False]
    for client in made:
        await client.close()


HEADERS: Sequence[tuple[dict[str, str], dict[str, Told]]] = [
    # platform.openai.com/docs/guides/rate-limits
    ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984",
      "x-ratelimit-reset-tokens": "6m0s"}, {"requests": Told(60, 59, 1), "tokens": Told(150_000, 149_984, 360)}),
    # console.groq.com/docs/rate-limits
    ({"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14370",
      "x-ratelimit-reset-requests": "2m59.56s"}, {"requests": Told(14_400, 14_370, 179.56)}),
    # docs.anthropic.com/en/api/rate-limits
    ({"anthropic-ratelimit-input-tokens-limit": "50000", "anthropic-ratelimit-input-tokens-remaining": "49000",
      "anthropic-ratelimit-input-tokens-reset": "2026-03-02T12:00:30Z"}, {"input-tokens": Told(50_000, 49_000, 30)}),
    # openrouter.ai/docs/api/reference/limits
    ({"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772452840000"},
     {"requests": Told(20, 0, 40)}),
    # docs.x.ai tells no reset
    ({"x-ratelimit-limit-requests": "480", "x-ratelimit-remaining-requests": "479"}, {"requests": Told(480, 479, 60)}),
    ({"x-ratelimit-remaining-requests": "soon", "x-ratelimit-limit-requests": "-1"}, {}),
    ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "9999d"}, {"tokens": Told(5, 5, 86_400)}),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "tomorrow"}, {"tokens": Told(1, 0, 60)}),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "told"), HEADERS)
def test_what_a_provider_says_of_its_limits_is_read(headers: dict[str, str], told: dict[str, Told]) -> None:
    assert limits_told(headers, NOON) == told


@given(
    values=st.lists(
        st.text(max_size=20) | st.sampled_from(["1e999", "-0", "1m", "nan", "9" * 15]), min_size=3, max_size=3
    )
)
def test_no_header_stops_a_call(values: list[str]) -> None:
    told = limits_told(
        dict(zip([f"x-ratelimit-{each}-tokens" for each in ("limit", "remaining", "reset")], values, strict=True)), NOON
    )
    assert all(each.limit >= each.left >= 0 and 0 <= each.reset_s <= 86_400 for each in told.values())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120ms", 0.12),
        ("6m0s", 360),
        ("1h2m3s", 3_723),
        ("34.07s", 34.07),
        ("1d", 86_400),
        ("", None),
        ("7", None),
        ("s", None),
    ],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds
