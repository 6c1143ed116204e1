"""Where messages go: the owner's Pushover account, and any address that Apprise understands.

A target has taken a message when its service said so: Pushover's and ntfy's answers are read, because a 200 may be a
proxy's; for other services Apprise's word is taken. A failed send is an answer, never an exception; it ends within the
deadline, and what is said of it holds no part of an address. Apprise is imported at the first send, not at the start.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from push.addresses import REASON_CHARS_MAX, Target, encodes, secrets_of, targets_of
from push.answers import reason, strange_answer
from push.library import Send, apprise_library, sending, watch
from push.texts import fitted, plain_text, shortened
from values.errors import BadSetting
from values.settings import PushSettings

DEADLINE_S = 10.0
"""Seconds that a message may take on its way to all its targets together."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_QUIETLY: dict[str, tuple[str, object]] = {
    "NotifyPushover": ("priority", -1),
    "NotifyNtfy": ("priority", "low"),
    "NotifyTelegram": ("silent", True),
    "NotifyGotify": ("priority", 3),
    "NotifyProwl": ("priority", -1),
    "NotifyJoin": ("priority", -1),
    "NotifyPushSafer": ("priority", -1),
    "NotifyDiscord": ("flags", 4096),
    "NotifyBark": ("level", "passive"),
}
"""How each service is asked to show a message without sound or vibration; one that is not here can't be asked."""


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
        self._targets = targets_of(settings)

    @property
    def names(self) -> tuple[str, ...]:
        """Each target's kind: `pushover`, or the scheme of its address."""
        return tuple(target.name for target in self._targets)

    def check(self) -> None:
        """Raises BadSetting for the first address that Apprise does not understand. Costs the import of Apprise."""
        for target in self._targets:
            self._service(target)

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        """Send plain text to every target at once; what became of it at each, within the deadline.

        `is_silent` asks services that can for no sound and no vibration; others send it as any message.
        """
        ends = time.monotonic() + self.deadline_s
        done: dict[Target, Delivery] = {}
        threads = []
        for target in self._targets:
            try:
                service = self._service(target)
            except BadSetting as wrong:
                done[target] = Delivery(target.name, False, wrong.sentence)
                continue
            if is_silent and (quietly := _QUIETLY.get(type(service).__name__)) is not None:
                setattr(service, *quietly)
            threads.append(self._start(target, partial(self._send, service, target.name, title, message, ends), done))
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
        late = f"no answer within {self.deadline_s:g} s; it may still arrive"
        return [done.get(target) or Delivery(target.name, False, late) for target in self._targets]

    def _start(self, target: Target, send: Callable[[], Delivery], done: dict[Target, Delivery]) -> threading.Thread:
        """Begin one send. Its thread may outlive the deadline, but not the process."""

        def run() -> None:
            try:
                done[target] = send()
            except Exception as error:  # noqa: BLE001 - its text, and a traceback, could show an address
                done[target] = Delivery(target.name, False, f"Apprise failed with {type(error).__name__}")

        thread = threading.Thread(target=run, name="push", daemon=True)
        thread.start()
        return thread

    def _service(self, target: Target) -> Any:
        """Apprise's plugin for the target, made anew, so that sends share no state. Raises BadSetting."""
        apprise = apprise_library(every_service=target.address is not None)
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
        watch(sys.modules[type(service).__module__])
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

    def _send(self, service: Any, name: str, title: str, message: str, ends: float) -> Delivery:
        apprise = apprise_library()
        heading, body, kept_chars = fitted(service, title, message)
        send = Send(ends)
        sending.set(send)
        courier = apprise.Apprise(asset=service.asset)
        courier.add(service)
        result = courier.notify(body=body, title=heading, body_format=apprise.NotifyFormat.TEXT)
        # the attempts' own status: a target that its owner calls optional always "succeeds"
        attempts = [attempt for each in result.results for attempt in each.attempts]
        strange = strange_answer(service, send.answers)
        if not strange and any(attempt.status == apprise.AppriseResultStatus.SUCCESS for attempt in attempts):
            return Delivery(name, True, "", kept_chars, heading != title)
        said = [entry.message for attempt in attempts for entry in attempt.logs]
        return Delivery(name, False, self._redacted(strange or reason(send.answers, said)))

    def _redacted(self, text: str) -> str:
        secrets = secrets_of(self._settings)
        hidden = "|".join(map(re.escape, secrets))
        shown = re.sub(hidden, "[hidden]", plain_text(text), flags=re.IGNORECASE) if hidden else plain_text(text)
        shown = _BASE64.sub(lambda word: "[hidden]" if encodes(word[0], secrets) else word[0], shown)
        shown = re.sub(r"\w+://\S+", "[address]", shown)
        return shortened(" ".join(shown.split()), REASON_CHARS_MAX)
