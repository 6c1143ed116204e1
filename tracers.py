"""OpenTelemetry spans become the log rows that a dashboard shows.

`LogTracer` owns a provider of its own, never the global one. A span costs its caller an append to a bounded queue;
one daemon thread makes the rows, removes secrets, cuts long values and writes. A row that is lost (queue full, write
failing) is counted and said in a `trace` row. With an OTLP endpoint the same spans go there, secrets removed, uncut.
It declines sampling, exit hooks and all OTEL_* variables but the OTLP exporter's own. `account` rows aren't made here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote
from weakref import WeakValueDictionary

from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from values.clock import wall_now
from values.log import LogRow, LogType

logger = logging.getLogger(__name__)

# Literals, because the installed conventions package marks all of these deprecated: their new home has no package yet.
OPERATION, CONVERSATION, AGENT = "gen_ai.operation.name", "gen_ai.conversation.id", "gen_ai.agent.name"
MODEL, MODEL_ASKED, REPLY = "gen_ai.response.model", "gen_ai.request.model", "gen_ai.output.messages"
TOKENS_IN, TOKENS_OUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
TOOL, CALL_ID = "gen_ai.tool.name", "gen_ai.tool.call.id"
ARGUMENTS, RESULT = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
ERROR, ACCOUNT, MODE = "error.type", "floor.account", "floor.mode"
_KINDS: dict[object, LogType] = {"invoke_workflow": "trace", "invoke_agent": "agent"}
_KINDS |= {"chat": "generation", "execute_tool": "function"}

VALUE_CHARS_MAX, SECRET_CHARS_MIN = 4_000, 6
LINGER_S = 0.02  # rows of one moment share a transaction, so that the log rarely takes the store's write turn
RETRY_DELAYS_S = (0.05, 0.2, 1.0)
OTLP_TIMEOUT_S, CLOSE_S = 5.0, 2.0

_SECRET = "[secret]"  # noqa: S105
# Each begins with a literal, which `re` finds at memory speed (6 ms a MB for all); one alternation takes 25.
_KEYS = [(re.compile(rf"{key}(?<![A-Za-z0-9]{key})[\w-]{{8,}}"), _SECRET) for key in ("sk-", "xai-", "gsk_", "AIza")]
_KEYS += [(re.compile(r"Bearer\s+[\w.~+/=-]{6,}"), _SECRET), (re.compile(r"bearer\s+(?=\S*\d)[\w.~+/=-]{6,}"), _SECRET)]
_KEYS += [(re.compile(r"""://[^\s/@:"'<>?#\\]{0,200}:[^\s/"'<>?#\\]{1,200}@"""), f"://{_SECRET}@")]


@contextmanager
def _open(tracer: trace.Tracer, operation: str, name: str, **has: str) -> Iterator[trace.Span]:
    with tracer.start_as_current_span(f"{operation} {name}", attributes={OPERATION: operation, **has}) as span:
        try:
            yield span
        except asyncio.CancelledError:  # which OpenTelemetry takes for a good end
            span.set_status(trace.StatusCode.ERROR, "cancelled")
            raise


def session_span(tracer: trace.Tracer, account: str, session_id: str, mode: str) -> AbstractContextManager[trace.Span]:
    """A session's root span. What is opened inside inherits account, session and agent."""
    has = {ACCOUNT: account, CONVERSATION: session_id, AGENT: account, MODE: mode}
    return _open(tracer, "invoke_workflow", account, **has)


def agent_span(tracer: trace.Tracer, agent: str) -> AbstractContextManager[trace.Span]:
    """One agent's turn inside a session."""
    return _open(tracer, "invoke_agent", agent, **{AGENT: agent})


def tool_span(tracer: trace.Tracer, tool: str, call_id: str, arguments: object) -> AbstractContextManager[trace.Span]:
    """One tool call, `arguments` as text or as what JSON can say; `record_result` tells how it ended."""
    return _open(tracer, "execute_tool", tool, **{TOOL: tool, CALL_ID: call_id, ARGUMENTS: _text(arguments) or ""})


def record_result(span: trace.Span, result: str, error: str | None = None) -> None:
    """What a tool answered; `error` is the code of a refusal or failure."""
    span.set_attribute(RESULT, result)
    if error is not None:
        span.set_attribute(ERROR, error)
        span.set_status(trace.StatusCode.ERROR, error)


def record_response(span: trace.Span, text: str) -> None:
    """An agent's final words: a `response` row when the span ends."""
    span.add_event("response", {"text": text})


