"""Which client a model's name stands for, what each provider is asked with, and what a wrong setting says."""

from __future__ import annotations

import pytest
from autogen_core.models import UserMessage

from model_clients.providers import PROVIDERS, TIERS, Providers
from tests.model_loopback import ModelLoopback
from values.errors import BadSetting
from values.settings import PROVIDER_NAMES, ModelSettings, load

KEY = "sk-canary-5e1f"
KEYED = [name for name, row in PROVIDERS.items() if not row.is_local]
OWN = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta",
    "deepseek": "https://api.deepseek.com",
    "grok": "https://api.x.ai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "groq": "https://api.groq.com/openai/v1",
    "ollama": "http://127.0.0.1:11434/v1",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL", raising=False)
    for name in PROVIDER_NAMES:
        monkeypatch.delenv(f"{name.upper()}_API_KEY", raising=False)
        monkeypatch.delenv(f"{name.upper()}_BASE_URL", raising=False)
    monkeypatch.setitem(ModelSettings.model_config, "env_file", None)


@pytest.mark.parametrize("provider", OWN)
async def test_a_name_says_who_is_asked_for_what(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", KEY)
    for name in ("large", "maker/large:8b"):
        client = Providers(load(ModelSettings)).client(f"{provider}/{name}")
        assert repr(client) == f"LanguageModel({name} at {OWN[provider]})"
        await client.close()


def test_the_settings_know_every_provider_of_the_table() -> None:
    assert sorted(PROVIDERS) == sorted(PROVIDER_NAMES)
    assert sorted(TIERS) == sorted(name for name in PROVIDERS if name != "compatible")
    for tiers in TIERS.values():
        assert set(tiers) == {"strategic", "analytical", "rule", "fast"}


@pytest.mark.parametrize("model", ["gpt-5-mini", "openai", "openai/", "/gpt-5", "house/value", "vllm/qwen3", ""])
def test_a_name_without_a_provider_is_refused(model: str) -> None:
    with pytest.raises(BadSetting, match=f"MODEL is '{model}'; allowed: house, or openai/NAME or anthropic/NAME"):
        Providers(load(ModelSettings)).client(model)


@pytest.mark.parametrize("provider", ["deepseek", "grok", "openrouter", "groq", "openai", "compatible"])
async def test_each_provider_is_asked_where_its_setting_says_with_no_more_than_its_key(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelLoopback() as server:
        monkeypatch.setenv(f"{provider.upper()}_BASE_URL", server.base_url + "/")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        for model, key in ((provider, KEY), (provider, None), ("ollama", KEY)):
            if key is not None:
                monkeypatch.setenv(f"{provider.upper()}_API_KEY", key)
            else:
                monkeypatch.delenv(f"{provider.upper()}_API_KEY")
            client = Providers(load(ModelSettings)).client(f"{model}/m")
            await client.create([UserMessage(content="Begin.", source="user")])
            await client.close()
        assert [headers.get("authorization") for headers in server.headers] == [f"Bearer {KEY}", None, None]
        assert server.complaints == []


@pytest.mark.parametrize("provider", KEYED)
def test_a_provider_itself_wants_a_key(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upper = provider.upper()
    for url in (None, OWN[provider], OWN[provider] + "/"):
        if url is not None:
            monkeypatch.setenv(f"{upper}_BASE_URL", url)
        providers = Providers(load(ModelSettings))
        assert not providers.has_key(provider)
        with pytest.raises(BadSetting, match=f"{upper}_API_KEY is None; allowed: a key of {provider}, or {upper}_BASE"):
            providers.client(f"{provider}/m")
    monkeypatch.setenv(f"{upper}_API_KEY", KEY)
    assert Providers(load(ModelSettings)).has_key(provider)
    monkeypatch.delenv(f"{upper}_API_KEY")
    monkeypatch.setenv(f"{upper}_BASE_URL", "http://127.0.0.1:9/v1")
    assert Providers(load(ModelSettings)).has_key(provider)


def test_a_server_of_ones_own_counts_once_its_address_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = Providers(load(ModelSettings))
    assert [providers.has_key(name) for name in ("ollama", "compatible")] == [False, False]
    with pytest.raises(BadSetting, match="COMPATIBLE_BASE_URL is None; allowed: the address of a server"):
        providers.client("compatible/m")
    with pytest.raises(BadSetting, match="MODEL is 'vllm'"):
        providers.has_key("vllm")
    monkeypatch.setenv("OLLAMA_BASE_URL", OWN["ollama"])
    monkeypatch.setenv("COMPATIBLE_BASE_URL", "http://127.0.0.1:8000/v1")
    providers = Providers(load(ModelSettings))
    assert [providers.has_key(name) for name in ("ollama", "compatible")] == [True, True]


def test_a_wrong_setting_is_named_as_it_is_written_and_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in KEYED:
        upper = provider.upper()
        monkeypatch.setenv(f"{upper}_API_KEY", f"{KEY} # mine")
        with pytest.raises(BadSetting, match=f"{upper}_API_KEY is") as caught:
            load(ModelSettings)
        assert KEY not in str(caught.value)
        monkeypatch.setenv(f"{upper}_API_KEY", KEY)
        monkeypatch.setenv(f"{upper}_BASE_URL", "localhost:8000")
        with pytest.raises(BadSetting, match=f"{upper}_BASE_URL is"):
            load(ModelSettings)
        monkeypatch.setenv(f"{upper}_BASE_URL", f"http://me:{KEY}@localhost:8000")
        with pytest.raises(BadSetting, match=f"{upper}_BASE_URL is") as caught:
            Providers(load(ModelSettings)).client(f"{provider}/m")
        assert KEY not in str(caught.value)
        monkeypatch.delenv(f"{upper}_BASE_URL")
