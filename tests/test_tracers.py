"""What a user of `LogTracer` can rely on: which rows spans become, what is never lost silently, what never leaks."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes

import tracers
from tracers import LogTracer, agent_span, record_response, record_result, session_span, tool_span
from values.log import LogRow

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECRET = 'pa"ss/wörd-7391'


class Log:
    """An in-memory logs table that can be held shut or made to fail."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.batches: list[int] = []
        self.failures = 0
        self.open = threading.Event()
        self.open.set()
        self.busy = threading.Event()

    def write(self, rows: Sequence[LogRow]) -> None:
        self.busy.set()
        assert self.open.wait(20)
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        self.batches.append(len(rows))
        self.rows += rows

    @property
    def messages(self) -> list[str]:
        return [row.message for row in self.rows]

    def only(self, kind: str) -> LogRow:
        (row,) = [row for row in self.rows if row.type == kind]
        return row


@pytest.fixture
def log() -> Log:
    return Log()


@contextmanager
def logging_to(log: Log, **options: Any) -> Iterator[LogTracer]:
    with LogTracer(log.write, wall=lambda: NOON, **options) as tracer:
        yield tracer


def chat(tracer: LogTracer, model: str = "gpt-5", **more: Any) -> None:
    has: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, **more}
    tracer.tracer.start_span(f"chat {model}", attributes=has).end()


def says(*parts: dict[str, Any]) -> dict[str, str]:
    return {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts, "finish_reason": "stop"}])}


def test_a_session_reads_as_a_story(log: Log) -> None:
    with logging_to(log) as tracer, session_span(tracer.tracer, "warren", "trace_warren7", "rebalance"):
        with agent_span(tracer.tracer, "researcher") as researcher:
            chat(tracer, **says({"type": "tool_call", "id": "1", "name": "fetch", "arguments": {"url": "x"}}))
            with tool_span(tracer.tracer, "fetch", "1", {"url": "x"}) as call:
                record_result(call, "a page")
            record_response(researcher, "NVDA looks dear")
        chat(tracer, **says({"type": "text", "content": "done"}))
    assert [(row.type, row.message) for row in log.rows] == [
        ("trace", "rebalance session started"),
        ("agent", "researcher started"),
        ("generation", "gpt-5 asked for fetch"),
        ("function", "fetch finished"),
        ("response", "NVDA looks dear"),
        ("agent", "researcher finished"),
        ("generation", "gpt-5 replied"),
        ("trace", "rebalance session finished"),
    ]
    assert {row.account for row in log.rows} == {"warren"}
    assert {row.session_id for row in log.rows} == {"trace_warren7"}
    assert {row.wall_time for row in log.rows} == {NOON}
    assert not any(row.is_error for row in log.rows)


def test_a_model_call_keeps_its_model_tokens_latency_and_reply(log: Log) -> None:
    with logging_to(log) as tracer:
        has: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5-2026-01",
            "gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 34, "floor.account": "george",
            **says(
                {"type": "text", "content": "Buying."},
                {"type": "tool_call", "id": "1", "name": "buy_shares", "arguments": {"symbol": "BRK.B"}},
                {"type": "tool_call", "id": "2", "name": "push", "arguments": '{"message": "hi"}'},
            ),
        }  # fmt: skip
        tracer.tracer.start_span("chat gpt-5", attributes=has, start_time=1_000_000_000).end(1_250_500_000)
    row = log.only("generation")
    assert (row.account, row.model, row.input_tokens, row.output_tokens) == ("george", "gpt-5-2026-01", 1200, 34)
    assert row.latency_ms == 250.5
    assert row.message == "gpt-5-2026-01 asked for buy_shares, push"
    assert row.result == 'Buying.\nbuy_shares({"symbol": "BRK.B"})\npush({"message": "hi"})'


@pytest.mark.parametrize("odd", ["words", "0", "[1]", '{"parts": 3}', '[{"parts": [{"type": "text"}]}]', "[" * 9999])
def test_a_reply_of_another_shape_is_shown_as_it_came(log: Log, odd: str) -> None:
    with logging_to(log) as tracer:
        chat(tracer, **{"gen_ai.output.messages": odd})
    assert (log.only("generation").result or "").startswith(odd[:4000])


