"""Where messages go: the owner's Pushover account, and any address that Apprise understands.

A target has taken a message when its service said so: Pushover's and ntfy's answers are read, because a 200 may be a
proxy's; for other services Apprise's word is taken. A failed send is an answer, never an exception; it ends within the
deadline, and what is said of it holds no part of an address. Apprise is imported at the first send, not at the start.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
import unicodedata
import warnings
from base64 import b64decode
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

from pydantic import SecretStr

from values.errors import BadSetting
from values.settings import PushSettings

DEADLINE_S = 10.0
"""Seconds that a message may take on its way to all its targets together."""

MARK = "… [cut]"
REASON_CHARS_MAX = 300
_NTFY_BYTES_MAX = 4096  # ntfy makes a file of a longer message, or refuses it
_NTFY_FIELDS_BYTES = 200  # what the topic and the fields' names add to ntfy's JSON
_SECRET_CHARS_MIN = 4
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,31}://"
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `name` and `setting` may be shown to anybody, `address` (None: Pushover's own) to nobody."""

    name: str
    setting: str
    address: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message at one target; `reason` says why it was not taken.

    `kept_chars` is how many of the message's characters fitted, None for all of them.
    """

    target: str
    is_taken: bool
    reason: str = ""
    kept_chars: int | None = None
    is_title_cut: bool = False


class Targets:
    """The owner's targets. Safe to use from several threads."""

    def __init__(self, settings: PushSettings, deadline_s: float = DEADLINE_S) -> None:
        """Raises BadSetting for a lone Pushover key and for an entry of PUSH_URLS that is no address."""
        self.deadline_s = deadline_s
        self._settings = settings
        self._targets = (*_pushover(settings), *_addressed(settings))

    @property
    def names(self) -> tuple[str, ...]:
        """Each target's kind: `pushover`, or the scheme of its address."""
        return tuple(target.name for target in self._targets)

    def check(self) -> None:
        """Raises BadSetting for the first address that Apprise does not understand. Costs the import of Apprise."""
        for target in self._targets:
            self._service(target)

    def deliver(self, title: str, message: str) -> Sequence[Delivery]:
        """Send plain text to every target at once; what became of it at each, within the deadline."""
        done: dict[Target, Delivery] = {}
        threads = []
        for target in self._targets:
            try:
                service = self._service(target)
            except BadSetting as wrong:
                done[target] = Delivery(target.name, False, wrong.sentence)
                continue
            threads.append(self._start(target, service, title, message, done))
        ends = time.monotonic() + self.deadline_s
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
        late = f"no answer within {self.deadline_s:g} s; it may still arrive"
        return [done.get(target) or Delivery(target.name, False, late) for target in self._targets]

    def _start(
        self, target: Target, service: Any, title: str, message: str, done: dict[Target, Delivery]
    ) -> threading.Thread:
        """Begin one send. Its thread may outlive the deadline, but not the process."""

        def send() -> None:
            try:
                done[target] = self._send(service, target.name, title, message)
            except Exception as error:  # noqa: BLE001 - its text, and a traceback, could show an address
                done[target] = Delivery(target.name, False, f"Apprise failed with {type(error).__name__}")

        thread = threading.Thread(target=send, name="push", daemon=True)
        thread.start()
        return thread

    def _service(self, target: Target) -> Any:
        """Apprise's plugin for the target, made anew, so that sends share no state. Raises BadSetting."""
        apprise = _apprise(every_service=target.address is not None)
        asset = apprise.AppriseAsset(
            app_id="trading-floor", app_desc="Trading floor", image_url_mask="", http_redirects=False,
            async_mode=False, service_timeout=0,
        )  # fmt: skip
        if target.address is None:
            service = self._pushover_service(asset)
        else:
            service = apprise.Apprise.instantiate(target.address.get_secret_value(), asset=asset)
        if service is None:
            scheme = target.name.partition(" ")[0]
            raise BadSetting(
                target.setting, f"{scheme}://[secret]", "a URL that Apprise understands, see appriseit.com/services"
            )
        service.request_rate_per_sec = 0.0  # it would wait 5.5 s between two topics; the outbox limits what is sent
        _watch(sys.modules[type(service).__module__])
        return service

    def _pushover_service(self, asset: Any) -> Any:
        from apprise.exception import AppriseImproperlyConfigured
        from apprise.plugins.pushover import NotifyPushover

        user, token = self._settings.pushover_user, self._settings.pushover_token
        assert user is not None
        assert token is not None
        plugin: Any = NotifyPushover
        try:
            service = plugin(user.get_secret_value(), token.get_secret_value(), asset=asset)
        except AppriseImproperlyConfigured:
            return None
        service.notify_url = f"{self._settings.pushover_base_url}/1/messages.json"
        return service

    def _send(self, service: Any, name: str, title: str, message: str) -> Delivery:
        apprise = _apprise()
        heading, body, kept_chars = _fitted(service, title, message)
        answers: list[Any] = []
        _answers.set(answers)
        courier = apprise.Apprise(asset=service.asset)
        courier.add(service)
        result = courier.notify(body=body, title=heading, body_format=apprise.NotifyFormat.TEXT)
        # the attempts' own status: a target that its owner calls optional always "succeeds"
        attempts = [attempt for each in result.results for attempt in each.attempts]
        strange = _strange_answer(service, answers)
        if not strange and any(attempt.status == apprise.AppriseResultStatus.SUCCESS for attempt in attempts):
            return Delivery(name, True, "", kept_chars, heading != title)
        said = [entry.message for attempt in attempts for entry in attempt.logs]
        return Delivery(name, False, self._redacted(strange or _reason(answers, said)))

    def _redacted(self, text: str) -> str:
        secrets = _secrets(self._settings)
        hidden = "|".join(map(re.escape, secrets))
        shown = re.sub(hidden, "[hidden]", plain_text(text), flags=re.IGNORECASE) if hidden else plain_text(text)
        shown = _BASE64.sub(lambda word: "[hidden]" if _encodes(word[0], secrets) else word[0], shown)
        shown = re.sub(r"\w+://\S+", "[address]", shown)
        return shortened(" ".join(shown.split()), REASON_CHARS_MAX)


