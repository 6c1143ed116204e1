"""Which language models are asked, where, and what they cost."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import Field, field_validator

from values.environment import Address, Key
from values.market_settings import StoreSettings

PROVIDER_NAMES = (
    "openai", "anthropic", "google", "deepseek", "grok", "openrouter", "groq", "ollama", "compatible",
)  # fmt: skip
"""Each with its `{NAME}_BASE_URL`, and all but ollama with a `{NAME}_API_KEY`."""
_MODEL = re.compile(rf"house|({'|'.join(PROVIDER_NAMES)})/\S+")


class ModelSettings(StoreSettings):
    """What a process that asks language models needs."""

    model: str = Field(
        "house",
        description="the model that every trader uses: `house` or `provider/NAME`, where provider is one of "
        + ", ".join(f"`{each}`" for each in PROVIDER_NAMES),
    )

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: str) -> str:
        if not _MODEL.fullmatch(model):
            raise ValueError("house or provider/NAME")
        return model

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
    model_input_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model reads; unset counts 0, and the floor says so"
    )
    model_output_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model writes; unset counts 0, and the floor says so"
    )
