"""Which language models are asked, where, and what they cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, field_validator

from values.environment import PROJECT, Address, Key
from values.market_settings import StoreSettings

Tier = Literal["strategic", "analytical", "rule", "fast"]
TIER_NAMES: tuple[Tier, ...] = get_args(Tier)
PROVIDER_ORDER = ("openai", "anthropic", "google", "deepseek", "grok", "openrouter", "groq")
OPENAI_URL = "https://api.openai.com/v1"


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
        if model is not None and model not in ("house", *TIER_NAMES) and not re.fullmatch(r"[a-z]+/\S+", model):
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
        return {name.removesuffix(end): getattr(self, name) for name in type(self).model_fields if name.endswith(end)}

    openai_api_key: Key | None = Field(None, description="the key for `openai/NAME`")
    openai_base_url: Address = Field(
        OPENAI_URL,
        description="where `openai/NAME` is asked: any server of that format; with another, the key is optional",
    )
    ollama_base_url: Address = Field("http://127.0.0.1:11434/v1", description="where `ollama/NAME` is asked")
