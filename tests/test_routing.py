"""Which model answers a trader, what it costs, and what is held for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from autogen_core.models import LLMMessage, SystemMessage, UserMessage
from opentelemetry.trace import NoOpTracer

from model_clients.choice import choose
from model_clients.failures import ModelUnavailable, RateLimited, RequestRefused
from model_clients.meter import Meter, MeteredClient
from model_clients.patience import Patience
from model_clients.prices import FREE, Price, Prices
from model_clients.providers import TIERS, Providers
from model_clients.routing import REST_MAX_S, REST_S, Candidate, Rests, Route
from personas import load_personas
from tests.scripted import Reply, ScriptedModel
from values.clock import wall_now
from values.errors import BadSetting
from values.settings import ModelSettings, load
from values.usage import ModelCall, Rates, Tokens

RATES = Rates(Decimal(2), Decimal("0.5"), Decimal("2.5"), Decimal(10))
SAID: list[LLMMessage] = [SystemMessage(content="You are a test."), UserMessage(content="Begin.", source="user")]
DOWN, LIMITED = ModelUnavailable("openai/a is down"), RateLimited("openai/a is full")


@dataclass
class Seat:
    """A session over two models of a tier; `now` is what the rests go by."""

    first: ScriptedModel
    second: ScriptedModel
    now: float = 0.0
    meter: Meter = field(default_factory=lambda: Meter(30, Decimal(1)))

    def __post_init__(self) -> None:
        rests = Rests(Patience(monotonic=lambda: self.now))
        self.route = Route((Candidate("openai/a", self.first), Candidate("groq/b", self.second)), rests)
        self.client = MeteredClient(self.route, self.meter, NoOpTracer())

    async def answer(self) -> object:
        return (await self.client.create(SAID)).content

    @property
    def answered(self) -> list[str]:
        return [call.model for call in self.meter.calls]


def seat(*first: Reply) -> Seat:
    return Seat(ScriptedModel(*first), ScriptedModel("From b."))


@pytest.mark.parametrize("failure", [DOWN, LIMITED], ids=["down", "limited"])
async def test_of_a_tier_the_next_answers_while_the_first_is_down_and_the_first_again_after_its_rest(
    failure: Exception,
) -> None:
    two = seat(failure, "From a.")
    assert [await two.answer(), await two.answer()] == ["From b.", "From b."]
    assert len(two.first.heard) == 1
    two.now = REST_S
    assert await two.answer() == "From a."
    assert two.answered == ["groq/b", "groq/b", "openai/a"]
    assert two.meter.turns == 3
    assert two.meter.changes == [
        f"from turn 1 on groq/b instead of openai/a: {failure}",
        "from turn 3 on openai/a instead of groq/b: its rest is over",
    ]


async def test_a_model_that_stays_down_rests_longer_each_time_up_to_a_limit() -> None:
    two = seat(DOWN)
    rests = []
    for _ in range(7):
        await two.answer()
        rests.append(two.route.rests.left_s("openai/a"))
        two.now += rests[-1]
    assert rests == [REST_S, 120, 240, 480, REST_MAX_S, REST_MAX_S, REST_MAX_S]


async def test_a_model_that_answered_again_rests_shortly_the_next_time() -> None:
    two = seat(DOWN, DOWN, "From a.", DOWN)
    for _ in range(4):
        await two.answer()
        two.now += REST_MAX_S
    assert two.route.rests.left_s("openai/a") == 0
    two.now -= REST_MAX_S
    assert two.route.rests.left_s("openai/a") == REST_S


async def test_a_refused_request_is_not_asked_of_another() -> None:
    two = seat(RequestRefused("openai/a refuses the API key"))
    with pytest.raises(RequestRefused):
        await two.answer()
    assert two.second.heard == []


async def test_when_all_are_out_the_last_failure_is_told_and_the_first_to_wake_is_asked_next() -> None:
    two = Seat(ScriptedModel(DOWN, "From a."), ScriptedModel(RateLimited("groq/b is full")))
    with pytest.raises(RateLimited, match="groq/b is full"):
        await two.answer()
    assert await two.answer() == "From a."


async def test_a_model_named_exactly_is_never_replaced() -> None:
    model = ScriptedModel(DOWN, "From a.")
    route = Route.to("openai/a", model)
    client = MeteredClient(route, Meter(30, Decimal(1)), NoOpTracer())
    with pytest.raises(ModelUnavailable):
        await client.create(SAID)
    assert route.rests.left_s("openai/a") == 0
    assert (await client.create(SAID)).content == "From a."  # and needs no rest


@dataclass
class Held:
    """A budget that only remembers what was held."""

    most: list[ModelCall] = field(default_factory=list)

    async def reserve(self, session_id: str, account: str, most: ModelCall) -> int:
        self.most.append(most)
        return 1

    async def settle(self, reservation: int, call: ModelCall | None) -> None: ...


async def test_a_conversation_that_goes_on_is_held_by_what_its_last_request_had() -> None:
    held = Held()
    meter = Meter(30, Decimal(1), budget=held)
    client = MeteredClient(Route.to("openai/a", ScriptedModel("Hello."), Price.flat(RATES)), meter, NoOpTracer())
    await client.create(SAID)
    await client.create([*SAID, *SAID])
    await client.create([SAID[0], UserMessage(content="Another conversation.", source="user")])
    first, goes_on, another = held.most
    assert first.tokens == another.tokens == Tokens(1_100, 10, written=1_100)
    assert goes_on.tokens == Tokens(100, 10, written=100)


def test_a_long_prompt_costs_what_long_prompts_cost_all_of_it() -> None:
    long = Rates(Decimal(4), Decimal(1), Decimal(4), Decimal(15))
    price = Price(((-1, RATES), (200_000, long)))
    assert (price.rates(200_000), price.rates(200_001)) == (RATES, long)
    assert price.most(200_000, 10) == (RATES, Tokens(200_000, 10, written=200_000))
    assert price.most(200_001, 10) == (long, Tokens(200_001, 10))


def test_cached_tokens_are_counted_at_their_own_price_and_the_cost_is_rounded_half_even() -> None:
    assert RATES.cost(Tokens(1_000, 100, cached=600, written=300)) == Decimal("0.00225")
    half = Rates.plain(Decimal("0.5"), Decimal("0.5"))
    assert [half.cost(Tokens(read, 0)) for read in (1, 3)] == [Decimal("0"), Decimal("0.000002")]


def test_known_prices_come_with_the_library_and_a_local_server_and_ollama_cost_nothing() -> None:
    prices = Prices(None, {"openai": "http://127.0.0.1:8000/v1"})
    known = prices.of("openai/gpt-5-mini", wall_now()).rates(1)
    assert 0 < known.cached_usd < known.input_usd < known.output_usd
    assert prices.of("grok/grok-4", wall_now()).rates(1).output_usd > 0
    assert prices.of("openai/qwen3-of-mine", wall_now()) == prices.of("ollama/qwen3", wall_now()) == FREE


def test_an_unknown_price_refuses_the_model_until_the_owner_says_what_to_count(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r'a table \["openai/unheard-of"\] with input_usd and output_usd'):
        Prices().of("openai/unheard-of", wall_now())
    table = tmp_path / "prices.toml"
    table.write_text(
        '["openai/unheard-of"]\ninput_usd = 0.1\noutput_usd = 2\n'
        '["openai/gpt-5-mini"]\ninput_usd = 7\noutput_usd = 8\ncached_usd = 0.07\n'
    )
    prices = Prices(table)
    assert prices.of("openai/unheard-of", wall_now()).rates(1) == Rates.plain(Decimal("0.1"), Decimal(2))
    own = Rates(Decimal(7), Decimal("0.07"), Decimal(7), Decimal(8))
    assert prices.of("openai/gpt-5-mini", wall_now()).rates(1) == own


@pytest.mark.parametrize(
    "text",
    [
        "[not toml", '["openai/a"]\ninput_usd = 1\n', '["openai/a"]\ninput_usd = 1\noutput_usd = -1\n',
        '["openai/a"]\ninput_usd = 1\noutput_usd = nan\n', '["openai/a"]\ninput_usd = true\noutput_usd = 1\n',
        '["a"]\ninput_usd = 1\noutput_usd = 1\n', '["openai/a"]\ninput_usd = 1\noutput_usd = 1\nper = 1000\n',
        '"openai/a" = 3\n', '["openai/a"]\ninput_usd = "1"\noutput_usd = 1\n',
        '["openai/a"]\ninput_usd = 0.0000000001\noutput_usd = 1\n', None,
    ],
)  # fmt: skip
def test_a_table_of_prices_that_can_not_be_read_is_refused_by_name(text: str | None, tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    if text is not None:
        table.write_text(text)
    with pytest.raises(BadSetting, match="MODEL_PRICES"):
        Prices(table)


class Keyed(Providers):
    """Providers that have keys as a test says."""

    def __init__(self, *keys: str) -> None:
        super().__init__(load(ModelSettings))
        self._keys = keys

    def has_key(self, provider: str) -> bool:
        return provider in self._keys


def chosen(*keys: str, **given: object) -> tuple[Mapping[str, tuple[str, ...]], str]:
    choice = choose(load_personas(), load(ModelSettings, **given), Keyed(*keys), Prices())
    return choice.models, " / ".join(choice.sentences)


def test_without_a_key_traders_follow_the_houses_rules_and_the_owner_is_told() -> None:
    models, said = chosen()
    assert set(models.values()) == {()}
    assert "no provider has a key: traders follow the house's rules" in said


def test_a_key_is_enough_and_the_model_that_it_makes_real_is_said() -> None:
    models, said = chosen("openai")
    analytical = f"openai/{TIERS['openai']['analytical']}"
    assert set(models.values()) == {(analytical,)}
    assert f"openai has a key: traders use {analytical}; MODEL=house costs nothing" in said
    assert set(chosen("openai", model="house")[0].values()) == {()}
    assert set(chosen("openai", model="openai/gpt-4o")[0].values()) == {("openai/gpt-4o",)}
    assert chosen("openai", model="openai/gpt-4o")[1] == ""


def test_with_many_models_each_persona_has_its_own_where_its_provider_has_a_key() -> None:
    own = {persona.name: persona.model for persona in load_personas()}
    assert len({model.partition("/")[0] for model in own.values()}) == 4
    with_keys = [model.partition("/")[0] for name, model in own.items() if name != "cathie"]
    models, said = chosen(*with_keys, use_many_models=True, model="house")
    assert models == {name: (model,) if name != "cathie" else () for name, model in own.items()}
    assert said == f"cathie would use {own['cathie']}; anthropic has no key, so it uses house"


def test_a_tier_goes_through_the_providers_in_the_order_that_the_owner_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    tiers = {"groq": {"fast": "llama-3.3-70b-versatile"}, "openai": {"fast": "gpt-5-nano"}, "grok": {"rule": "grok-4"}}
    monkeypatch.setattr("model_clients.choice.TIERS", tiers)
    models, _ = chosen("openai", "groq", "grok", model="fast", model_provider_order="groq,grok,openai")
    assert models["warren"] == ("groq/llama-3.3-70b-versatile", "openai/gpt-5-nano")
    with pytest.raises(BadSetting, match="MODEL is 'strategic'"):
        chosen("openai", model="strategic")


def test_of_a_tier_a_model_without_a_known_price_is_left_out_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "model_clients.choice.TIERS", {"openai": {"fast": "unheard-of"}, "groq": {"fast": "llama-3.3-70b-versatile"}}
    )
    models, said = chosen("openai", "groq", model="fast")
    assert models["warren"] == ("groq/llama-3.3-70b-versatile",)
    assert "openai/unheard-of is left out of fast" in said
    with pytest.raises(BadSetting, match="openai/unheard-of"):
        chosen("openai", model="openai/unheard-of")


@pytest.mark.parametrize("order", ["openai,openai", "openai;groq", "house", "openai,"])
def test_an_order_of_providers_that_names_others_is_refused(order: str) -> None:
    with pytest.raises(BadSetting, match="MODEL_PROVIDER_ORDER"):
        load(ModelSettings, model_provider_order=order)