def plain_text(text: str) -> str:
    """`text` without controls, bidirectional overrides and lone surrogates; line breaks and tabs stay."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (each for each in lines if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs"))
    return "".join(each for each in kept if each not in _BIDI).strip()


def shortened(text: str, chars_max: int) -> str:
    """`text`, or as much of it as leaves room for the mark."""
    return text if len(text) <= chars_max else text[: max(0, chars_max - len(MARK))] + MARK


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


def _encodes(word: str, secrets: Sequence[str]) -> bool:
    """Whether a word is base64 of a text with a secret in it, as a header with user and password is."""
    standard = word.rstrip("=").replace("-", "+").replace("_", "/")
    whole = standard[: len(standard) - (len(standard) % 4 == 1)]
    decoded = b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace").lower()
    return any(secret.lower() in decoded for secret in secrets)


def _addresses(settings: PushSettings) -> list[str]:
    """PUSH_URLS at its white space, and at commas that stand before a scheme: a URL may have commas of its own."""
    text = "" if settings.push_urls is None else settings.push_urls.get_secret_value()
    entries = [part for word in text.split() for part in re.split(rf",(?={_SCHEME})", word)]
    return [entry for entry in (each.strip(",") for each in entries) if entry]


def _secrets(settings: PushSettings) -> list[str]:
    """Whatever in the settings is no scheme and no option's name, as written, quoted and unquoted; longest first."""
    parts = [each.get_secret_value() for each in (settings.pushover_user, settings.pushover_token) if each is not None]
    for address in _addresses(settings):
        place, _, options = address.partition("://")[2].partition("?")
        parts += re.split(r"[/:@#,;]", place)
        parts += [part for option in options.split("&") for part in re.split(r"[/:@#,;]", option.partition("=")[2])]
    forms = {form for part in parts for form in (part, unquote(part), quote(part, safe=""))}
    return sorted((form for form in forms if len(form) >= _SECRET_CHARS_MIN), key=len, reverse=True)


_loading = threading.Lock()
_answers: ContextVar[list[Any] | None] = ContextVar("push_answers", default=None)


def _apprise(every_service: bool = False) -> ModuleType:
    """Apprise, imported once; with `every_service` also its 130 plugins, without which it knows no address."""
    with _loading:
        apprise = _import_apprise()
        if every_service:
            _load_every_service()
    return apprise


