"""Which language models are asked, where, and what they cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from values.environment import PROJECT, Address, Key
from values.market_settings import StoreSettings

PROVIDER_NAMES = (
    "openai", "anthropic", "google", "deepseek", "grok", "openrouter", "groq", "ollama", "compatible",
)  # fmt: skip
"""Each with its `{NAME}_BASE_URL`, and all but ollama with a `{NAME}_API_KEY`."""
Tier = Literal["strategic", "analytical", "rule", "fast"]
TIER_NAMES: tuple[Tier, ...] = get_args(Tier)
PROVIDER_ORDER = ("openai", "anthropic", "google", "deepseek", "grok", "openrouter", "groq")
_MODEL = re.compile(rf"house|{'|'.join(TIER_NAMES)}|({'|'.join(PROVIDER_NAMES)})/\S+")


class ModelSettings(StoreSettings):
    """What a process that asks language models needs."""

    model: str | None = Field(
        None,
        description="the model that every trader uses: `house`, `provider/NAME`, or a tier (`strategic`, `analytical`, "
        "`rule`, `fast`), which is the first provider's of `MODEL_PROVIDER_ORDER` that has a key and answers; unset, "
        "`analytical` where there is a key, else `house`",
    )
    use_many_models: bool = Field(
        False, description="`true` gives each trader the model of its persona, where that one's provider has a key"
    )
    model_provider_order: str = Field(
        ",".join(PROVIDER_ORDER), description="which provider a tier tries first, then next; commas between them"
    )
    model_prices: Path | None = Field(
        None,
        description="your own prices, which go before the known ones: a TOML file with a table for each "
        "`provider/NAME`: `input_usd`, `output_usd`, and where they differ `cached_usd` and `cache_write_usd`, for a "
        "million tokens",
    )

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: str | None) -> str | None:
        if model is not None and not _MODEL.fullmatch(model):
            raise ValueError("house, provider/NAME, or a tier: " + ", ".join(TIER_NAMES))
        return model

    @field_validator("model_provider_order")
    @classmethod
    def _are_providers(cls, order: str) -> str:
        names = [each.strip() for each in order.split(",")]
        if not set(names) <= {*PROVIDER_ORDER} or len(set(names)) < len(names):
            raise ValueError(f"some of {', '.join(PROVIDER_ORDER)}, each once, with commas between them")
        return ",".join(names)

    @property
    def provider_order(self) -> tuple[str, ...]:
        return tuple(self.model_provider_order.split(","))

    @property
    def prices_path(self) -> Path | None:
        return None if self.model_prices is None else PROJECT / self.model_prices

    @property
    def base_urls(self) -> dict[str, str]:
        """Where each provider is asked, by its name."""
        end = "_base_url"
        found = {name.removesuffix(end): getattr(self, name) for name in type(self).model_fields if name.endswith(end)}
        return {provider: url for provider, url in found.items() if url is not None}

    openai_api_key: Key | None = Field(None, description="the key for `openai/NAME`")
    anthropic_api_key: Key | None = Field(None, description="the key for `anthropic/NAME`")
    google_api_key: Key | None = Field(None, description="the key for `google/NAME` (Gemini)")
    deepseek_api_key: Key | None = Field(None, description="the key for `deepseek/NAME`")
    grok_api_key: Key | None = Field(None, description="the key for `grok/NAME` (xAI)")
    openrouter_api_key: Key | None = Field(None, description="the key for `openrouter/NAME`")
    groq_api_key: Key | None = Field(None, description="the key for `groq/NAME`")
    compatible_api_key: Key | None = Field(None, description="the key for `compatible/NAME`, where its server has one")
    openai_base_url: Address = Field(
        "https://api.openai.com/v1",
        description="where `openai/NAME` is asked; at an address other than the provider's own, its key is optional",
    )
    anthropic_base_url: Address = Field(
        "https://api.anthropic.com/v1", description="where `anthropic/NAME` is asked; the same holds"
    )
    google_base_url: Address = Field(
        "https://generativelanguage.googleapis.com/v1beta", description="where `google/NAME` is asked; the same holds"
    )
    deepseek_base_url: Address = Field(
        "https://api.deepseek.com", description="where `deepseek/NAME` is asked; the same holds"
    )
    grok_base_url: Address = Field("https://api.x.ai/v1", description="where `grok/NAME` is asked; the same holds")
    openrouter_base_url: Address = Field(
        "https://openrouter.ai/api/v1", description="where `openrouter/NAME` is asked; the same holds"
    )
    groq_base_url: Address = Field(
        "https://api.groq.com/openai/v1", description="where `groq/NAME` is asked; the same holds"
    )
    ollama_base_url: Address = Field("http://127.0.0.1:11434/v1", description="where `ollama/NAME` is asked")
    compatible_base_url: Address | None = Field(
        None, description="where `compatible/NAME` is asked: any server of OpenAI's format (vLLM, a gateway), up to /v1"
    )
    model_output_tokens_max: Annotated[int, Field(ge=16, le=128_000)] = Field(
        8_000, description="the longest answer that a model may write, reasoning included, in tokens, 16 to 128000"
    )
