"""What a provider says of its limits: rate headers, and the waits and quotas that refusals name.

Two families of headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI, xAI, Groq; OpenRouter without
the last word) and `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`. A header
that can't be read counts as not sent: limits protect the provider's plan, and a call must not fail for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

NAMES = ("requests", "tokens", "input-tokens", "output-tokens")
UNSAID_RESET_S = 60.0
"""Until a limit is whole again, where its server does not say: plans are counted by the minute."""
RESET_MAX_S = 86_400.0
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?")
_EPOCH_S = 1_000_000_000
_EPOCH_MS = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """One limit as a server tells it: at most `limit`, `left` of it now, whole again in `reset_s` seconds."""

    limit: float
    left: float
    reset_s: float


def limits_told(headers: Mapping[str, str], wall: datetime) -> dict[str, Told]:
    """The limits that an answer's headers (with lower-case names) tell, by NAMES."""
    found: dict[str, Told] = {}
    for name in NAMES:
        forms = [f"x-ratelimit-{{}}-{name}", f"anthropic-ratelimit-{name}-{{}}"]
        if name == "requests":
            forms.append("x-ratelimit-{}")
        for form in forms:
            limit, left = (_number(headers.get(form.format(each))) for each in ("limit", "remaining"))
            if left is None:
                continue
            reset_s = _reset_s(headers.get(form.format("reset")), wall)
            whole = left if limit is None else limit
            found[name] = Told(max(1.0, whole, left), left, UNSAID_RESET_S if reset_s is None else reset_s)
            break
    return found


def duration_s(text: str) -> float | None:
    """Seconds of `6m0s`, `120ms`, `2m59.56s`, `1h2m3s`, `31.5s`; None for anything else."""
    match = _DURATION.fullmatch(text.strip()) if len(text) < 40 else None
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds, milliseconds = (float(each or 0) for each in match.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None


def _reset_s(text: str | None, wall: datetime) -> float | None:
    """Seconds until a reset that is told as a duration, as seconds, as an ISO time, or as seconds or milliseconds
    since 1970."""
    if text is None:
        return None
    seconds = duration_s(text)
    if seconds is None and (number := _number(text)) is not None:
        if number >= _EPOCH_MS:
            number /= 1_000
        seconds = number - wall.timestamp() if number >= _EPOCH_S else number
    if seconds is None:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - wall).total_seconds()
    return min(RESET_MAX_S, max(0.0, seconds))