def test_a_tool_call_keeps_tool_arguments_and_result(log: Log) -> None:
    arguments = {"symbol": "NVDA", "quantity": "3"}
    with logging_to(log) as tracer, tool_span(tracer.tracer, "buy_shares", "c1", arguments) as call:
        record_result(call, '{"price": "187.42"}')
    row = log.only("function")
    assert (row.tool, row.arguments, row.result) == (
        "buy_shares", '{"symbol": "NVDA", "quantity": "3"}', '{"price": "187.42"}',
    )  # fmt: skip
    assert row.latency_ms is not None
    assert row.latency_ms >= 0


def test_a_clock_that_was_set_back_gives_no_negative_latency(log: Log) -> None:
    with logging_to(log) as tracer:
        span = tracer.tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"}, start_time=2_000_000)
        span.end(1_000_000)
    assert log.only("generation").latency_ms == 0


def test_a_session_is_on_the_dashboard_before_it_ends(log: Log) -> None:
    with logging_to(log) as tracer:
        with session_span(tracer.tracer, "cathie", "trace_cathie1", "trade"), agent_span(tracer.tracer, "trader"):
            assert tracer.flush()
            assert log.messages == ["trade session started", "trader started"]
        assert {(row.account, row.session_id) for row in log.rows} == {("cathie", "trace_cathie1")}


def test_a_session_that_says_what_it_is_after_its_start_is_shown_with_its_first_child(log: Log) -> None:
    with logging_to(log) as tracer, tracer.tracer.start_as_current_span("session") as session:
        session.set_attribute("gen_ai.operation.name", "invoke_workflow")
        session.set_attributes({"floor.account": "ray", "floor.mode": "trade"})
        chat(tracer)
        chat(tracer)
        assert tracer.flush()
        assert [(row.account, row.message) for row in log.rows] == [
            ("ray", "trade session started"),
            ("ray", "gpt-5 replied"),
            ("ray", "gpt-5 replied"),
        ]


def test_a_span_that_ended_is_not_announced_by_a_late_child(log: Log) -> None:
    with logging_to(log) as tracer:
        session = tracer.tracer.start_span("session")
        session.set_attribute("gen_ai.operation.name", "invoke_workflow")
        session.end()
        tracer.tracer.start_span("cleanup", context=trace.set_span_in_context(session)).end()
    assert log.messages == ["session finished"]


def test_every_row_of_a_span_names_the_span(log: Log) -> None:
    with logging_to(log) as tracer, session_span(tracer.tracer, "ray", "trace_ray1", "trade") as session:
        record_response(session, "first")
        record_response(session, "second")
    assert log.messages == ["trade session started", "first", "second", "trade session finished"]
    assert {row.span_id for row in log.rows} == {trace.format_span_id(session.get_span_context().span_id)}


def test_a_span_of_another_kind_leaves_only_its_responses(log: Log) -> None:
    with logging_to(log) as tracer:
        with tracer.tracer.start_as_current_span("cycle") as cycle:
            record_response(cycle, "4 traders ran")
        tracer.tracer.start_span("embeddings x", attributes={"gen_ai.operation.name": "embeddings"}).end()
    assert [(row.type, row.message, row.account) for row in log.rows] == [("response", "4 traders ran", "")]


def test_a_child_inherits_only_what_it_lacks(log: Log) -> None:
    with logging_to(log) as tracer, session_span(tracer.tracer, "warren", "trace_warren1", "trade"):
        chat(tracer)
        chat(tracer, **{"floor.account": "george", "gen_ai.conversation.id": "trace_george1"})
    generations = [(row.account, row.session_id) for row in log.rows if row.type == "generation"]
    assert generations == [("warren", "trace_warren1"), ("george", "trace_george1")]


