"""A trader's knowledge graph: entities, their observations and relations, in an SQLite file of its own.

Shapes and behaviour are the public memory server's. Every row carries the market and the wall time of its writing, and
a deletion only stamps it too: a clock that stands earlier sees the graph as it was then, until a full graph gives up
what is deleted to make room. Writes are durable, whole or not at all, in fair turns. Declines: ranking and merging.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, TypedDict

from store.turns import turn
from values.clock import Clock
from values.errors import Refused, StoreBusy, StoreUnusable, shown

NAME_CHARS = 200
"""The longest name, type or relation."""
OBSERVATION_CHARS = 4_000
QUERY_CHARS = 1_000
QUERY_WORDS = 32
ITEMS_PER_CALL = 100
"""The longest list in a call, outer or inner."""
CHARS_PER_CALL = 400_000
ROWS_MAX = 50_000
"""Entities, observations and relations in a file, deleted ones included."""
ENTITIES_PER_ANSWER = 100
RELATIONS_PER_ANSWER = 200
CHARS_PER_ANSWER = 50_000
"""JSON text of an answer: names take at most two fifths of it, relations a fifth, observations what is left."""

BUSY_S = 10.0
_VERSION = 1

Entity = TypedDict("Entity", {"name": str, "entityType": str, "observations": list[str]})
Relation = TypedDict("Relation", {"from": str, "to": str, "relationType": str})
NewObservations = TypedDict("NewObservations", {"entityName": str, "contents": list[str]})
AddedObservations = TypedDict("AddedObservations", {"entityName": str, "addedObservations": list[str]})
Deletion = TypedDict("Deletion", {"entityName": str, "observations": list[str]})


class Graph(TypedDict):
    """Entities in the order of their making, and every relation that begins or ends at one of them."""

    entities: list[Entity]
    relations: list[Relation]
    note: NotRequired[str]  # only where the answer is cut: what is left out, and how to see it


_TIMES = "market_time TEXT NOT NULL, wall_time TEXT NOT NULL, deleted_market_time TEXT, deleted_wall_time TEXT"

_SCHEMA = f"""
CREATE TABLE entities (id INTEGER PRIMARY KEY, name TEXT NOT NULL, entity_type TEXT NOT NULL, {_TIMES}) STRICT;
CREATE TABLE observations (
    id INTEGER PRIMARY KEY, entity_id INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE, text TEXT NOT NULL, {_TIMES}
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
PRAGMA user_version = {_VERSION};
"""

# The one place that decides what the present may see: no query below reads a table of the file but through these.
_PRESENT = """
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


def memory_path(store: Path, name: str) -> Path:
    """The file of the graph `name`, beside the store."""
    return store.with_name(f"{store.name}.memory-{name}")


class MemoryGraph:
    """One graph. Safe to use from several threads and processes; `clock` says what time it is in the run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the graph at `path`, or make it. Raises StoreUnusable."""
        self.path = path
        self._clock = clock
        self._turns = path.with_name(path.name + ".lock")
        self._one_at_a_time = threading.Lock()
        with self._explained(), turn(self._turns):
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.create_function("holds", 2, lambda text, word: word in text.lower(), deterministic=True)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StoreUnusable(f"the memory {self.path} was written by a newer version of the floor: use that one")
        if version == 0:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                raise StoreUnusable(f"{self.path} is no memory of ours: move it away, and a new one is made")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        connection.executescript(_PRESENT)
        os.chmod(self.path, 0o600)  # noqa: PTH101 - what a trader remembers is its owner's alone

    def close(self) -> None:
        with self._one_at_a_time:
            self._connection.close()

    def create_entities(self, entities: Sequence[Entity]) -> list[Entity]:
        """Make those whose name is not there yet; the ones that were made, each observation once."""
        _check_list("entities", entities)
        size = 0
        for at, each in enumerate(entities):
            where = f"entities[{at}]"
            size += _check_text(f"{where}.name", each["name"]) + _check_text(f"{where}.entityType", each["entityType"])
            size += _check_observations(f"{where}.observations", each["observations"])
        _check_size(size)
        created: list[Entity] = []
        with self._write() as connection:
            for each in entities:
                if self._has_entity(each["name"]):
                    continue
                new = connection.execute(
                    "INSERT INTO entities (name, entity_type, market_time, wall_time) "
                    "SELECT ?, ?, market_time, wall_time FROM present RETURNING id",
                    (each["name"], each["entityType"]),
                ).fetchone()
                observations = list(dict.fromkeys(each["observations"]))
                self._insert_observations(new[0], observations)
                created.append(
                    {"name": each["name"], "entityType": each["entityType"], "observations": observations}
                )
            self._make_room()
        return created

    def create_relations(self, relations: Sequence[Relation]) -> list[Relation]:
        """Make those that are not there yet; the ones that were made. Raises Refused `unknown_entity`."""
        _check_relations(relations)
        created: list[Relation] = []
        with self._write() as connection:
            for each in relations:
                ends = (self._entity_id(each["from"]), self._entity_id(each["to"]))
                if connection.execute(
                    "SELECT 1 FROM seen_relations WHERE from_name = ? AND to_name = ? AND relation_type = ?",
                    (each["from"], each["to"], each["relationType"]),
                ).fetchone():
                    continue
                connection.execute(
                    "INSERT INTO relations (from_id, to_id, relation_type, market_time, wall_time) "
                    "SELECT ?, ?, ?, market_time, wall_time FROM present",
                    (*ends, each["relationType"]),
                )
                created.append({"from": each["from"], "to": each["to"], "relationType": each["relationType"]})
            self._make_room()
        return created

    def add_observations(self, observations: Sequence[NewObservations]) -> list[AddedObservations]:
        """Add what an entity does not hold yet; what was added to each. Raises Refused `unknown_entity`."""
        _check_list("observations", observations)
        size = 0
        for at, each in enumerate(observations):
            _check_text(f"observations[{at}].entityName", each["entityName"])
            size += _check_observations(f"observations[{at}].contents", each["contents"])
        _check_size(size)
        added: list[AddedObservations] = []
        with self._write() as connection:
            for each in observations:
                entity_id = self._entity_id(each["entityName"])
                held = {
                    text
                    for (text,) in connection.execute(
                        "SELECT text FROM seen_observations WHERE name = ?", (each["entityName"],)
                    )
                }
                new = [text for text in dict.fromkeys(each["contents"]) if text not in held]
                self._insert_observations(entity_id, new)
                added.append({"entityName": each["entityName"], "addedObservations": new})
            self._make_room()
        return added

    def delete_entities(self, names: Sequence[str]) -> list[str]:
        """Delete entities with all they hold and their relations; the names that were not there."""
        _check_list("entityNames", names)
        for at, name in enumerate(names):
            _check_text(f"entityNames[{at}]", name)
        with self._write() as connection:
            missing = [name for name in names if not self._has_entity(name)]
            # what hangs on an entity is seen only while the entity is
            connection.execute(
                "UPDATE entities SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) WHERE id IN "
                "(SELECT id FROM seen_entities WHERE name IN (SELECT value FROM json_each(?)))",
                (json.dumps(list(names)),),
            )
        return missing

    def delete_observations(self, deletions: Sequence[Deletion]) -> tuple[int, list[str]]:
        """Delete observations by their whole text; how many there were, and the entities that were not there."""
        _check_list("deletions", deletions)
        for at, each in enumerate(deletions):
            _check_text(f"deletions[{at}].entityName", each["entityName"])
            _check_observations(f"deletions[{at}].observations", each["observations"])
        deleted = 0
        missing = []
        with self._write() as connection:
            for each in deletions:
                if not self._has_entity(each["entityName"]):
                    missing.append(each["entityName"])
                for text in dict.fromkeys(each["observations"]):
                    deleted += min(1, connection.execute(
                        "UPDATE observations SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) "
                        "WHERE id IN (SELECT id FROM seen_observations WHERE name = ? AND text = ?)",
                        (each["entityName"], text),
                    ).rowcount)  # fmt: skip
        return deleted, missing

    def delete_relations(self, relations: Sequence[Relation]) -> int:
        """Delete relations; how many there were."""
        _check_relations(relations)
        deleted = 0
        with self._write() as connection:
            for each in relations:
                deleted += min(1, connection.execute(
                    "UPDATE relations SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) WHERE id IN "
                    "(SELECT id FROM seen_relations WHERE from_name = ? AND to_name = ? AND relation_type = ?)",
                    (each["from"], each["to"], each["relationType"]),
                ).rowcount)  # fmt: skip
        return deleted
