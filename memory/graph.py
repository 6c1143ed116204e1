"""A trader's knowledge graph: entities, their observations and relations, in an SQLite file of its own.

Shapes and behaviour are the public memory server's. Every row carries the market and the wall time of its writing, and
a deletion only stamps it too: a clock that stands earlier sees the graph as it was then, until a full graph gives up
what is deleted to make room. Writes are durable, whole or not at all, in fair turns. Declines: ranking and merging.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory import (
    ANSWER_CHARS_MAX,
    ANSWER_ENTITIES_MAX,
    ANSWER_RELATIONS_MAX,
    PRESENT,
    ROWS_MAX,
    SCHEMA,
    VERSION,
    AddedObservations,
    Deletion,
    Entity,
    Graph,
    NewObservations,
    Relation,
)
from store.turns import turn
from values.clock import Clock
from values.errors import Refused, StoreBusy, StoreUnusable, shown

BUSY_S = 10.0


class MemoryGraph:
    """One graph. Safe to use from several threads and processes; `clock` says what time it is in the run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the graph at `path`, or make it. Raises StoreUnusable."""
        self.path = path
        self._clock = clock
        self._turns = path.with_name(path.name + ".lock")
        self._one_at_a_time = threading.Lock()
        with self._explained(), turn(self._turns):
            path.touch(0o600)  # before SQLite opens it, which gives its log the same mode
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
        connection.create_function("holds", 2, lambda text, word: word.lower() in text.lower(), deterministic=True)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreUnusable(f"the memory {self.path} was written by a newer version of the floor: use that one")
        if version == 0:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                raise StoreUnusable(f"{self.path} is no memory of ours: move it away, and a new one is made")
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        connection.executescript(PRESENT)

    def close(self) -> None:
        with self._one_at_a_time:
            self._connection.close()

    def create_entities(self, entities: Sequence[Entity]) -> list[Entity]:
        """Make those whose name is not there yet; the ones that were made, each observation once."""
        created: list[Entity] = []
        with self._write() as connection:
            for each in entities:
                if self._entity_id(each["name"]) is not None:
                    continue
                (new,) = connection.execute(
                    "INSERT INTO entities (name, entity_type, market_time, wall_time) "
                    "SELECT ?, ?, market_time, wall_time FROM present RETURNING id",
                    (each["name"], each["entityType"]),
                ).fetchone()
                texts = self._add(new, each["observations"])
                created.append({"name": each["name"], "entityType": each["entityType"], "observations": texts})
            self._make_room()
        return created

    def create_relations(self, relations: Sequence[Relation]) -> list[Relation]:
        """Make those that are not there yet; the ones that were made. Raises Refused `unknown_entity`."""
        created: list[Relation] = []
        with self._write() as connection:
            for each in relations:
                ends = self._known_id(each["from"]), self._known_id(each["to"])
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
                created.append(each)
            self._make_room()
        return created

    def add_observations(self, observations: Sequence[NewObservations]) -> list[AddedObservations]:
        """Add what an entity does not hold yet; what was added to each. Raises Refused `unknown_entity`."""
        added: list[AddedObservations] = []
        with self._write() as connection:
            for each in observations:
                name = each["entityName"]
                known = self._known_id(name)
                held = {text for (text,) in connection.execute(
                    "SELECT text FROM seen_observations WHERE name = ?", (name,)
                )}  # fmt: skip
                new = self._add(known, (text for text in each["contents"] if text not in held))
                added.append({"entityName": name, "addedObservations": new})
            self._make_room()
        return added

    def delete_entities(self, names: Sequence[str]) -> list[str]:
        """Delete entities with all they hold and their relations; the names that were not there."""
        with self._write() as connection:
            missing = [name for name in names if self._entity_id(name) is None]
            # nothing else to stamp: what hangs on an entity is seen only while the entity is
            connection.execute(
                "UPDATE entities SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) "
                "WHERE id IN (SELECT id FROM seen_entities WHERE name IN (SELECT value FROM json_each(?)))",
                (_listed(names),),
            )
        return missing

    def delete_observations(self, deletions: Sequence[Deletion]) -> tuple[int, list[str]]:
        """Delete observations by their whole text; how many there were, and the entities that were not there."""
        deleted, missing = 0, []
        with self._write() as connection:
            for each in deletions:
                if self._entity_id(each["entityName"]) is None:
                    missing.append(each["entityName"])
                gone = connection.execute(
                    "UPDATE observations SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) "
                    "WHERE id IN (SELECT id FROM seen_observations "
                    "WHERE name = ? AND text IN (SELECT value FROM json_each(?))) RETURNING text",
                    (each["entityName"], _listed(each["observations"])),
                )
                deleted += len(set(gone))
        return deleted, missing

    def delete_relations(self, relations: Sequence[Relation]) -> int:
        """Delete relations; how many there were."""
        deleted = 0
        with self._write() as connection:
            for each in relations:
                gone = connection.execute(
                    "UPDATE relations SET (deleted_market_time, deleted_wall_time) = (SELECT * FROM present) "
                    "WHERE id IN (SELECT id FROM seen_relations "
                    "WHERE from_name = ? AND to_name = ? AND relation_type = ?)",
                    (each["from"], each["to"], each["relationType"]),
                )
                deleted += gone.rowcount > 0
        return deleted

    def read_graph(self) -> Graph:
        """The whole graph, or its newest part where it is too large for an answer."""
        with self._read() as connection:
            return _answer(connection, None)

    def search_nodes(self, query: str) -> Graph:
        """The entities that have each word of `query` somewhere: in the name, the type or an observation.

        A word is any part of a text, whatever its case; signs are text like any other. No word: the whole graph.
        """
        with self._read() as connection:
            names: set[str] | None = None
            said: set[int] = set()
            for word in set(query.split()):
                entities, observations = _holding(connection, word)
                names = entities if names is None else names & entities
                said |= observations
            return _answer(connection, names, said)

    def open_nodes(self, names: Sequence[str]) -> Graph:
        """The entities of these names; a name that is not there is left out."""
        with self._read() as connection:
            return _answer(connection, names)

    def _entity_id(self, name: str) -> int | None:
        row = self._connection.execute("SELECT min(id) FROM seen_entities WHERE name = ?", (name,)).fetchone()
        return None if row[0] is None else int(row[0])

    def _known_id(self, name: str) -> int:
        found = self._entity_id(name)
        if found is None:
            raise Refused("unknown_entity", f"there is no entity {shown(name)}; create_entities makes one")
        return found

    def _add(self, entity_id: int, texts: Iterable[str]) -> list[str]:
        new = list(dict.fromkeys(texts))
        self._connection.executemany(
            "INSERT INTO observations (entity_id, text, market_time, wall_time) "
            "SELECT ?, ?, market_time, wall_time FROM present",
            [(entity_id, text) for text in new],
        )
        return new

    def _make_room(self) -> None:
        """Hold the file to ROWS_MAX: what is deleted goes for good; else Refused `graph_full`."""
        connection = self._connection
        count = (
            "SELECT (SELECT count(*) FROM entities) + (SELECT count(*) FROM observations) "
            "+ (SELECT count(*) FROM relations)"
        )
        if connection.execute(count).fetchone()[0] <= ROWS_MAX:
            return
        for table in ("relations", "observations", "entities"):
            connection.execute(
                f"DELETE FROM {table} WHERE deleted_market_time <= (SELECT market_time FROM present)"  # noqa: S608
            )
        if connection.execute(count).fetchone()[0] > ROWS_MAX:
            raise Refused(
                "graph_full",
                f"with this the graph would have over {ROWS_MAX:,} entities, observations and relations; nothing was "
                "written; delete what is out of date, or say less",
            )

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), turn(self._turns), self._one_at_a_time, self._transaction("BEGIN IMMEDIATE"):
            yield self._connection

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), self._one_at_a_time, self._transaction("BEGIN"):
            yield self._connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        connection = self._connection
        moment = (_stamp(self._clock.now()), _stamp(self._clock.wall()))
        connection.execute(begin)
        try:
            connection.execute("UPDATE present SET market_time = ?, wall_time = ?", moment)
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some failures of SQLite have rolled back already
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise StoreBusy(f"another program holds {self.path.name} locked; nothing was written") from error
            raise StoreUnusable(f"the memory {self.path}: {error}; check the file, its folder and the disk") from error
        except OSError as error:
            raise StoreUnusable(f"the memory {self.path}: {error.strerror or error}") from error


def _stamp(moment: datetime) -> str:
    """Text that sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _listed(texts: Collection[str] | Collection[int]) -> str:
    return json.dumps(list(texts), ensure_ascii=False)