def test_a_child_inherits_from_the_nearest_span_above(log: Log) -> None:
    with logging_to(log) as tracer, session_span(tracer.tracer, "warren", "trace_warren1", "trade"):
        with session_span(tracer.tracer, "george", "trace_george1", "trade") as inner:
            inner.set_attribute("floor.mode", "too late for the row of the start")
            chat(tracer)
        chat(tracer)
    assert [row.account for row in log.rows if row.type == "generation"] == ["george", "warren"]
    assert [row.account for row in log.rows if row.message == "trade session started"] == ["warren", "george"]


@pytest.mark.parametrize("other", [trace.NoOpTracerProvider(), TracerProvider(shutdown_on_exit=False)])
def test_a_child_inherits_through_a_library_that_opens_spans_of_its_own(log: Log, other: trace.TracerProvider) -> None:
    theirs = other.get_tracer("autogen").start_as_current_span("invoke_agent")
    with logging_to(log) as tracer, session_span(tracer.tracer, "warren", "trace_warren1", "trade"), theirs:
        chat(tracer)
    row = log.only("generation")
    assert (row.account, row.session_id) == ("warren", "trace_warren1")


async def test_concurrent_sessions_do_not_mix(log: Log) -> None:
    async def trade(name: str) -> None:
        with session_span(tracer.tracer, name, f"trace_{name}", "trade"):
            for _ in range(5):
                await asyncio.sleep(0)
                chat(tracer)

    with logging_to(log) as tracer:
        await asyncio.gather(*map(trade, ["warren", "george", "ray"]))
    assert all(row.session_id == f"trace_{row.account}" for row in log.rows)
    assert len([row for row in log.rows if row.type == "generation"]) == 15


def test_an_ended_span_is_let_go(log: Log) -> None:
    with logging_to(log) as tracer:
        span = tracer.tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        gone = weakref.ref(span)
        span.end()
        assert tracer.flush()
        del span
        assert gone() is None


def test_a_refused_tool_call_is_an_error_with_its_code(log: Log) -> None:
    with logging_to(log) as tracer, tool_span(tracer.tracer, "buy_shares", "c1", "{}") as call:
        record_result(call, "insufficient_cash: 27 shares would fit", error="insufficient_cash")
    row = log.only("function")
    assert row.is_error
    assert row.message == "buy_shares failed: insufficient_cash"
    assert row.result == "insufficient_cash: 27 shares would fit"


def test_an_exception_makes_error_rows_all_the_way_up(log: Log) -> None:
    with logging_to(log) as tracer, pytest.raises(RuntimeError):
        with session_span(tracer.tracer, "warren", "trace_warren1", "trade"), tool_span(tracer.tracer, "push", "1", {}):
            raise RuntimeError("server gone")
    assert [(row.type, row.is_error, row.message) for row in log.rows] == [
        ("trace", False, "trade session started"),
        ("function", True, "push failed: RuntimeError: server gone"),
        ("trace", True, "trade session failed: RuntimeError: server gone"),
    ]
    assert log.only("function").result == "RuntimeError: server gone"


@pytest.mark.parametrize(("mark", "why"), [
    (lambda span: span.record_exception(TimeoutError("60 s")), "TimeoutError: 60 s"),
    (lambda span: span.set_attribute("error.type", "rate_limited"), "rate_limited"),
    (lambda span: span.set_status(trace.StatusCode.ERROR), "error"),
    (lambda span: span.set_status(trace.StatusCode.ERROR, "no answer"), "no answer"),
])  # fmt: skip
def test_each_way_to_mark_a_failure_makes_an_error_row(log: Log, mark: Callable[[trace.Span], None], why: str) -> None:
    with logging_to(log) as tracer:
        has = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
        with tracer.tracer.start_as_current_span("chat gpt-5", attributes=has) as span:
            mark(span)
    row = log.only("generation")
    assert row.is_error
    assert row.message == f"gpt-5 failed: {why}"


async def test_a_cancelled_tool_call_does_not_look_like_a_success(log: Log) -> None:
    async def call_for_ever() -> None:
        with tool_span(tracer.tracer, "fetch", "1", {}):
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    with logging_to(log) as tracer:
        task = asyncio.create_task(call_for_ever())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (log.only("function").is_error, log.only("function").message) == (True, "fetch failed: cancelled")


