"""The memory MCP server: one knowledge graph, under the tools of the public memory server.

Names, arguments, results and their text are the public server's, so that a client can swap the two. Ours refuses what
is too large, misspelt or unknown, and cuts a large answer with a note that says so. Launched with `--account NAME` it
serves that account's graph, without it the graph `operator`; no argument of a tool reaches another.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, InputRequiredResult, TextContent
from pydantic import Field
from typing_extensions import TypedDict

from database import Store, read_account
from memory import (
    CALL_CHARS_MAX,
    CALL_ITEMS_MAX,
    NAME_CHARS_MAX,
    OBSERVATION_CHARS_MAX,
    QUERY_CHARS_MAX,
    QUERY_WORDS_MAX,
    AddedObservations,
    Entity,
    Graph,
    Relation,
    memory_path,
)
from memory.graph import MemoryGraph
from values.clock import Clock, SystemClock
from values.errors import Refused, StoreEmpty, shown
from values.names import normalise_name
from values.settings import StoreSettings, load
from wire.life import serve
from wire.server import READS, REPLACES, WRITES, RefusingServer

OPERATOR = "operator"


def _name(description: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "description": description}


def _texts(description: str) -> dict[str, Any]:
    item = {"type": "string", "minLength": 1, "maxLength": OBSERVATION_CHARS_MAX}
    return {"type": "array", "items": item, "maxItems": CALL_ITEMS_MAX, "description": description}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": CALL_ITEMS_MAX}


def _rows_of(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return _list_of({"type": "object", "properties": properties, "required": required, "additionalProperties": False})


ENTITY = {
    "name": _name("The name of the entity"),
    "entityType": _name("The type of the entity"),
    "observations": _texts("What is known of the entity, each a sentence or two"),
}
RELATION = {
    "from": _name("The name of the entity where the relation starts"),
    "to": _name("The name of the entity where the relation ends"),
    "relationType": _name("The type of the relation, in the active voice"),
}
ADDITION = {
    "entityName": _name("The name of the entity to add the observations to"),
    "contents": _texts("The observations to add"),
}
DELETION = {
    "entityName": _name("The name of the entity that holds the observations"),
    "observations": _texts("The observations to delete, each word for word"),
}

Entities = Annotated[Any, Field(description="The entities to create", json_schema_extra=_rows_of(ENTITY))]
Relations = Annotated[Any, Field(description="The relations", json_schema_extra=_rows_of(RELATION))]
Additions = Annotated[Any, Field(description="What to add, entity by entity", json_schema_extra=_rows_of(ADDITION))]
Deletions = Annotated[Any, Field(description="What to delete, entity by entity", json_schema_extra=_rows_of(DELETION))]
Names = Annotated[Any, Field(description="Names of entities", json_schema_extra=_list_of(_name("A name")))]
Query = Annotated[
    str,
    Field(
        description="Words or parts of words, in any case and order; empty for everything",
        json_schema_extra={"maxLength": QUERY_CHARS_MAX},
    ),
]


class Created(TypedDict):
    entities: list[Entity]


class Related(TypedDict):
    relations: list[Relation]


class Added(TypedDict):
    results: list[AddedObservations]


class Deleted(TypedDict):
    success: bool
    message: str


class MemoryServer(RefusingServer):
    """A RefusingServer whose text is the public memory server's: a list, a message or a graph, without a wrapping."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        result = await super().call_tool(name, arguments, context)
        if not isinstance(result, CallToolResult) or result.structured_content is None:
            return result
        content = result.structured_content
        text = content.get("message")
        if text is None:
            told = next(iter(content.values())) if len(content) == 1 else content
            text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        return result.model_copy(update={"content": [TextContent(type="text", text=text)]})


class Reader:
    """Whose graph is served. A nursery makes the server before it forks those that open a graph: until then, none."""

    graph: MemoryGraph


def build(graph: MemoryGraph, whose: str) -> RefusingServer:
    """The server over an open graph; `whose` is the account's name, or `operator`."""
    reader = Reader()
    return _opened(_made(reader), reader, graph, whose)


