"""What goes over the wire to a language model: the format, and that each message is converted once."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from autogen_core import FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import FunctionTool, ToolSchema
from hypothesis import given
from hypothesis import strategies as st

from model_clients.chat_format import ChatFormat, tool_choice_field
from model_clients.wire_format import as_object

PRICE: ToolSchema = {
    "name": "lookup_share_price",
    "description": "The last price.",
    "parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}, "required": ["symbol"]},
}


def results(*pairs: tuple[str, str]) -> FunctionExecutionResultMessage:
    return FunctionExecutionResultMessage(
        content=[FunctionExecutionResult(content=text, name="t", call_id=call_id) for call_id, text in pairs]
    )


def sent(wire: ChatFormat, *messages: LLMMessage) -> list[Any]:
    decoded = json.loads(wire.body({"model": "m"}, messages, []))
    assert list(decoded) == ["model", "messages"]
    return list(decoded["messages"])


def test_a_conversation_reads_as_openai_wants_it() -> None:
    messages: list[LLMMessage] = [
        SystemMessage(content="You trade."),
        UserMessage(content="Begin.", source="user"),
        AssistantMessage(
            content=[
                FunctionCall("c1", '{"symbol": "NVDA"}', "lookup_share_price"),
                FunctionCall("c2", "{}", "get_balance"),
            ],
            thought="Two looks.",
            source="trader",
        ),
        results(("c1", "187.42"), ("c2", "10000")),
        AssistantMessage(content="I hold.", thought="private", source="trader"),
    ]
    body = ChatFormat().body({"model": "m", "temperature": 0}, messages, [PRICE, {"name": "get_balance"}])
    assert json.loads(body) == {
        "model": "m",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "You trade."},
            {"role": "user", "content": "Begin."},
            {
                "role": "assistant",
                "content": "Two looks.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "lookup_share_price", "arguments": '{"symbol": "NVDA"}'},
                    },
                    {"id": "c2", "type": "function", "function": {"name": "get_balance", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "187.42"},
            {"role": "tool", "tool_call_id": "c2", "content": "10000"},
            {"role": "assistant", "content": "I hold."},
        ],
        "tools": [
            {"type": "function", "function": dict(PRICE)},
            {
                "type": "function",
                "function": {
                    "name": "get_balance",
                    "description": "",
                    "parameters": {"type": "object", "properties": {}},
                },
            },
        ],
    }


def test_a_tool_of_autogen_is_offered_as_its_schema_says() -> None:
    async def find(text: str) -> str:
        return text

    tool = FunctionTool(find, name="find", description="Finds.", strict=True)
    [offered] = json.loads(ChatFormat().body({"model": "m"}, [], [tool]))["tools"]
    function = offered["function"]
    assert (function["name"], function["description"], function["strict"]) == ("find", "Finds.", True)
    assert list(function["parameters"]["properties"]) == ["text"]


def test_images_go_as_data_urls_beside_their_text() -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    from PIL import Image as Picture

    image = Image.from_pil(Picture.open(BytesIO(base64.b64decode(pixel))))
    [message] = sent(ChatFormat(vision=True), UserMessage(content=["a chart", image], source="user"))
    text, picture = message["content"]
    assert text == {"type": "text", "text": "a chart"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("arguments", ['{"symbol": "NV', "", "[1]", "null", '"text"', '{"a": NaN}', "[" * 100_000])
def test_arguments_that_are_no_object_are_quoted_so_that_no_server_refuses_the_history(arguments: str) -> None:
    assert json.loads(as_object(arguments)) == {"not_a_json_object": arguments}


def test_arguments_that_are_an_object_go_back_letter_by_letter() -> None:
    assert as_object(' {"b":1,"a":  2.50}') == ' {"b":1,"a":  2.50}'


@pytest.mark.parametrize(
    ("made_up", "on_the_wire"),
    [("multi_tool_use.parallel", "multi_tool_use_parallel"), ("", "_"), ("x" * 70, "x" * 64)],
)
def test_a_name_that_a_model_made_up_does_not_make_its_history_unacceptable(made_up: str, on_the_wire: str) -> None:
    [message] = sent(ChatFormat(), AssistantMessage(content=[FunctionCall("c", "{}", made_up)], source="t"))
    assert message["tool_calls"][0]["function"]["name"] == on_the_wire


def test_a_lone_half_of_a_character_does_not_stop_a_request() -> None:
    [message] = sent(ChatFormat(), UserMessage(content="half \ud83d", source="user"))
    assert message["content"] == "half \ud83d"


def test_what_a_model_said_beside_its_calls_goes_back_under_the_names_it_came_with() -> None:
    calls = [FunctionCall("c", "{}", "get_balance")]
    wire = ChatFormat()
    wire.remember(calls, "Hmm.\n\nI look.", wire.say_again(calls, {"content": "I look.", "reasoning_content": "Hmm."}))
    [message] = sent(wire, AssistantMessage(content=calls, thought="Hmm.\n\nI look.", source="t"))
    assert message["content"] == "I look."
    assert message["reasoning_content"] == "Hmm."


def test_what_is_in_use_is_kept_and_what_is_not_is_forgotten() -> None:
    calls = [FunctionCall("c", "{}", "get_balance")]
    wire = ChatFormat(kept_bytes_max=4_000)
    wire.remember(calls, "Hmm.", wire.say_again(calls, {"content": None, "reasoning": "Hmm."}))
    said = AssistantMessage(content=calls, thought="Hmm.", source="t")
    for turn in range(50):
        assert sent(wire, said, UserMessage(content=f"{turn} " * 100, source="user"))[0]["reasoning"] == "Hmm."
    for turn in range(50):
        sent(wire, UserMessage(content=f"{turn} again " * 100, source="user"))
    [message] = sent(wire, said)
    assert message["content"] == "Hmm."
    assert "reasoning" not in message


def test_a_message_that_was_changed_is_converted_again() -> None:
    user = UserMessage(content="one", source="user")
    parts = UserMessage(content=["one"], source="user")
    call = AssistantMessage(content=[FunctionCall("one", '{"one": 1}', "one")], thought="one", source="t")
    result = results(("one", "one"))
    wire = ChatFormat()
    before = sent(wire, user, parts, call, result)
    assert isinstance(parts.content, list)
    assert isinstance(call.content[0], FunctionCall)
    user.content, parts.content[0], call.thought = "two", "two", "two"
    changed = call.content[0]
    for name, value in (("id", "two"), ("name", "two"), ("arguments", '{"two": 2}')):
        last = sent(wire, call)
        setattr(changed, name, value)
        assert sent(wire, call) != last
    result.content[0].content = "two"
    assert "one" in json.dumps(before)
    after = json.dumps(sent(wire, user, parts, call, result))
    assert after.count("one") == 1  # the id that the result answers
    result.content[0].call_id = "two"
    assert "one" not in json.dumps(sent(wire, result))


def test_a_turn_converts_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = ChatFormat()
    history: list[LLMMessage] = [UserMessage(content="Begin.", source="user")]
    for turn in range(50):
        history.append(AssistantMessage(content=[FunctionCall(f"c{turn}", "{}", "get_balance")], source="t"))
        history.append(results((f"c{turn}", "x" * 500)))
    wire.body({"model": "m"}, history, [PRICE])
    dumps, converted = json.dumps, 0

    def counted(*args: Any, **kwargs: Any) -> str:
        nonlocal converted
        converted += 1
        return dumps(*args, **kwargs)

    monkeypatch.setattr(json, "dumps", counted)
    wire.body({"model": "m"}, [*history, UserMessage(content="And now?", source="user")], [PRICE])
    assert converted == 2  # the fields and the new message


texts = st.text(max_size=12) | st.sampled_from(["", "[]", "{}", '"', "a,b", "\\", "\u2028", "\ud800"])
ids = st.sampled_from(["c1", "c2", ""])
messages = st.one_of(
    st.builds(SystemMessage, content=texts),
    st.builds(UserMessage, content=texts | st.lists(texts, max_size=2), source=st.just("user")),
    st.builds(AssistantMessage, content=texts, thought=st.none() | texts, source=st.just("t")),
    st.builds(
        AssistantMessage,
        content=st.lists(st.builds(FunctionCall, id=ids, arguments=texts, name=texts), max_size=2),
        thought=st.none() | texts,
        source=st.just("t"),
    ),
    st.builds(
        lambda pairs: results(*pairs),
        st.lists(st.tuples(ids, texts), max_size=2),
    ),
)


@given(pool=st.lists(messages, min_size=1, max_size=6), kept=st.sampled_from([0, 150, 8_000_000]), data=st.data())
def test_a_request_is_the_same_whatever_was_sent_before(pool: list[LLMMessage], kept: int, data: st.DataObject) -> None:
    wire = ChatFormat(kept_bytes_max=kept)
    for _ in range(4):
        history = data.draw(st.lists(st.sampled_from(pool), max_size=8))
        body = wire.body({"model": "m"}, history, [PRICE])
        assert body == ChatFormat().body({"model": "m"}, history, [PRICE])
        assert wire.kept_bytes <= kept
        changed = data.draw(st.sampled_from(pool))
        if isinstance(changed.content, str):
            changed.content = data.draw(texts)
        elif isinstance(changed, AssistantMessage) and changed.content:
            changed.content[0].arguments = data.draw(texts)
        elif isinstance(changed, FunctionExecutionResultMessage) and changed.content:
            changed.content[0].content = data.draw(texts)


@given(history=st.lists(messages, max_size=8))
def test_every_request_is_json_with_a_message_for_each(history: list[LLMMessage]) -> None:
    decoded = json.loads(ChatFormat().body({"model": "m"}, history, []))["messages"]
    expected = [
        role
        for message in history
        for role in (
            ["tool"] * len(message.content)
            if isinstance(message, FunctionExecutionResultMessage)
            else [message.type.removesuffix("Message").lower()]
        )
    ]
    assert [each["role"] for each in decoded] == expected


def test_a_tool_that_is_asked_for_by_name_must_be_on_offer() -> None:
    async def find(text: str) -> str:
        return text

    tool = FunctionTool(find, name="find", description="")
    assert tool_choice_field(tool, [tool]) == {"type": "function", "function": {"name": "find"}}
    with pytest.raises(ValueError, match="find, which is not among the tools on offer: lookup_share_price"):
        tool_choice_field(tool, [PRICE])
    with pytest.raises(ValueError, match="expected auto, required, none or a tool"):
        tool_choice_field("sometimes", [PRICE])  # type: ignore[arg-type]


def test_a_tool_is_never_taken_for_another_that_lay_in_its_place_in_memory() -> None:
    wire = ChatFormat()
    bodies = [wire.body({"model": "m"}, [], [{"name": f"t{number}"}]) for number in range(2_000)]
    assert [json.loads(body)["tools"][0]["function"]["name"] for body in bodies] == [f"t{n}" for n in range(2_000)]