def test_a_thousand_spans_from_four_threads_lose_nothing(log: Log) -> None:
    def work(name: str) -> None:
        for n in range(250):
            chat(tracer, f"m{n}", **{"floor.account": name})

    with logging_to(log, batch_rows=64) as tracer:
        threads = [threading.Thread(target=work, args=(name,)) for name in ("warren", "george", "ray", "cathie")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert tracer.flush()
    for name in ("warren", "george", "ray", "cathie"):
        assert [row.model for row in log.rows if row.account == name] == [f"m{n}" for n in range(250)]
    assert max(log.batches) <= 64


def test_a_full_queue_drops_counts_and_says_so_where_the_hole_is(log: Log) -> None:
    log.open.clear()
    with logging_to(log, queue_rows=4) as tracer:
        chat(tracer, "in the writer's hands")
        assert log.busy.wait(20)
        for n in range(4):
            chat(tracer, f"fits {n}")
        for _ in range(3):
            chat(tracer, "lost", **{"floor.account": "warren"})
        with session_span(tracer.tracer, "george", "trace_george1", "trade") as session:  # one row
            record_response(session, "lost with the end's row")  # and two
        log.open.set()
        assert tracer.flush()
        chat(tracer, "fits again")
    assert [(row.account, row.message) for row in log.rows] == [
        ("", "in the writer's hands replied"),
        *(("", f"fits {n} replied") for n in range(4)),
        ("warren", "3 log rows lost: the log could not keep up"),
        ("george", "3 log rows lost: the log could not keep up"),
        ("", "fits again replied"),
    ]
    assert [(row.type, row.is_error) for row in log.rows if "lost" in row.message] == [("trace", True)] * 2


def test_a_span_with_more_rows_than_the_queue_has_room_for_is_written_when_nothing_waits(log: Log) -> None:
    with logging_to(log, queue_rows=1, batch_rows=1) as tracer, tracer.tracer.start_as_current_span("cycle") as cycle:
        record_response(cycle, "one")
        record_response(cycle, "two")
    assert log.messages == ["one", "two"]


def test_nothing_is_written_where_nothing_happened(log: Log) -> None:
    with logging_to(log) as tracer:
        assert tracer.flush()
    assert log.batches == []


def test_a_write_that_fails_twice_is_tried_again_and_loses_nothing(log: Log) -> None:
    log.failures = 2
    pauses: list[float] = []
    with logging_to(log, pause=pauses.append) as tracer:
        chat(tracer)
        assert tracer.flush()
    assert log.messages == ["gpt-5 replied"]
    assert pauses == [0.05, 0.2]


def test_a_write_that_keeps_failing_costs_its_rows_and_not_the_log(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.failures = 4
    pauses: list[float] = []
    with logging_to(log, pause=pauses.append) as tracer:
        chat(tracer, **{"floor.account": "warren"})
        chat(tracer, **{"floor.account": "warren"})
        assert not tracer.flush()
        assert len(pauses) == 3
        chat(tracer, "next")
        assert tracer.flush()
    assert log.messages == ["2 log rows lost: the log could not keep up", "next replied"]
    assert log.rows[0].account == "warren"
    (error,) = caplog.records
    assert error.levelno == logging.ERROR
    assert error.getMessage() == "2 log rows could not be written and are lost"


def test_a_loss_is_still_told_when_nothing_more_happens(log: Log) -> None:
    log.failures = 4
    with logging_to(log, pause=lambda _: None) as tracer:
        chat(tracer)
        assert not tracer.flush()
    assert log.messages == ["1 log rows lost: the log could not keep up"]


def test_losses_that_could_not_be_told_add_up(log: Log) -> None:
    log.failures = 8
    with logging_to(log, pause=lambda _: None) as tracer:
        for _ in range(2):
            chat(tracer)
            assert not tracer.flush()
        assert tracer.flush()
        assert log.messages == ["2 log rows lost: the log could not keep up"]


def test_spans_end_at_once_while_a_write_hangs(log: Log) -> None:
    log.open.clear()
    with logging_to(log) as tracer:
        chat(tracer)
        assert log.busy.wait(20)
        for _ in range(100):
            chat(tracer)
        assert not tracer.flush(timeout_s=0.01)
        assert log.rows == []
        log.open.set()
        assert tracer.flush()
        assert len(log.rows) == 101


def test_a_flush_does_not_wait_for_rows_to_gather(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracers, "LINGER_S", 600.0)
    with logging_to(log) as tracer:
        chat(tracer)
        assert tracer.flush(timeout_s=20)


async def test_an_awaited_flush_leaves_the_event_loop_free(log: Log) -> None:
    log.open.clear()
    with logging_to(log) as tracer:
        chat(tracer)
        flush = asyncio.create_task(tracer.aflush())
        asyncio.get_running_loop().call_soon(log.open.set)  # which a blocked loop would never do
        assert await flush
        assert log.messages == ["gpt-5 replied"]


def test_closing_writes_what_is_left_and_later_spans_are_lost_with_a_warning(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    with logging_to(log) as tracer:
        for _ in range(50):
            chat(tracer)
    assert len(log.rows) == 50
    assert caplog.records == []
    chat(tracer, **{"floor.account": "warren"})
    tracer.close()
    assert len(log.rows) == 50
    assert tracer.flush()
    assert ["warren" in record.getMessage() for record in caplog.records] == [True]


def test_closing_cuts_the_pause_before_a_retry_short(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracers, "RETRY_DELAYS_S", (60.0,))
    log.failures = 1
    with logging_to(log) as tracer:
        chat(tracer)
        assert log.busy.wait(20)
        assert not tracer.flush(timeout_s=0.05)
    assert log.messages == ["gpt-5 replied"]
    assert caplog.records == []


def test_closing_does_not_wait_for_a_write_that_hangs(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracers, "CLOSE_S", 0.05)
    log.open.clear()
    with logging_to(log) as tracer:
        chat(tracer)
    assert log.rows == []
    assert "was not written within" in caplog.text
    log.open.set()


def test_a_process_that_never_closes_its_log_still_ends_and_prints_nothing() -> None:
    program = (
        "import threading, tracers\n"
        "tracer = tracers.LogTracer(lambda rows: threading.Event().wait())\n"
        "with tracers.session_span(tracer.tracer, 'warren', 'trace_warren1', 'trade'): pass\n"
        "assert not tracer.flush(0.01)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=Path(tracers.__file__).parent, timeout=60, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_secrets_leave_no_trace_in_any_text(log: Log) -> None:
    with logging_to(log, secrets=[SECRET]) as tracer, agent_span(tracer.tracer, "trader") as agent:
        chat(tracer, **says({"type": "text", "content": f"the key is {SECRET}"}))
        chat(tracer, **says({"type": "tool_call", "id": "1", "name": "f", "arguments": json.dumps({"k": SECRET})}))
        with tool_span(tracer.tracer, "fetch", "1", {"key": SECRET, "deep": [{"x": SECRET}]}) as call:
            record_result(call, json.dumps({"echo": SECRET}), error=f"bad {SECRET}")
        with pytest.raises(ValueError), tool_span(tracer.tracer, SECRET, "2", SECRET):
            raise ValueError(f"no {SECRET}")
        record_response(agent, f"I saw {SECRET}")
    shown = "\n".join(str(row) for row in log.rows)
    assert shown.count("[secret]") >= 9
    for leak in (SECRET, "wörd-7391", "rd-7391"):
        assert leak not in shown


def test_a_secret_is_found_as_json_and_addresses_write_it(log: Log) -> None:
    sent = {"body": json.dumps({"k": SECRET}), "url": f"https://example.com/?key={quote(SECRET, safe='')}"}
    with logging_to(log, secrets=[SECRET]) as tracer, tool_span(tracer.tracer, "fetch", "1", sent):
        pass
    assert json.loads(log.only("function").arguments or "") == {
        "body": '{"k": "[secret]"}',
        "url": "https://example.com/?key=[secret]",
    }


def test_a_secret_that_begins_another_does_not_uncover_its_end(log: Log) -> None:
    secrets, said = ["abcdef", "abcdef-the-end"], "abcdef-the-end, abcdef"
    with logging_to(log, secrets=secrets) as tracer, tool_span(tracer.tracer, "f", "1", said):
        pass
    assert log.only("function").arguments == "[secret], [secret]"


@pytest.mark.parametrize("key", [
    "sk-proj-abcDEF123456", "sk-ant-api03-xyzxyzxyz", "xai-abcdef123456", "gsk_abcdef123456", "AIzaSyA-1234567890",
    "Bearer abc.def-123", "bearer abc.def-123",
])  # fmt: skip
def test_what_looks_like_a_key_is_hidden_though_nobody_named_it(log: Log, key: str) -> None:
    with logging_to(log) as tracer, tool_span(tracer.tracer, "fetch", "1", {"Authorization": key}) as call:
        record_result(call, f"before {key} after")
    row = log.only("function")
    assert row.arguments == '{"Authorization": "[secret]"}'
    assert row.result == "before [secret] after"


@pytest.mark.parametrize(("url", "shown"), [
    ("postgresql://floor:hunter2@db.example/floor", "postgresql://[secret]@db.example/floor"),
    ("redis://:hunter2@cache:6379", "redis://[secret]@cache:6379"),
    ("https://a:b@c@d/e", "https://[secret]@d/e"),
    ("http://localhost:8080/x?mail=a@b.c", "http://localhost:8080/x?mail=a@b.c"),
])  # fmt: skip
def test_a_password_in_an_address_is_hidden(log: Log, url: str, shown: str) -> None:
    with logging_to(log) as tracer, tool_span(tracer.tracer, "fetch", "1", {"url": url}):
        pass
    assert log.only("function").arguments == json.dumps({"url": shown})


@pytest.mark.parametrize("innocent", [
    "a risk-adjusted-return-of-12", "bearer securities", "https://example.com/a@b", "sk-8", "ask-me-anything-now",
])  # fmt: skip
def test_plain_words_are_left_alone(log: Log, innocent: str) -> None:
    with logging_to(log, secrets=["short", ""]) as tracer, tool_span(tracer.tracer, "f", "1", innocent + " short"):
        pass
    assert log.only("function").arguments == innocent + " short"


def test_a_long_value_is_cut_with_a_mark(log: Log) -> None:
    with logging_to(log) as tracer, tool_span(tracer.tracer, "fetch", "1", "a" * 4000) as call:
        record_result(call, "b" * 10_000)
        record_response(call, "c" * 4001)
    row = log.only("function")
    assert row.arguments == "a" * 4000
    assert row.result == "b" * 4000 + "… [6,000 characters left out]"
    assert log.only("response").message == "c" * 4000 + "… [1 characters left out]"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.one_of(st.just(None), st.text("ab:/@ \"\\\n\0\ud800é", max_size=8)), max_size=8),
    secret=st.text("abcé/\"\\", min_size=6, max_size=12),
    pad=st.integers(0, 4010),
)  # fmt: skip
def test_no_text_hides_a_secret_or_outgrows_its_limit(text: list[str | None], secret: str, pad: int) -> None:
    log = Log()
    given_text = "x" * pad + "".join(secret if part is None else part for part in text)
    with logging_to(log, secrets=[secret]) as tracer, tool_span(tracer.tracer, "f", "1", {"k": given_text}) as call:
        record_result(call, given_text)
    row = log.only("function")
    for shown in (row.result or "", row.arguments or ""):
        assert secret not in shown
        assert json.dumps(secret)[1:-1] not in shown
        assert len(shown) <= 4000 + len("… [99,999 characters left out]")
        assert "\0" not in shown
        shown.encode()


def test_a_value_that_is_no_text_is_shown_as_json(log: Log) -> None:
    with logging_to(log, secrets=[SECRET]) as tracer, tool_span(tracer.tracer, "f", "1", {}) as call:
        call.set_attribute("gen_ai.tool.call.result", {"k": (1, None, b"x", SECRET)})
    assert log.only("function").result == json.dumps({"k": [1, None, "b'x'", "[secret]"]})


def test_a_span_that_no_row_can_show_is_counted_and_does_not_stop_the_log(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracers, "_reply", lambda _: 1 / 0)
    with logging_to(log) as tracer:
        chat(tracer)
        with tool_span(tracer.tracer, "f", "1", {}):
            pass
        assert not tracer.flush()
    assert log.messages == ["f finished", "1 log rows lost: the log could not keep up"]
    assert "could not be made into log rows" in caplog.text


def test_otel_variables_and_the_global_provider_stay_out_of_it(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "nonsense")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "0")
    monkeypatch.setenv("OTEL_PYTHON_METER_PROVIDER", "nonsense")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "nonsense")
    before = trace.get_tracer_provider()
    with logging_to(log) as tracer, session_span(tracer.tracer, "warren", "trace_warren1", "rebalance") as session:
        record_response(session, "all well")
    assert log.messages == ["rebalance session started", "all well", "rebalance session finished"]
    assert trace.get_tracer_provider() is before