class _Redactor:
    """Takes secrets out: given values of 6 characters or more (also as JSON or a URL has them) and well-known keys."""

    def __init__(self, secrets: Collection[str]) -> None:
        forms = set[str]()
        for secret in (each for each in secrets if len(each) >= SECRET_CHARS_MIN):
            once = (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
            forms |= {*once, *(json.dumps(each)[1:-1] for each in once), quote(secret, "")}
        self._secrets = sorted(forms, key=len, reverse=True)

    def whole(self, text: str) -> str:
        # for one NUL or lone surrogate a store would refuse a whole batch
        text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
        for secret in self._secrets:
            text = text.replace(secret, _SECRET)
        for key, instead in _KEYS:
            text = key.sub(instead, text)
        return text

    def cut(self, text: str) -> str:
        """Redacted, then cut to 4,000 characters with a mark that says how many are left out."""
        text = self.whole(text)
        left_out = len(text) - VALUE_CHARS_MAX
        return text if left_out <= 0 else f"{text[:VALUE_CHARS_MAX]}… [{left_out:,} characters left out]"

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """A copy, because an ended span can't be changed."""
        return ReadableSpan(
            self.value(span.name), span.context, span.parent, span.resource, self.value(span.attributes),
            [Event(each.name, self.value(each.attributes), each.timestamp) for each in span.events],
            [trace.Link(each.context, self.value(each.attributes)) for each in span.links], span.kind,
            status=trace.Status(span.status.status_code, self.value(span.status.description)),
            start_time=span.start_time, end_time=span.end_time, instrumentation_scope=span.instrumentation_scope,
        )  # fmt: skip

    def value(self, value: Any) -> Any:
        """An attribute's value, redacted through sequences and mappings."""
        if isinstance(value, str | bytes):
            return self.whole(value if isinstance(value, str) else value.decode("utf-8", "replace"))
        if isinstance(value, Mapping):
            return {self.whole(key): self.value(each) for key, each in value.items()}
        return tuple(map(self.value, value)) if isinstance(value, Sequence) else value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError) as error:  # brackets in brackets, numbers of thousands of digits
        return f"[no text: {error}]"


def _reply(value: Any) -> tuple[str | None, str]:
    """The words and calls in `gen_ai.output.messages`, one a line (as they came in any other shape), and a summary."""
    try:
        messages = json.loads(value) if isinstance(value, str) else value
        parts = [part for message in messages or () for part in message["parts"]]
        calls = [part for part in parts if part["type"] == "tool_call"]
        lines = [_text(part["content"]) or "" for part in parts if part["type"] == "text"]
        lines += [f"{call['name']}({_text(call.get('arguments')) or ''})" for call in calls]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return _text(value), "replied"
    asked = ", ".join(str(call["name"]) for call in calls)
    return "\n".join(lines) or _text(value), f"asked for {asked}" if asked else "replied"


def _failure(span: ReadableSpan, has: Mapping[str, Any]) -> str | None:
    """Why the span failed: its status, else its last exception, else its error.type; None when it did not."""
    if span.status.description:
        return span.status.description
    for thrown in (event.attributes or {} for event in reversed(span.events) if event.name == "exception"):
        return f"{thrown.get('exception.type')}: {thrown.get('exception.message')}"
    return str(has.get(ERROR, "error")) if ERROR in has or span.status.status_code is trace.StatusCode.ERROR else None


