"""A knowledge graph per trader, and the MCP server through which it is written and read.

Here: what a graph is made of. Its shapes are the public memory server's to the letter; its sizes are ours; its tables
stamp every row with the market and the wall time of its writing and of its deletion.
"""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

NAME_CHARS_MAX = 200
"""The longest name, type or relation."""
OBSERVATION_CHARS_MAX = 4_000
QUERY_CHARS_MAX = 1_000
QUERY_WORDS_MAX = 32
CALL_ITEMS_MAX = 100
"""The longest list in a call, outer or inner."""
CALL_CHARS_MAX = 400_000
ROWS_MAX = 50_000
"""Entities, observations and relations in a file, deleted ones included."""
ANSWER_ENTITIES_MAX = 100
ANSWER_RELATIONS_MAX = 200
ANSWER_CHARS_MAX = 50_000
"""JSON text of an answer: entities and relations take at most two fifths of it each, observations what is left."""

Relation = TypedDict("Relation", {"from": str, "to": str, "relationType": str})


class Entity(TypedDict):
    name: str
    entityType: str
    observations: list[str]


class NewObservations(TypedDict):
    entityName: str
    contents: list[str]


class AddedObservations(TypedDict):
    entityName: str
    addedObservations: list[str]


class Deletion(TypedDict):
    entityName: str
    observations: list[str]


class Graph(TypedDict):
    """Entities in the order of their making, and every relation that begins or ends at one of them."""

    entities: list[Entity]
    relations: list[Relation]
    note: NotRequired[str]  # only where the answer is cut: what is left out, and how to see it


def memory_path(store: Path, name: str) -> Path:
    """The file of the graph `name`, beside the store."""
    return store.with_name(f"{store.name}.memory-{name}")


VERSION = 1

_TIMES = "market_time TEXT NOT NULL, wall_time TEXT NOT NULL, deleted_market_time TEXT, deleted_wall_time TEXT"

SCHEMA = f"""
CREATE TABLE entities (id INTEGER PRIMARY KEY, name TEXT NOT NULL, entity_type TEXT NOT NULL, {_TIMES}) STRICT;
CREATE TABLE observations (
    id INTEGER PRIMARY KEY, entity_id INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE,
    text TEXT NOT NULL, {_TIMES}
) STRICT;
CREATE TABLE relations (
    id INTEGER PRIMARY KEY, from_id INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE,
    to_id INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE, relation_type TEXT NOT NULL, {_TIMES}
) STRICT;
CREATE INDEX entities_name ON entities (name);
CREATE INDEX observations_entity ON observations (entity_id);
CREATE INDEX relations_from ON relations (from_id);
CREATE INDEX relations_to ON relations (to_id);
CREATE VIRTUAL TABLE entity_words
    USING fts5(name, entity_type, content='entities', content_rowid='id', tokenize='trigram');
CREATE VIRTUAL TABLE observation_words
    USING fts5(text, content='observations', content_rowid='id', tokenize='trigram');
CREATE TRIGGER entity_in AFTER INSERT ON entities BEGIN
    INSERT INTO entity_words (rowid, name, entity_type) VALUES (new.id, new.name, new.entity_type);
END;
CREATE TRIGGER entity_out AFTER DELETE ON entities BEGIN
    INSERT INTO entity_words (entity_words, rowid, name, entity_type)
    VALUES ('delete', old.id, old.name, old.entity_type);
END;
CREATE TRIGGER observation_in AFTER INSERT ON observations BEGIN
    INSERT INTO observation_words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER observation_out AFTER DELETE ON observations BEGIN
    INSERT INTO observation_words (observation_words, rowid, text) VALUES ('delete', old.id, old.text);
END;
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - nothing in it comes from outside

# The one place that decides what the present may see: queries read the tables through these views alone.
PRESENT = """
CREATE TEMP TABLE present (market_time TEXT, wall_time TEXT);
INSERT INTO present VALUES (NULL, NULL);
CREATE TEMP VIEW seen_entities AS
    SELECT id, name, entity_type FROM main.entities
    WHERE market_time <= (SELECT market_time FROM present)
    AND (deleted_market_time IS NULL OR deleted_market_time > (SELECT market_time FROM present));
CREATE TEMP VIEW seen_observations AS
    SELECT o.id, e.name, o.text FROM main.observations o JOIN seen_entities e ON e.id = o.entity_id
    WHERE o.market_time <= (SELECT market_time FROM present)
    AND (o.deleted_market_time IS NULL OR o.deleted_market_time > (SELECT market_time FROM present));
CREATE TEMP VIEW seen_relations AS
    SELECT r.id, f.name AS from_name, t.name AS to_name, r.relation_type
    FROM main.relations r JOIN seen_entities f ON f.id = r.from_id JOIN seen_entities t ON t.id = r.to_id
    WHERE r.market_time <= (SELECT market_time FROM present)
    AND (r.deleted_market_time IS NULL OR r.deleted_market_time > (SELECT market_time FROM present));
"""