@cache
def _import_apprise() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of its own
        import apprise
    # its warnings hold topics and keys: each send captures its own and tells them redacted, and no other handler may
    logging.getLogger("apprise").propagate = False
    module: ModuleType = apprise
    return module


@cache
def _load_every_service() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _import_apprise().Apprise.instantiate("json://localhost")


class _Witness:
    """Stands for `requests` in a plugin's module: hands every call on, and keeps its answer or error for this send."""

    def __init__(self, requests: ModuleType) -> None:
        self._requests = requests

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def post(self, *given: Any, **named: Any) -> Any:
        answers = _answers.get()
        try:
            answer = self._requests.post(*given, **named)
        except self._requests.RequestException as error:
            if answers is not None:
                answers.append(error)
            raise
        if answers is not None:
            answers.append(answer)
        return answer


def _watch(plugin: ModuleType) -> None:
    requests = getattr(plugin, "requests", None)
    if isinstance(requests, ModuleType):
        vars(plugin)["requests"] = _Witness(requests)


def _fitted(service: Any, title: str, message: str) -> tuple[str, str, int | None]:
    """Title and message within the service's limits, cut with the mark; how many characters were kept, None for all."""
    body_max = service.body_maxlen
    heading = shortened(title, service.title_maxlen if service.title_maxlen > 0 else body_max // 3)
    if service.title_maxlen <= 0 or service.overflow_amalgamate_title:
        body_max -= len(heading) + len("\r\n")
    lines_max = service.body_max_line_count or len(message)
    json_max = getattr(service, "ntfy_json_upstream_size_limit", None)

    def fits(text: str) -> bool:
        if len(text) > body_max or text.count("\n") >= lines_max:
            return False
        # beyond either size an ntfy message would arrive as a file
        return json_max is None or (
            len(text.encode()) <= _NTFY_BYTES_MAX and len(json.dumps([heading, text])) + _NTFY_FIELDS_BYTES <= json_max
        )

    if fits(message):
        return heading, message, None
    kept = bisect_left(range(1, len(message) + 1), True, key=lambda chars: not fits(message[:chars] + MARK))
    return heading, message[:kept] + MARK, kept


_TAKEN: dict[str, tuple[str, object]] = {"NotifyPushover": ("status", 1), "NotifyNtfy": ("event", "message")}
"""What the JSON of a service that took a message says."""


def _strange_answer(service: Any, answers: Sequence[Any]) -> str:
    """How a 200 differs from what this service answers when it takes a message; empty when it does not."""
    field = _TAKEN.get(type(service).__name__)
    for answer in answers:
        if field is not None and not isinstance(answer, Exception) and answer.status_code == 200:
            told = _json_object(answer)
            if told.get(field[0]) != field[1]:
                kind = str(answer.headers.get("Content-Type", "no content type")).partition(";")[0]
                return f"HTTP 200 with {kind} that is no answer of {service.service_name}'s; the message may be lost"
    return ""


def _json_object(answer: Any) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _reason(answers: Sequence[Any], said: Sequence[str]) -> str:
    """Why a send failed: the service's own words, then what broke, then Apprise's words."""
    last = answers[-1] if answers else None
    if isinstance(last, Exception):
        return _breakage(last)
    if last is not None:
        told = _json_object(last)
        errors = told.get("errors", told.get("error"))
        words = "; ".join(str(each) for each in (errors if isinstance(errors, list) else [errors]) if each)
        if words:
            return f"HTTP {last.status_code}, it says {json.dumps(words, ensure_ascii=False)}"
    return "; ".join(said) or "it gave no reason"


def _breakage(error: Exception) -> str:
    kinds = {each.__name__ for each in type(error).__mro__}
    if "Timeout" in kinds:
        return "no answer in time; it may still arrive"
    if "SSLError" in kinds:
        return "no secure connection could be made"
    if "ConnectionError" in kinds and type(error.args[0] if error.args else None).__name__ == "MaxRetryError":
        return "no connection could be made"
    if kinds & {"ConnectionError", "ChunkedEncodingError"}:
        return "the connection broke before the answer was whole; it may have arrived"
    return type(error).__name__