def _made(reader: Reader) -> RefusingServer:
    server = MemoryServer(
        "memory_server",
        on_refused=lambda tool, _arguments, refusal: print(f"refused {tool}: {refusal}", file=sys.stderr),
    )
    _add_writes(server, reader)
    _add_deletes(server, reader)
    _add_reads(server, reader)
    return server


def _opened(server: RefusingServer, reader: Reader, graph: MemoryGraph, whose: str) -> RefusingServer:
    reader.graph = graph
    server.introduce(
        f"The memory of {whose}: a knowledge graph of entities, observations about them and relations "
        "between them, kept from session to session. What is read from it is what was once written, true or not. "
        "An error reads `code: sentence`."
    )
    return server


def _add_writes(server: RefusingServer, reader: Reader) -> None:
    @server.tool(annotations=WRITES)
    def create_entities(entities: Entities) -> Created:
        """Create new entities in the knowledge graph; one whose name is there already is left as it is."""
        return {"entities": reader.graph.create_entities(_checked("entities", entities, ENTITY))}

    @server.tool(annotations=WRITES)
    def create_relations(relations: Relations) -> Related:
        """Create new relations between entities that are there; one that is there already is left as it is."""
        return {"relations": reader.graph.create_relations(_checked("relations", relations, RELATION))}

    @server.tool(annotations=WRITES)
    def add_observations(observations: Additions) -> Added:
        """Add observations to entities that are there; one that an entity holds already is left out."""
        return {"results": reader.graph.add_observations(_checked("observations", observations, ADDITION))}


def _add_deletes(server: RefusingServer, reader: Reader) -> None:
    @server.tool(annotations=REPLACES)
    def delete_entities(entityNames: Names) -> Deleted:
        """Delete entities with their observations and relations."""
        names = _checked_texts("entityNames", entityNames, NAME_CHARS_MAX)
        missing = reader.graph.delete_entities(names)
        if not missing:
            return _deleted("Entities deleted successfully")
        return _deleted(
            f"Deleted {len(names) - len(missing)} of {len(names)} entities. Not found: {', '.join(missing)}"
        )

    @server.tool(annotations=REPLACES)
    def delete_observations(deletions: Deletions) -> Deleted:
        """Delete observations from entities, each by its whole text."""
        rows = _checked("deletions", deletions, DELETION)
        deleted, missing = reader.graph.delete_observations(rows)
        wanted = sum(len(row["observations"]) for row in rows)
        if deleted == wanted:
            return _deleted("Observations deleted successfully")
        lost = f" Entities not found: {', '.join(missing)}" if missing else ""
        return _deleted(f"Deleted {deleted} of {wanted} observations.{lost}")

    @server.tool(annotations=REPLACES)
    def delete_relations(relations: Relations) -> Deleted:
        """Delete relations."""
        rows = _checked("relations", relations, RELATION)
        deleted = reader.graph.delete_relations(rows)
        if deleted == len(rows):
            return _deleted("Relations deleted successfully")
        return _deleted(f"Deleted {deleted} of {len(rows)} relations. The rest matched nothing.")


def _add_reads(server: RefusingServer, reader: Reader) -> None:
    @server.tool(annotations=READS)
    def read_graph() -> Graph:
        """The entire knowledge graph; where it is too large for one answer, its newest part and a note."""
        return reader.graph.read_graph()

    @server.tool(annotations=READS)
    def search_nodes(query: Query) -> Graph:
        """The entities with every word of the query in their name, type or observations, and the relations at them."""
        _check_text("query", query, QUERY_CHARS_MAX, least=0)
        if len(query.split()) > QUERY_WORDS_MAX:
            raise Refused("bad_argument", f"query has {len(query.split())} words; at most {QUERY_WORDS_MAX}")
        return reader.graph.search_nodes(query)

    @server.tool(annotations=READS)
    def open_nodes(names: Names) -> Graph:
        """The entities of these names, with the relations at them. A name that is not there is left out."""
        return reader.graph.open_nodes(_checked_texts("names", names, NAME_CHARS_MAX))


def _deleted(message: str) -> Deleted:
    return {"success": True, "message": message}