class _Rows(SpanProcessor):
    """Queues spans as they start and end; their rows are made on the writer's thread."""

    def __init__(self, put: Callable[[_Entry], None], redactor: _Redactor, wall: Callable[[], datetime]) -> None:
        self._put, self._redactor, self._wall = put, redactor, wall
        # By span id and trace id: between our spans stand AutoGen's, which carry our ids and none of our attributes.
        self._live: WeakValueDictionary[int, Span] = WeakValueDictionary()
        self._silent: WeakValueDictionary[int, Span] = WeakValueDictionary()

    def on_start(self, span: Span, parent_context: object = None) -> None:
        own, parent, has = span.get_span_context(), span.parent, span.attributes or {}
        above = parent and (self._live.get(parent.span_id) or self._live.get(parent.trace_id))
        if above and above.attributes:
            self._announce(above)
            for name in (CONVERSATION, ACCOUNT, AGENT):
                if name in above.attributes and name not in has:
                    span.set_attribute(name, above.attributes[name])
        self._live[own.span_id] = self._silent[own.span_id] = span
        self._live.setdefault(own.trace_id, span)
        self._announce(span)

    def _announce(self, span: Span) -> None:
        """The `started` row, once the span says what it is: at its start, else at its first child's."""
        has, span_id = span.attributes or {}, span.get_span_context().span_id
        kind = _KINDS.get(has.get(OPERATION))
        if kind in ("trace", "agent") and self._silent.pop(span_id, False):
            make = partial(self._row, kind, dict(has), span_id, self._wall(), "started")
            self._put(_Entry(1, Counter({str(has.get(ACCOUNT, "")): 1}), make))

    def on_end(self, span: ReadableSpan) -> None:
        self._silent.pop(span.context.span_id, None)
        has = span.attributes or {}
        rows = sum(event.name == "response" for event in span.events) + (has.get(OPERATION) in _KINDS)
        if rows:
            make = partial(self._ended, span, has, self._wall())
            self._put(_Entry(rows, Counter({str(has.get(ACCOUNT, "")): rows}), make))

    def _ended(self, span: ReadableSpan, has: Mapping[str, Any], at: datetime) -> list[LogRow]:
        rows: list[LogRow] = []
        for said in (event.attributes or {} for event in span.events if event.name == "response"):
            rows += self._row("response", has, span.context.span_id, at, _text(said.get("text")) or "")
        kind, why, outcome = _KINDS.get(has.get(OPERATION)), _failure(span, has), "finished"
        if kind is None:
            return rows
        latency_ms = max(0, (span.end_time or 0) - (span.start_time or 0)) / 1e6
        more: dict[str, Any] = {"is_error": why is not None, "latency_ms": latency_ms}
        if kind == "generation":
            more["result"], outcome = _reply(has.get(REPLY))
            more |= {"input_tokens": has.get(TOKENS_IN), "output_tokens": has.get(TOKENS_OUT)}
        elif kind == "function":
            more |= {"arguments": _text(has.get(ARGUMENTS)), "result": _text(has.get(RESULT, why))}
        outcome = outcome if why is None else f"failed: {why}"
        return rows + self._row(kind, has, span.context.span_id, at, outcome, **more)

    def _row(
        self, kind: LogType, has: Mapping[str, Any], span_id: int, at: datetime, message: str, **more: Any
    ) -> list[LogRow]:
        model = MODEL if MODEL in has else MODEL_ASKED
        if kind != "response":
            who = {"trace": MODE, "agent": AGENT, "generation": model, "function": TOOL}[kind]
            message = f"{has.get(who, '')}{' session' if kind == 'trace' else ''} {message}".lstrip()
        more |= {"message": message, "session_id": has.get(CONVERSATION)}
        more |= {"tool": has.get(TOOL), "model": has.get(model), "span_id": trace.format_span_id(span_id)}
        more |= {field: self._redactor.cut(value) for field, value in more.items() if isinstance(value, str)}
        return [LogRow(kind, str(has.get(ACCOUNT, "")), wall_time=at, **more)]


class _Entry(NamedTuple):
    """`rows` still to be made, by account in `owed`; or, with 0 rows, a notice of as many as found no room after it."""

    rows: int
    owed: Counter[str]
    make: Callable[[], list[LogRow]]
    told: Future[bool] | None = None


