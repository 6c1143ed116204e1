"""The push MCP server: one tool, which sends the owner a message.

Launched with `--account NAME` its messages are that account's; launched without, by a person, they are the operator's.
Text is sent as plain text and never interpreted. Where messages go is the owner's setting; no tool tells or changes it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from functools import cache
from typing import Annotated, Literal, NamedTuple

from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from database import Actor, Store, read_account
from push.outbox import DAILY, DEFAULT_TITLE, HOURLY, Outbox
from push.quiet import quiet_hours
from push.targets import Targets
from values.errors import Refused
from values.names import normalise_name
from values.settings import PushSettings, load
from wire.life import serve
from wire.server import RefusingServer

OPERATOR = "operator"
SENDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)


class PushResult(BaseModel):
    notification_id: int = Field(description="the message's number on record")
    state: Literal["sent", "partly_sent", "no_target", "held"] = Field(
        description="sent: every target took it; partly_sent: some did; no_target: it is kept, and was sent nowhere; "
        "held: it is kept, and goes out when the owner's quiet hours end"
    )
    targets: int = Field(description="how many targets took the message")
    cut: bool = Field(description="true: a target got less than the whole, because its service allows no more")
    note: str = Field(description="what became of the message, in a sentence")


class Sender:
    """For whom messages are sent. A nursery makes the server before it forks those that `open`: until then, nobody."""

    outbox: Outbox
    account: str
    actor: Actor

    def open(self, outbox: Outbox, bound: str | None, actor: Actor) -> None:
        """Raises Refused `unknown_account` when `bound` names none."""
        self.outbox, self.actor = outbox, actor
        self.account = OPERATOR if bound is None else normalise_name(bound)
        if bound is not None and read_account(outbox.store, self.account) is None:
            raise Refused(
                "unknown_account",
                f"there is no account {self.account}; `trading-floor accounts list` shows those there are",
            )


def build(outbox: Outbox, *, bound: str | None = None, actor: Actor = "operator") -> RefusingServer:
    """The server over an outbox. Raises Refused `unknown_account` when `bound` names none."""
    sender = Sender()
    return _opened(_made(sender), sender, outbox, bound, actor)


def _made(sender: Sender) -> RefusingServer:
    server = RefusingServer(
        "push_server",
        on_refused=lambda tool, _arguments, refusal: print(f"refused {tool}: {refusal}", file=sys.stderr),
    )

    @server.tool(annotations=SENDS)
    def push(
        message: Annotated[str, Field(description="plain text, 1 to 10000 characters; most services show about 1000")],
        title: Annotated[str, Field(description="one line above the message")] = DEFAULT_TITLE,
    ) -> PushResult:
        """Send the owner a message. Says truthfully whether it was sent; one that no target took is `push_failed`."""
        sent = sender.outbox.send(sender.account, title, message, actor=sender.actor)
        if sent.state == "failed":
            refusal = Refused("push_failed", f"{sent.note}. It is kept as notification {sent.notification_id}")
            refusal.is_on_record = True
            raise refusal
        return PushResult(
            notification_id=sent.notification_id,
            state=sent.state,
            targets=len(sent.taken_by),
            cut=sent.is_cut,
            note=sent.note,
        )

    return server


def _opened(server: RefusingServer, sender: Sender, outbox: Outbox, bound: str | None, actor: Actor) -> RefusingServer:
    sender.open(outbox, bound, actor)
    server.introduce(
        f"Short messages to the owner of this trading floor, sent for {sender.account}: at most {HOURLY} an hour "
        f"and {DAILY} a day. An error reads `code: sentence`."
    )
    return server


class Prepared(NamedTuple):
    """All of a server but whose it is."""

    outbox: Outbox
    sender: Sender
    server: RefusingServer


@cache
def prepare(_is_bound: bool) -> Prepared:
    """What the servers of one run share, made once, where they are forked before they are (`wire/nursery.py`).

    The store has no open connection afterwards: none may pass a fork.
    """
    settings = load(PushSettings)
    with closing(Store(settings.store_address)) as store:
        outbox = Outbox(store, Targets(settings), store.clock(), quiet_hours(settings))
        read_account(store, OPERATOR)  # what has run once runs in pages that are shared
    sender = Sender()
    return Prepared(outbox, sender, _made(sender))


PARSER = argparse.ArgumentParser(prog="push-server", description="Messages to the owner as an MCP server on stdio.")
PARSER.add_argument("--account", metavar="NAME", help="send for this account; without it, for the operator")
PARSER.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)  # set by the floor's launcher alone


def main() -> None:
    given = PARSER.parse_args()

    def make() -> RefusingServer:
        outbox, sender, server = prepare(given.account is not None)
        actor: Actor = "floor" if given.floor else "operator" if given.account is None else "client"
        return _opened(server, sender, outbox, given.account, actor)

    sys.exit(serve(make))


if __name__ == "__main__":
    main()
