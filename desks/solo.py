"""The solo desk: one AutoGen AssistantAgent with one workbench decides alone.

It asks at most twice more when the answer is empty or no decision is on record; all turns count against the meter.
"""

from __future__ import annotations

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import TextMessage
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from desks.workbench import SessionWorkbench

ASKS_MAX = 3
_EMPTY = "Your answer was empty. Close the session with a short appraisal: what you saw, did and expect."
_NO_DECISION = (
    "No decision of this session is on record. Record at least one with record_decision (holding is a decision), "
    "then close with a short appraisal."
)


async def decide(
    client: ChatCompletionClient,
    workbench: SessionWorkbench,
    system_prompt: str,
    task: str,
    turns: int,
    cancellation: CancellationToken,
) -> str:
    """Run the agent on `task`; its closing appraisal, empty when it never wrote one.

    Raises what the client raises (OutOfTurns and OverBudget among it).
    """
    agent = AssistantAgent(
        "trader",
        model_client=client,
        workbench=workbench,
        system_message=system_prompt,
        # the meter ends the session first, with an error that says so, where AutoGen would end it without a word
        max_tool_iterations=turns + 1,
    )
    appraisal = ""
    for _ in range(ASKS_MAX):
        result = await agent.run(task=task, cancellation_token=cancellation)
        last = result.messages[-1]
        appraisal = last.content.strip() if isinstance(last, TextMessage) else ""
        if not appraisal:
            task = _EMPTY
        elif not workbench.succeeded["record_decision"] and await _offers_decisions(workbench):
            task = _NO_DECISION
        else:
            break
    return appraisal


async def _offers_decisions(workbench: SessionWorkbench) -> bool:
    return any(tool["name"] == "record_decision" for tool in await workbench.list_tools())