def test_attribute_names_are_those_of_the_conventions() -> None:
    known = {
        value
        for module in (gen_ai_attributes, error_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    ours = {str(value) for value in vars(tracers).values() if str(value).startswith(("gen_ai.", "error."))}
    assert len(ours) == 13
    assert ours <= known
    operations = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    assert {"invoke_workflow", "invoke_agent", "chat", "execute_tool"} <= operations


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, queue.SimpleQueue[tuple[str, bytes]]]]:
    """A loopback OTLP collector: its address, and what it was sent (path, body)."""
    received: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_collector_gets_the_same_spans_without_the_secrets(
    log: Log, collector: tuple[str, queue.SimpleQueue[tuple[str, bytes]]], path: str
) -> None:
    address, received = collector
    with logging_to(log, secrets=[SECRET], otlp_endpoint=address + path) as tracer:
        parent = session_span(tracer.tracer, "warren", "trace_warren1", "trade")
        with parent, tool_span(tracer.tracer, "fetch", "c9", {"key": SECRET}) as call:
            call.update_name(f"execute_tool {SECRET}")
            call.set_attribute("nested", {"deep": ["Bearer abc123456", SECRET, 3]})
            record_result(call, "b" * 5000)
            call.record_exception(ValueError(SECRET))
            call.set_status(trace.StatusCode.ERROR, f"no {SECRET}")
    spans: dict[str, Any] = {}
    bodies = b""
    while len(spans) < 2:
        where, body = received.get(timeout=20)
        assert where == "/v1/traces"
        bodies += body
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans |= {span.name: span for scope in part.scope_spans for span in scope.spans}
    assert set(spans) == {"invoke_workflow warren", "execute_tool [secret]"}
    tool, session = spans["execute_tool [secret]"], spans["invoke_workflow warren"]
    assert tool.parent_span_id == session.span_id
    assert tool.span_id.hex() == log.only("function").span_id
    has = {each.key: each.value for each in tool.attributes}
    assert has["floor.account"].string_value == "warren"
    assert has["gen_ai.conversation.id"].string_value == "trace_warren1"
    assert json.loads(has["gen_ai.tool.call.arguments"].string_value) == {"key": "[secret]"}
    assert has["gen_ai.tool.call.result"].string_value == "b" * 5000
    assert tool.events[0].name == "exception"
    assert tool.status.message == "no [secret]"
    for leak in (SECRET, "wörd-7391", "rd-7391", "abc123456"):
        assert leak.encode() not in bodies


def test_a_collector_that_never_answers_delays_neither_the_log_nor_the_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(tracers, "OTLP_TIMEOUT_S", 0.5)
    monkeypatch.setattr(tracers, "CLOSE_S", 0.1)
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        with logging_to(log, otlp_endpoint=f"http://127.0.0.1:{deaf.getsockname()[1]}") as tracer:
            chat(tracer)
            assert tracer.flush()
            assert log.messages == ["gpt-5 replied"]
        exporting = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
        assert exporting  # it still waits for an answer: closing did not
        assert all(thread.daemon for thread in exporting)
    for thread in exporting:
        thread.join(20)