def _holding(connection: sqlite3.Connection, word: str) -> tuple[set[str], set[int]]:
    """The names of the entities that have `word` somewhere, and the ids of the observations that do."""
    if len(word) < 3:  # the index knows three characters and more
        named = "SELECT name FROM seen_entities WHERE holds(name, ?1) OR holds(entity_type, ?1)"
        said = "SELECT id, name FROM seen_observations WHERE holds(text, ?1)"
    else:
        named = (
            "SELECT name FROM seen_entities WHERE id IN (SELECT rowid FROM entity_words WHERE entity_words MATCH ?1)"
        )
        said = (
            "SELECT id, name FROM seen_observations "
            "WHERE id IN (SELECT rowid FROM observation_words WHERE observation_words MATCH ?1)"
        )
        word = '"' + word.replace('"', '""') + '"'
    observations = connection.execute(said, (word,)).fetchall()
    names = {name for (name,) in connection.execute(named, (word,))}
    return names | {name for _, name in observations}, {each for each, _ in observations}


def _answer(connection: sqlite3.Connection, names: Collection[str] | None, first: Collection[int] = ()) -> Graph:
    """Those of `names` that are there (None: all) with what hangs on them, held to the size of an answer.

    Where it is cut the newest stays, and of the observations those in `first` before others.
    """
    heads = _Part("entities", ANSWER_CHARS_MAX * 2 // 5, ANSWER_ENTITIES_MAX, texts=2, around=42)
    query = (
        "SELECT min(id), name, entity_type FROM seen_entities "
        "WHERE ?1 IS NULL OR name IN (SELECT value FROM json_each(?1)) GROUP BY name ORDER BY min(id) DESC"
    )
    heads.take(connection.execute(query, (None if names is None else _listed(names),)))
    found = _listed([name for _, name, _ in heads.rows])
    relations = _Part("relations", ANSWER_CHARS_MAX * 2 // 5, ANSWER_RELATIONS_MAX, texts=3, around=32)
    query = (
        "SELECT min(id), from_name, to_name, relation_type FROM seen_relations "
        "WHERE from_name IN (SELECT value FROM json_each(?1)) OR to_name IN (SELECT value FROM json_each(?1)) "
        "GROUP BY from_name, to_name, relation_type ORDER BY min(id) DESC"
    )
    relations.take(connection.execute(query, (found,)))
    said = _Part("observations", ANSWER_CHARS_MAX - heads.chars - relations.chars, ROWS_MAX, texts=1, around=1)
    query = (
        "SELECT id, text, name FROM seen_observations WHERE name IN (SELECT value FROM json_each(?1)) "
        "ORDER BY id IN (SELECT value FROM json_each(?2)) DESC, id DESC"
    )
    said.take(connection.execute(query, (found, _listed(first))))
    texts: dict[str, dict[str, None]] = {name: {} for _, name, _ in heads.rows}
    for _, text, name in said.rows:
        texts[name][text] = None
    graph: Graph = {
        "entities": [{"name": name, "entityType": of, "observations": list(texts[name])} for _, name, of in heads.rows],
        "relations": [{"from": start, "to": end, "relationType": of} for _, start, end, of in relations.rows],
    }
    if cuts := [part.cut for part in (heads, relations, said) if part.cut]:
        graph["note"] = (
            f"this answer is cut and shows the newest: {', '.join(cuts)}; search_nodes with words of what you look "
            "for, or open_nodes with fewer names, shows others"
        )
    return graph


class _Part:
    """One kind of row in an answer: the first rows that fit, in the order of their making, and how many there were.

    A row is its id and its texts; JSON puts `around` characters around them.
    """

    def __init__(self, what: str, chars_max: int, rows_max: int, *, texts: int, around: int) -> None:
        self._what, self._chars_max, self._rows_max = what, chars_max, rows_max
        self._texts, self._around = slice(1, 1 + texts), around
        self.rows: list[tuple[Any, ...]] = []
        self.chars = 0
        self.cut = ""

    def take(self, rows: Iterable[tuple[Any, ...]]) -> None:
        total, is_full = 0, False
        for row in rows:
            total += 1
            if is_full:
                continue
            chars = self._around + sum(len(json.dumps(text, ensure_ascii=False)) for text in row[self._texts])
            is_full = len(self.rows) == self._rows_max or self.chars + chars > self._chars_max
            if not is_full:
                self.rows.append(row)
                self.chars += chars
        self.rows.sort()
        if is_full:
            self.cut = f"{len(self.rows):,} of {total:,} {self._what}"
