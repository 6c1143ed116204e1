"""Which client a model's name stands for: `provider/NAME`, each provider one line of PROVIDERS and its settings.

A client is made only when it is asked for. The rule-based `house` is no provider: it needs no settings.
Capabilities are declared here and nobody is asked for them: tools, and no images, because no desk shows any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autogen_core.models import ChatCompletionClient
from pydantic import SecretStr

from model_clients.chat_format import ChatFormat, Dialect
from model_clients.content_format import ContentFormat
from model_clients.endpoint import check_key, checked_url
from model_clients.gate import Gate
from model_clients.language_model import LanguageModel
from model_clients.messages_format import MessagesFormat
from model_clients.patience import REAL_TIME, Patience
from model_clients.wire_format import WireFormat
from values.errors import BadSetting
from values.model_settings import ModelSettings, Tier


def _chat(**dialect: object) -> Callable[[str, int], WireFormat]:
    return lambda model, output_tokens_max: ChatFormat(model, output_tokens_max, Dialect(**dialect))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Provider:
    """`wire` makes the format for a model and its longest answer; `context_tokens` is what its models take at least.

    `is_local`: it needs no key. `limits_are_shared`: its limits count all models of a key together, not each alone.
    """

    wire: Callable[[str, int], WireFormat]
    context_tokens: int = 128_000
    is_local: bool = False
    limits_are_shared: bool = False


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider(_chat(cap="max_completion_tokens")),
    "anthropic": Provider(MessagesFormat, context_tokens=200_000),
    "google": Provider(ContentFormat, context_tokens=1_000_000),
    # what a model thought before it called a tool has to come back, or the request is refused:
    # api-docs.deepseek.com/guides/thinking_mode
    "deepseek": Provider(_chat(said_always={"reasoning_content": ""}), limits_are_shared=True),
    "grok": Provider(_chat(cap="max_completion_tokens")),
    "openrouter": Provider(_chat(headers={"x-title": "Trading floor"}), limits_are_shared=True),
    "groq": Provider(_chat(cap="max_completion_tokens")),
    "ollama": Provider(_chat(), context_tokens=32_000, is_local=True, limits_are_shared=True),
    "compatible": Provider(_chat(), is_local=True, limits_are_shared=True),
}

TIERS: Mapping[str, Mapping[Tier, str]] = {
    # developers.openai.com/api/docs/models; these take tools in chat completions when they don't reason
    "openai": {
        "strategic": "gpt-6.1-terra", "analytical": "gpt-6.1-terra", "rule": "gpt-5.6-luna", "fast": "gpt-5.6-luna",
    },
    # the model names of the `anthropic` package, 2.11
    "anthropic": {
        "strategic": "claude-opus-5-5", "analytical": "claude-sonnet-5-5", "rule": "claude-haiku-5-5",
        "fast": "claude-haiku-5-5",
    },
    # ai.google.dev/gemini-api/docs/models: the stable ones
    "google": {
        "strategic": "gemini-3.8-flash", "analytical": "gemini-3.6-flash", "rule": "gemini-3.5-flash-lite",
        "fast": "gemini-3.5-flash-lite",
    },
    # api-docs.deepseek.com/quick_start/pricing
    "deepseek": {
        "strategic": "deepseek-v4-pro", "analytical": "deepseek-v4-pro", "rule": "deepseek-flash",
        "fast": "deepseek-flash",
    },
    # docs.x.ai/docs/models
    "grok": {"strategic": "grok-4.3", "analytical": "grok-4.3", "rule": "grok-4.3", "fast": "grok-4.3"},
    # openrouter.ai/models
    "openrouter": {
        "strategic": "openai/gpt-5.6-terra", "analytical": "openai/gpt-5.6-terra", "rule": "openai/gpt-5.6-luna",
        "fast": "openai/gpt-5.6-luna",
    },
    # console.groq.com/docs/models: the production models
    "groq": {
        "strategic": "openai/gpt-oss-120b", "analytical": "openai/gpt-oss-120b", "rule": "openai/gpt-oss-20b",
        "fast": "openai/gpt-oss-20b",
    },
    # ollama.com/library: one that calls tools and fits on a machine without a large card
    "ollama": {"strategic": "qwen3:8b", "analytical": "qwen3:8b", "rule": "qwen3:8b", "fast": "qwen3:8b"},
}  # fmt: skip
"""Model names by provider and tier, as listed in November 2026. `compatible` has whatever its server has."""


class Providers:
    """The floor's language models: clients of one provider and key share its rate limit."""

    def __init__(self, settings: ModelSettings, patience: Patience = REAL_TIME) -> None:
        self._settings = settings
        self._patience = patience
        self._gates: dict[tuple[str, str], Gate] = {}

    def client(self, model: str) -> ChatCompletionClient:
        """A new client for `provider/NAME`, to be closed by the caller. NAME may have slashes.

        Raises BadSetting for a name without a known provider, for a provider without the key that it needs, and for a
        setting of the provider that can't be used.
        """
        provider, _, name = model.partition("/")
        row = PROVIDERS.get(provider)
        if row is None or not name:
            raise BadSetting("MODEL", model, f"house, or {' or '.join(f'{each}/NAME' for each in PROVIDERS)}")
        upper = provider.upper()
        if provider == "compatible" and self._settings.compatible_base_url is None:
            raise BadSetting("COMPATIBLE_BASE_URL", None, "the address of a server of OpenAI's format, up to its /v1")
        url, key = str(checked_url(self._base_url(provider), f"{upper}_BASE_URL")), self._key(provider)
        check_key(key, f"{upper}_API_KEY")
        if not self.has_key(provider) and not row.is_local:
            raise BadSetting(
                f"{upper}_API_KEY", None, f"a key of {provider}, or {upper}_BASE_URL set to a server that needs none"
            )
        output_tokens_max = self._settings.model_output_tokens_max
        return LanguageModel(
            name,
            row.wire(name, output_tokens_max),
            base_url=url,
            api_key=key,
            output_tokens_max=output_tokens_max,
            context_tokens=row.context_tokens,
            patience=self._patience,
            gate=self._gate(provider, name),
        )

    def has_key(self, provider: str) -> bool:
        """Whether a provider can be used as configured: its key is set, or an address that may need none.

        Raises BadSetting for an unknown provider.
        """
        if provider not in PROVIDERS:
            raise BadSetting("MODEL", provider, " or ".join(PROVIDERS))
        if PROVIDERS[provider].is_local:
            return f"{provider}_base_url" in self._settings.model_fields_set and bool(self._base_url(provider))
        own = type(self._settings).model_fields[f"{provider}_base_url"].default
        return self._key(provider) is not None or self._base_url(provider).rstrip("/") != own

    def _gate(self, provider: str, name: str) -> Gate:
        line = (provider, "" if PROVIDERS[provider].limits_are_shared else name)
        if line not in self._gates:
            self._gates[line] = Gate(self._patience)
        return self._gates[line]

    def _base_url(self, provider: str) -> str:
        return str(getattr(self._settings, f"{provider}_base_url") or "")

    def _key(self, provider: str) -> SecretStr | None:
        key: SecretStr | None = getattr(self._settings, f"{provider}_api_key", None)
        return key
