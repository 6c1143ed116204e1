"""The owner's targets as the settings name them, and what of a settings' text is a secret."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from pydantic import SecretStr

from values.errors import BadSetting
from values.settings import PushSettings

REASON_CHARS_MAX = 300
_SECRET_CHARS_MIN = 4
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,31}://"


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `name` and `setting` may be shown to anybody, `address` (None: Pushover's own) to nobody."""

    name: str
    setting: str
    address: SecretStr | None = None


def targets_of(settings: PushSettings) -> tuple[Target, ...]:
    """Raises BadSetting for a lone Pushover key and for an entry of PUSH_URLS that is no address."""
    return (*_pushover(settings), *_addressed(settings))


def _pushover(settings: PushSettings) -> list[Target]:
    missing = [name for name in ("pushover_user", "pushover_token") if getattr(settings, name) is None]
    if len(missing) == 1:
        raise BadSetting(missing[0].upper(), None, "both PUSHOVER_USER and PUSHOVER_TOKEN, or neither")
    return [] if missing else [Target("pushover", "PUSHOVER_USER or PUSHOVER_TOKEN")]


def _addressed(settings: PushSettings) -> list[Target]:
    """The targets of PUSH_URLS, each named for its scheme, and for its place where schemes repeat."""
    addresses = _addresses(settings)
    schemes = []
    for place, address in enumerate(addresses, 1):
        match = re.match(_SCHEME, address)
        if match is None:
            raise BadSetting(
                f"entry {place} of PUSH_URLS", "[secret]", "a URL with a scheme, such as ntfy://host/topic"
            )
        schemes.append(match[0].removesuffix("://").lower())
    seen = Counter(schemes)
    return [
        Target(
            scheme if seen[scheme] == 1 else f"{scheme} ({place})", f"entry {place} of PUSH_URLS", SecretStr(address)
        )
        for place, (scheme, address) in enumerate(zip(schemes, addresses, strict=True), 1)
    ]


def _addresses(settings: PushSettings) -> list[str]:
    """PUSH_URLS at its white space, and at commas that stand before a scheme: a URL may have commas of its own."""
    text = "" if settings.push_urls is None else settings.push_urls.get_secret_value()
    entries = [part for word in text.split() for part in re.split(rf",(?={_SCHEME})", word)]
    return [entry for entry in (each.strip(",") for each in entries) if entry]


def encodes(word: str, secrets: Sequence[str]) -> bool:
    """Whether a word is base64 of a text with a secret in it, as a header with user and password is."""
    standard = word.rstrip("=").replace("-", "+").replace("_", "/")
    whole = standard[: len(standard) - (len(standard) % 4 == 1)]
    decoded = b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace").lower()
    return any(secret.lower() in decoded for secret in secrets)


def secrets_of(settings: PushSettings) -> list[str]:
    """Whatever in the settings is no scheme and no option's name, as written, quoted and unquoted; longest first."""
    parts = [each.get_secret_value() for each in (settings.pushover_user, settings.pushover_token) if each is not None]
    for address in _addresses(settings):
        place, _, options = address.partition("://")[2].partition("?")
        parts += re.split(r"[/:@#,;]", place)
        parts += [part for option in options.split("&") for part in re.split(r"[/:@#,;]", option.partition("=")[2])]
    forms = {form for part in parts for form in (part, unquote(part), quote(part, safe=""))}
    return sorted((form for form in forms if len(form) >= _SECRET_CHARS_MIN), key=len, reverse=True)