def _otlp(endpoint: str, redactor: _Redactor) -> BatchSpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # 0.1 s that few need

    class Redacted(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return super().export([redactor.span(span) for span in spans])

    no_metrics, address = NoOpMeterProvider(), endpoint.rstrip("/").removesuffix("/v1/traces") + "/v1/traces"
    exporter = Redacted(address, timeout=OTLP_TIMEOUT_S, meter_provider=no_metrics)
    return BatchSpanProcessor(exporter, 2048, 1000, 256, OTLP_TIMEOUT_S * 1000, meter_provider=no_metrics)


class LogTracer(AbstractContextManager["LogTracer"]):
    """Open spans with `tracer`; their rows go to `write` a moment later, in the order they came.

    `write` gets whole spans, `batch_rows` rows or so, on a thread of its own, and writes all or none; one that raises
    is tried four times with `pause` (seconds) between. A span without an account has rows of the account "".
    `otlp_endpoint` is a collector's address, with or without `/v1/traces`. Close it at the end: no exit hook does.
    """

    def __init__(
        self, write: Callable[[Sequence[LogRow]], None], *, secrets: Collection[str] = (),
        otlp_endpoint: str | None = None, wall: Callable[[], datetime] = wall_now, queue_rows: int = 10_000,
        batch_rows: int = 500, pause: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        self._write, self._wall, self._queue_rows, self._batch_rows = write, wall, queue_rows, batch_rows
        self._closed = threading.Event()
        self._pause = pause or self._closed.wait
        # Re-entrant, because a span can end in a finalizer that runs while its thread holds the lock.
        self._work = threading.Condition(threading.RLock())
        self._entries, self._waiting, self._hurry = deque[_Entry](), 0, False
        self._untold = Counter[str]()
        # All is given, so that no OTEL_* variable is asked. A limit on length would cut a secret in two.
        limits = SpanLimits(128, 1000, 128, 128, 128, 128, SpanLimits.UNSET, SpanLimits.UNSET)
        resource, redactor = Resource({"service.name": "trading-floor"}), _Redactor(secrets)
        provider = TracerProvider(ALWAYS_ON, resource, False, span_limits=limits, meter_provider=NoOpMeterProvider())
        provider._disabled = False  # OTEL_SDK_DISABLED is about telemetry; these rows are the product
        provider.add_span_processor(_Rows(self._put, redactor, wall))
        self._otlp = _otlp(otlp_endpoint, redactor) if otlp_endpoint else None
        if self._otlp:
            provider.add_span_processor(self._otlp)
        self.tracer: trace.Tracer = provider.get_tracer("trading-floor")
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Blocks until every row so far is written, or a row that says it is lost; False when that did not succeed."""
        told = Future[bool]()
        with self._work:
            if self._closed.is_set():
                return not self._writer.is_alive() and not self._untold
            self._entries.append(self._notice(told))
            self._hurry = True
            self._work.notify()
        try:
            return told.result(timeout_s)
        except TimeoutError:
            return False

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """`flush`, without blocking the event loop."""
        return await asyncio.to_thread(self.flush, timeout_s)

    def close(self) -> None:
        """Writes and exports what is left, in 2 seconds at most; what comes later is lost, with a warning."""
        deadline = time.monotonic() + CLOSE_S
        # in a thread, because the SDK's own shutdown waits up to 30 s for an endpoint that hangs
        export = threading.Thread(target=self._otlp.shutdown if self._otlp else None, daemon=True)
        export.start()
        with self._work:
            self._closed.set()
            self._work.notify()
        for thread in (self._writer, export):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._writer.is_alive():
            logger.error("the log was not written within %.1f s of closing; rows are lost", CLOSE_S)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, entry: _Entry) -> None:
        with self._work:
            if self._closed.is_set():
                logger.warning("log rows came after the log was closed and are lost: %s", entry.owed)
            elif not self._waiting or self._waiting + entry.rows <= self._queue_rows:
                self._entries.append(entry)
                self._waiting += entry.rows
                if len(self._entries) == 1 or self._waiting >= self._batch_rows:
                    self._work.notify()
            else:
                if self._entries[-1].rows:
                    self._entries.append(self._notice())
                self._entries[-1].owed.update(entry.owed)

    def _run(self) -> None:
        while batch := self._take():
            self._deliver(batch)
            for entry in batch:
                if entry.told:
                    entry.told.set_result(not self._untold)
        self._deliver([])

    def _take(self) -> list[_Entry]:
        """The next batch, of whole spans; empty once all is taken and the tracer closed."""
        with self._work:
            while not self._entries and not self._closed.is_set():
                self._work.wait()
            if self._waiting < self._batch_rows and not self._hurry and not self._closed.is_set():
                self._work.wait(LINGER_S)
            batch: list[_Entry] = []
            rows = 0
            while self._entries and (not batch or rows + self._entries[0].rows <= self._batch_rows):
                batch.append(self._entries.popleft())
                rows += batch[-1].rows
            self._waiting -= rows
            self._hurry = self._hurry and bool(self._entries)
            return batch

    def _deliver(self, batch: list[_Entry]) -> None:
        """Writes the batch, and before it a notice of what was given up earlier."""
        owed, self._untold = self._untold, Counter()
        rows = self._notices(owed)
        for entry in batch:
            try:
                rows += entry.make()
                owed.update(entry.owed)
            except Exception:
                logger.exception("a span could not be made into log rows")
                self._untold.update(entry.owed)
        for delay_s in (*RETRY_DELAYS_S, None) if rows else ():
            try:
                self._write(rows)
                break
            except Exception:
                if delay_s is None:
                    logger.exception("%d log rows could not be written and are lost", len(rows))
                    self._untold.update(owed)
                else:
                    self._pause(delay_s)

    def _notice(self, told: Future[bool] | None = None) -> _Entry:
        lost = Counter[str]()
        return _Entry(0, lost, partial(self._notices, lost), told)

    def _notices(self, lost: Mapping[str, int]) -> list[LogRow]:
        said, at = "log rows lost: the log could not keep up", self._wall()
        return [LogRow("trace", name, f"{count:,} {said}", at, is_error=True) for name, count in lost.items()]
