"""A language model behind OpenAI's chat completions format, at any base URL, without a provider's table."""

from __future__ import annotations

from typing import Any

from autogen_core.models import ModelInfo
from pydantic import SecretStr

from model_clients.chat_format import ChatFormat
from model_clients.language_model import LanguageModel

OUTPUT_TOKENS_MAX = 8_000


class ChatCompletionsClient(LanguageModel):
    """`base_url` is `https://host/v1`; /chat/completions is added. The rest as for LanguageModel."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: SecretStr | None,
        model_info: ModelInfo = ChatFormat.info,
        output_tokens_max: int = OUTPUT_TOKENS_MAX,
        **more: Any,
    ) -> None:
        wire = ChatFormat(model, output_tokens_max, vision=model_info["vision"])
        super().__init__(
            model, wire, base_url=base_url, api_key=api_key, output_tokens_max=output_tokens_max, model_info=model_info,
            **more,
        )  # fmt: skip
