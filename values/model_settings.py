"""Which language models are asked, where, and what they cost."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import Field, field_validator

from values.environment import Address, Key
from values.market_settings import StoreSettings

OPENAI_URL = "https://api.openai.com/v1"


class ModelSettings(StoreSettings):
    """What a process that asks language models needs."""

    model: str = Field("house", description="the model that every trader uses: `house`, `openai/NAME` or `ollama/NAME`")

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: str) -> str:
        if model != "house" and not re.fullmatch(r"[a-z]+/\S+", model):
            raise ValueError("house, openai/NAME or ollama/NAME")
        return model

    openai_api_key: Key | None = Field(None, description="the key for `openai/NAME`")
    openai_base_url: Address = Field(
        OPENAI_URL,
        description="where `openai/NAME` is asked: any server of that format; with another, the key is optional",
    )
    ollama_base_url: Address = Field("http://127.0.0.1:11434/v1", description="where `ollama/NAME` is asked")
    model_input_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model reads; unset counts 0, and the floor says so"
    )
    model_output_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model writes; unset counts 0, and the floor says so"
    )