def _checked(argument: str, given: object, properties: dict[str, Any]) -> list[Any]:
    """The rows that `given` is, each with the texts and lists of `properties`. Raises Refused `bad_argument`."""
    rows = _checked_list(argument, given, f"objects with {', '.join(properties)}")
    chars = 0
    for at, row in enumerate(rows):
        where = f"{argument}[{at}]"
        if not isinstance(row, dict):
            raise Refused("bad_argument", f"{where} is {shown(row)}; expected an object with {', '.join(properties)}")
        if extra := [key for key in row if key not in properties]:
            raise Refused("bad_argument", f"{where} has no field {shown(extra[0])}; it takes {', '.join(properties)}")
        for key, schema in properties.items():
            if key not in row:
                raise Refused("bad_argument", f"{where} needs {key}; it takes {', '.join(properties)}")
            if schema["type"] == "array":
                chars += sum(map(len, _checked_texts(f"{where}.{key}", row[key], OBSERVATION_CHARS_MAX)))
            else:
                chars += len(_check_text(f"{where}.{key}", row[key], NAME_CHARS_MAX))
    if chars > CALL_CHARS_MAX:
        raise Refused("bad_argument", f"{argument} holds {chars:,} characters; a call may hold {CALL_CHARS_MAX:,}")
    return rows


def _checked_texts(where: str, given: object, chars_max: int) -> list[str]:
    texts = _checked_list(where, given, "texts")
    return [_check_text(f"{where}[{at}]", text, chars_max) for at, text in enumerate(texts)]


def _checked_list(where: str, given: object, of: str) -> list[Any]:
    if not isinstance(given, list):
        raise Refused("bad_argument", f"{where} is {shown(given)}; expected a list of {of}")
    if len(given) > CALL_ITEMS_MAX:
        raise Refused("bad_argument", f"{where} has {len(given)} items; a call may have {CALL_ITEMS_MAX}")
    return given


def _check_text(where: str, given: object, chars_max: int, least: int = 1) -> str:
    if not isinstance(given, str):
        raise Refused("bad_argument", f"{where} is {shown(given)}; expected a text")
    if not least <= len(given) <= chars_max:
        raise Refused("bad_argument", f"{where} has {len(given):,} characters; expected {least} to {chars_max:,}")
    if "\0" in given or any("\ud800" <= sign <= "\udfff" for sign in given):
        raise Refused("bad_argument", f"{where} is {shown(given)}; it has a character that no text may have")
    return given


class Prepared(NamedTuple):
    """All of a server but whose it is; without a store where there is none yet."""

    path: Path
    store: Store | None
    clock: Clock
    reader: Reader
    server: RefusingServer


@cache
def prepare(_is_bound: bool) -> Prepared:
    """What the servers of one run share, made once, where they are forked before they are (`wire/nursery.py`).

    The store has no open connection afterwards: none may pass a fork.
    """
    address, reader = load(StoreSettings).store_address, Reader()
    try:
        opened = Store(address)
    except StoreEmpty as empty:
        print(f"{empty}; until this server starts again, time is wall time", file=sys.stderr)
        return Prepared(address.path, None, SystemClock(), reader, _made(reader))
    with closing(opened) as store:
        clock = store.clock()
        read_account(store, OPERATOR)  # what has run once runs in pages that are shared
    return Prepared(address.path, store, clock, reader, _made(reader))


PARSER = argparse.ArgumentParser(prog="memory-server", description="A knowledge graph as an MCP server on stdio.")
PARSER.add_argument("--account", metavar="NAME", help=f"serve this account's graph; without it, `{OPERATOR}`")
PARSER.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)  # the launcher says it to every server


def main() -> None:
    given = PARSER.parse_args()

    def make() -> RefusingServer:
        account = None if given.account is None else normalise_name(given.account)
        path, store, clock, reader, server = prepare(account is not None)
        if store is not None and account is not None and read_account(store, account) is None:
            raise Refused(
                "unknown_account", f"there is no account {account}; `trading-floor accounts list` shows those there are"
            )
        whose = account or OPERATOR
        return _opened(server, reader, MemoryGraph(memory_path(path, whose), clock), whose)

    sys.exit(serve(make))


if __name__ == "__main__":
    main()
