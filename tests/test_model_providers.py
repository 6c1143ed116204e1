"""Which client a model's name stands for, and what a wrong setting says."""

from __future__ import annotations

import pytest
from autogen_core.models import UserMessage

from model_clients.providers import client_for
from tests.model_loopback import ModelLoopback
from values.errors import BadSetting
from values.settings import ModelSettings, load

SETTINGS = ("MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_BASE_URL")
KEY = "sk-canary-5e1f"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(ModelSettings.model_config, "env_file", None)


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("openai/gpt-5-mini", "gpt-5-mini at https://api.openai.com/v1"),
        ("openai/meta-llama/llama-3", "meta-llama/llama-3 at https://api.openai.com/v1"),
        ("ollama/qwen3:8b", "qwen3:8b at http://127.0.0.1:11434/v1"),
    ],
)
async def test_a_name_says_who_is_asked_for_what(model: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = client_for(model, load(ModelSettings))
    assert repr(client) == f"ChatCompletionsClient({where})"
    await client.close()


@pytest.mark.parametrize("model", ["gpt-5-mini", "openai", "openai/", "/gpt-5", "house/value", "vllm/qwen3", ""])
def test_a_name_without_a_provider_is_refused(model: str) -> None:
    with pytest.raises(BadSetting, match=f"MODEL is '{model}'; allowed: house, or openai/NAME or ollama/NAME"):
        client_for(model, load(ModelSettings))


async def test_each_provider_is_asked_where_its_setting_says_with_no_more_than_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ModelLoopback() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url + "/")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        for model, key in (("openai/m", KEY), ("openai/m", None), ("ollama/m", KEY)):
            if key is not None:
                monkeypatch.setenv("OPENAI_API_KEY", key)
            else:
                monkeypatch.delenv("OPENAI_API_KEY")
            client = client_for(model, load(ModelSettings))
            await client.create([UserMessage(content="Begin.", source="user")])
            await client.close()
        assert [headers.get("authorization") for headers in server.headers] == [f"Bearer {KEY}", None, None]
        assert server.complaints == []


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1", "https://api.openai.com/v1/"])
def test_openai_itself_wants_a_key(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if url is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(BadSetting, match="OPENAI_API_KEY is None; allowed: a key of OpenAI, or OPENAI_BASE_URL"):
        client_for("openai/gpt-5", load(ModelSettings))


def test_a_wrong_setting_is_named_as_it_is_written_and_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY} # mine")
    with pytest.raises(BadSetting, match="OPENAI_API_KEY is") as caught:
        client_for("openai/gpt-5", load(ModelSettings))
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(BadSetting, match="OPENAI_BASE_URL is"):
        client_for("openai/gpt-5", load(ModelSettings))
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OLLAMA_BASE_URL", "localhost:11434")
    with pytest.raises(BadSetting, match="OLLAMA_BASE_URL is"):
        client_for("ollama/qwen3", load(ModelSettings))
