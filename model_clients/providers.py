"""Which client a name stands for: `openai/NAME` or `ollama/NAME`, each made only when it is asked for.

A provider is one line of PROVIDERS and its settings. The rule-based `house` is no provider: it needs no settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autogen_core.models import ChatCompletionClient

from model_clients.patience import REAL_TIME, Patience
from values.errors import BadSetting
from values.model_settings import Tier
from values.settings import OPENAI_URL, ModelSettings


def client_for(model: str, settings: ModelSettings) -> ChatCompletionClient:
    """A new client for `provider/NAME`, to be closed by the caller. NAME may have slashes.

    Raises BadSetting for a name without a known provider, and for a setting of the provider that can't be used.
    """
    provider, _, name = model.partition("/")
    make = PROVIDERS.get(provider)
    if make is None or not name:
        raise BadSetting("MODEL", model, f"house, or {' or '.join(f'{each}/NAME' for each in PROVIDERS)}")
    return make(name, settings)


def _openai(name: str, settings: ModelSettings) -> ChatCompletionClient:
    from model_clients.chat_completions import ChatCompletionsClient
    from model_clients.endpoint import check_key, checked_url

    url, key = str(checked_url(settings.openai_base_url, "OPENAI_BASE_URL")), settings.openai_api_key
    check_key(key, "OPENAI_API_KEY")
    if key is None and url == OPENAI_URL:
        raise BadSetting(
            "OPENAI_API_KEY", None, "a key of OpenAI, or OPENAI_BASE_URL set to another server of its format"
        )
    return ChatCompletionsClient(name, base_url=url, api_key=key)


def _ollama(name: str, settings: ModelSettings) -> ChatCompletionClient:
    from model_clients.chat_completions import ChatCompletionsClient
    from model_clients.endpoint import checked_url

    url = str(checked_url(settings.ollama_base_url, "OLLAMA_BASE_URL"))
    return ChatCompletionsClient(name, base_url=url, api_key=None)


class Providers:
    """Clients by name, for one set of settings."""

    def __init__(self, settings: ModelSettings, patience: Patience = REAL_TIME) -> None:
        self._settings = settings
        self._patience = patience

    def client(self, model: str) -> ChatCompletionClient:
        """A new client for `provider/NAME`, to be closed by the caller. Raises BadSetting."""
        return client_for(model, self._settings)

    def has_key(self, provider: str) -> bool:
        """Whether the provider's key is set, so that it may be asked unless somebody says otherwise."""
        return provider == "openai" and self._settings.openai_api_key is not None


TIERS: Mapping[str, Mapping[Tier, str]] = {
    "openai": {"strategic": "gpt-5", "analytical": "gpt-5-mini", "rule": "gpt-5-nano", "fast": "gpt-5-nano"}
}
PROVIDERS: Mapping[str, Callable[[str, ModelSettings], ChatCompletionClient]] = {"openai": _openai, "ollama": _ollama}
