"""The knowledge graph: what is written is there for whoever may see it, whole, and nothing from later than now."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database import Store
from memory import ANSWER_CHARS_MAX, ANSWER_ENTITIES_MAX, ANSWER_RELATIONS_MAX, Entity, Graph, Relation, memory_path
from memory.graph import MemoryGraph
from store.turns import try_turn, turn
from tests.conftest import START
from tests.shelf import refused
from values.clock import FixedClock, SystemClock
from values.errors import StoreBusy, StoreUnusable
from values.settings import PROJECT

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def graph(tmp_path: Path, clock: FixedClock) -> Iterator[MemoryGraph]:
    with closing(MemoryGraph(tmp_path / "memory", clock)) as opened:
        yield opened


@contextmanager
def seen_at(path: Path, moment: datetime) -> Iterator[MemoryGraph]:
    """The graph as a run sees it whose clock stands at `moment`."""
    with closing(MemoryGraph(path, FixedClock(moment))) as opened:
        yield opened


def entity(name: str, *observations: str, of: str = "company") -> Entity:
    return {"name": name, "entityType": of, "observations": list(observations)}


def relation(start: str, kind: str, end: str) -> Relation:
    return {"from": start, "to": end, "relationType": kind}


def whole(entities: Sequence[Entity], relations: Sequence[Relation] = ()) -> Graph:
    return {"entities": list(entities), "relations": list(relations)}


def names(found: Graph) -> list[str]:
    return [each["name"] for each in found["entities"]]


def sound(path: Path) -> bool:
    """Whether the file is whole, and its index holds what its tables hold."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO entity_words (entity_words, rank) VALUES ('integrity-check', 1)")
        raw.execute("INSERT INTO observation_words (observation_words, rank) VALUES ('integrity-check', 1)")
        return raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_entity_whose_name_is_there_is_left_as_it_is(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA", "makes chips")])
    assert graph.create_entities([entity("NVDA", "other", of="stock"), entity("AMD")]) == [entity("AMD")]
    assert graph.read_graph() == whole([entity("NVDA", "makes chips"), entity("AMD")])


def test_of_two_entities_of_one_name_in_a_call_the_first_is_made(graph: MemoryGraph) -> None:
    assert graph.create_entities([entity("NVDA", "a", "a"), entity("NVDA", "b")]) == [entity("NVDA", "a")]


def test_an_observation_that_an_entity_holds_is_not_added_again(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA", "a")])
    added = graph.add_observations(
        [{"entityName": "NVDA", "contents": ["b", "a", "b"]}, {"entityName": "NVDA", "contents": ["c", "b"]}]
    )
    assert [each["addedObservations"] for each in added] == [["b"], ["c"]]
    assert graph.open_nodes(["NVDA"])["entities"] == [entity("NVDA", "a", "b", "c")]


def test_a_call_that_names_an_unknown_entity_writes_nothing_at_all(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA"), entity("AMD")])
    with refused("unknown_entity", "'INTC'"):
        graph.add_observations([{"entityName": "NVDA", "contents": ["a"]}, {"entityName": "INTC", "contents": ["b"]}])
    with refused("unknown_entity", "'INTC'"):
        graph.create_relations([relation("NVDA", "rivals", "AMD"), relation("AMD", "rivals", "INTC")])
    assert graph.read_graph() == whole([entity("NVDA"), entity("AMD")])


def test_a_relation_is_kept_once_and_shown_with_either_of_its_ends(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA"), entity("AMD"), entity("TSM")])
    rivals, supplies = relation("NVDA", "rivals", "AMD"), relation("TSM", "supplies", "NVDA")
    assert graph.create_relations([rivals, supplies, rivals]) == [rivals, supplies]
    assert graph.create_relations([supplies]) == []
    assert graph.open_nodes(["NVDA"])["relations"] == [rivals, supplies]
    assert graph.search_nodes("tsm") == whole([entity("TSM")], [supplies])
    assert graph.open_nodes(["AMD", "nobody"]) == whole([entity("AMD")], [rivals])


def test_a_deleted_entity_takes_its_observations_and_relations_with_it_for_good(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA", "old news"), entity("AMD")])
    graph.create_relations([relation("NVDA", "rivals", "AMD")])
    assert graph.delete_entities(["NVDA", "INTC"]) == ["INTC"]
    assert graph.read_graph() == whole([entity("AMD")])
    assert names(graph.search_nodes("news")) == []
    graph.create_entities([entity("NVDA")])
    assert graph.read_graph() == whole([entity("AMD"), entity("NVDA")])


def test_deletions_count_what_was_there(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA", "a", "b"), entity("AMD", "a")])
    graph.create_relations([relation("NVDA", "rivals", "AMD")])
    gone = graph.delete_observations(
        [{"entityName": "NVDA", "observations": ["a", "c", "a"]}, {"entityName": "INTC", "observations": ["a"]}]
    )
    assert gone == (1, ["INTC"])
    assert graph.delete_relations([relation("AMD", "rivals", "NVDA"), relation("NVDA", "rivals", "AMD")]) == 1
    assert graph.read_graph() == whole([entity("NVDA", "b"), entity("AMD", "a")])


HOSTILE = (
    'say "hello"', "a*b", "NEAR(a b)", "a:b", "a AND NOT b", "-a", "^GSPC", "100 %", "_", "'; DROP TABLE entities; --",
    "line\nbreak", "日経平均", "Ünïcödé", "{\"name\":\"x\"}", "\x01\x1f\x7f", "\u202e", "🙂🙃", "\\ud800",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_kept_and_found_to_the_letter(graph: MemoryGraph, text: str) -> None:
    kept = entity(text, text, of=text)
    graph.create_entities([entity("other", "nothing"), kept])
    graph.create_relations([relation(text, text, "other")])
    assert graph.open_nodes([text]) == whole([kept], [relation(text, text, "other")])
    assert graph.search_nodes(text)["entities"] == [kept]
    assert graph.delete_observations([{"entityName": text, "observations": [text]}]) == (1, [])
    assert graph.delete_relations([relation(text, text, "other")]) == 1
    assert graph.delete_entities([text]) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("nvidia", ["Nvidia"]),
        ("NVID", ["Nvidia"]),
        ("vidi", ["Nvidia"]),
        ("chips", ["Nvidia", "AMD"]),
        ("chips lead", ["Nvidia"]),
        ("lead  chips", ["Nvidia"]),
        ("company", ["Nvidia", "AMD"]),
        ("amd company sells", ["AMD"]),
        ("amd lead", []),
        ("BRK.B", ["Berkshire"]),
        ("q3", ["Nvidia"]),
        ("Q", ["Nvidia"]),
        ("€", ["Berkshire"]),
        ("", ["Nvidia", "AMD", "Berkshire"]),
        (" \n\t", ["Nvidia", "AMD", "Berkshire"]),
        ("chips AND lead", []),
        ("chips*", []),
        ('"chips"', []),
        ("text:chips", []),
    ],
)
def test_a_search_finds_the_entities_that_have_every_word(graph: MemoryGraph, query: str, found: list[str]) -> None:
    graph.create_entities([
        entity("Nvidia", "sells chips", "in the lead since Q3"),
        entity("AMD", "sells chips"),
        entity("Berkshire", "trades as BRK.B", "has no € in cash", of="holding"),
    ])  # fmt: skip
    assert names(graph.search_nodes(query)) == found


def test_a_search_no_longer_finds_what_was_deleted(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA", "sells chips", "is dear")])
    graph.delete_observations([{"entityName": "NVDA", "observations": ["is dear"]}])
    assert names(graph.search_nodes("dear")) == []
    assert names(graph.search_nodes("chips")) == ["NVDA"]


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(text, min_size=1, max_size=8), st.data())
def test_a_search_finds_any_part_of_any_text(texts: list[str], data: st.DataObject) -> None:
    """The public server finds a query that stands somewhere in one text: so does this one."""
    with tempfile.TemporaryDirectory() as folder, seen_at(Path(folder) / "memory", START) as graph:
        graph.create_entities([entity(f"{number}", each) for number, each in enumerate(texts)])
        chosen = data.draw(st.sampled_from(texts))
        start = data.draw(st.integers(0, len(chosen) - 1))
        part = chosen[start : data.draw(st.integers(start + 1, len(chosen)))]
        wanted = {f"{number}" for number, each in enumerate(texts) if part in each}
        assert wanted <= set(names(graph.search_nodes(part)))


def test_nothing_is_seen_before_it_was_written(graph: MemoryGraph, clock: FixedClock) -> None:
    graph.create_entities([entity("NVDA", "known at three"), entity("TSM")])
    clock.advance(HOUR)
    graph.create_entities([entity("AMD", "known at four")])
    graph.add_observations([{"entityName": "NVDA", "contents": ["also known at four"]}])
    graph.create_relations([relation("NVDA", "rivals", "AMD"), relation("TSM", "supplies", "NVDA")])
    now = graph.read_graph()
    with seen_at(graph.path, START) as earlier:
        assert earlier.read_graph() == whole([entity("NVDA", "known at three"), entity("TSM")])
        assert names(earlier.search_nodes("four")) == []
        assert names(earlier.search_nodes("am")) == []
        assert earlier.open_nodes(["AMD", "NVDA"])["entities"] == [entity("NVDA", "known at three")]
        with refused("unknown_entity"):
            earlier.add_observations([{"entityName": "AMD", "contents": ["x"]}])
    with seen_at(graph.path, START - timedelta(microseconds=1)) as before_all:
        assert before_all.read_graph() == whole([])
        assert before_all.search_nodes("known") == whole([])
    assert graph.read_graph() == now


def test_what_was_deleted_since_is_still_seen_at_the_time_when_it_was_there(
    graph: MemoryGraph, clock: FixedClock
) -> None:
    graph.create_entities([entity("NVDA", "a", "b"), entity("AMD")])
    graph.create_relations([relation("NVDA", "rivals", "AMD")])
    then = graph.read_graph()
    clock.advance(HOUR)
    graph.delete_observations([{"entityName": "NVDA", "observations": ["b"]}])
    graph.delete_relations([relation("NVDA", "rivals", "AMD")])
    graph.delete_entities(["AMD"])
    assert graph.read_graph() == whole([entity("NVDA", "a")])
    with seen_at(graph.path, clock.at - timedelta(microseconds=1)) as earlier:
        assert earlier.read_graph() == then
        assert names(earlier.search_nodes("amd")) == ["AMD"]


def test_a_replay_sees_its_memory_as_the_floor_advances_it(store: Store) -> None:
    path = memory_path(store.path, "warren")
    assert path.name == "accounts.db.memory-warren"
    with seen_at(path, START + HOUR) as later:
        later.create_entities([entity("NVDA", "a surprise")])
    with closing(MemoryGraph(path, store.clock())) as graph:
        assert graph.search_nodes("surprise")["entities"] == []
        store.anchor(START + HOUR, 1, timedelta(0))
        assert names(graph.search_nodes("surprise")) == ["NVDA"]


def test_a_run_that_stands_earlier_writes_its_own_and_each_name_is_shown_once_later(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    with seen_at(path, START + HOUR) as later:
        later.create_entities([entity("NVDA", "from later", "from both"), entity("AMD")])
        later.create_relations([relation("NVDA", "rivals", "AMD")])
    with seen_at(path, START) as earlier:
        assert len(earlier.create_entities([entity("NVDA", "from both"), entity("AMD")])) == 2
        earlier.create_relations([relation("NVDA", "rivals", "AMD")])
        assert earlier.read_graph()["entities"] == [entity("NVDA", "from both"), entity("AMD")]
    with seen_at(path, START + HOUR) as later:
        assert later.read_graph() == whole(
            [entity("NVDA", "from later", "from both"), entity("AMD")], [relation("NVDA", "rivals", "AMD")]
        )
        assert later.delete_observations([{"entityName": "NVDA", "observations": ["from both"]}]) == (1, [])
        assert later.delete_relations([relation("NVDA", "rivals", "AMD")]) == 1
        assert later.delete_entities(["AMD"]) == []
        assert later.read_graph() == whole([entity("NVDA", "from later")])


NAMES = st.sampled_from(["NVDA", "AMD", "TSM"])
TEXTS = st.sampled_from(["makes chips", "is dear", "is cheap"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "relate", "add", "delete", "forget", "part"]), NAMES, NAMES, TEXTS, st.booleans()
    ),
    max_size=14,
)


def take_step(graph: MemoryGraph, what: str, one: str, other: str, said: str) -> None:
    if what == "create":
        graph.create_entities([entity(one, said)])
    elif what == "delete":
        graph.delete_entities([one])
    elif what == "forget":
        graph.delete_observations([{"entityName": one, "observations": [said]}])
    elif what == "part":
        graph.delete_relations([relation(one, "rivals", other)])
    elif what == "relate" and {one, other} <= set(names(graph.read_graph())):
        graph.create_relations([relation(one, "rivals", other)])
    elif what == "add" and one in names(graph.read_graph()):
        graph.add_observations([{"entityName": one, "contents": [said]}])


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_every_moment_of_a_run_reads_afterwards_as_it_read_then(steps: list[tuple[str, str, str, str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "memory", FixedClock(START)
        then: dict[datetime, tuple[Graph, Graph, Graph]] = {}
        with closing(MemoryGraph(path, clock)) as graph:
            for what, one, other, said, moves in steps:
                take_step(graph, what, one, other, said)
                then[clock.at] = (graph.read_graph(), graph.search_nodes("chips"), graph.open_nodes(["AMD"]))
                clock.advance(HOUR if moves else timedelta(0))
        replay = FixedClock(START)
        with closing(MemoryGraph(path, replay)) as graph:
            for moment, seen in then.items():
                replay.at = moment
                assert (graph.read_graph(), graph.search_nodes("chips"), graph.open_nodes(["AMD"])) == seen
        assert sound(path)


def test_every_row_carries_the_market_and_the_wall_time_of_its_writing_and_deletion(tmp_path: Path) -> None:
    class TwoTimes(FixedClock):
        def wall(self) -> datetime:
            return self.at + timedelta(days=100, microseconds=5)

    clock = TwoTimes(START)
    with closing(MemoryGraph(tmp_path / "memory", clock)) as graph:
        graph.create_entities([entity("NVDA", "a"), entity("AMD")])
        graph.create_relations([relation("NVDA", "rivals", "AMD")])
        clock.advance(HOUR)
        graph.delete_observations([{"entityName": "NVDA", "observations": ["a"]}])
        graph.delete_relations([relation("NVDA", "rivals", "AMD")])
        graph.delete_entities(["NVDA", "AMD"])
    written = ("2026-03-02T15:00:00.000000Z", "2026-06-10T15:00:00.000005Z")
    deleted = ("2026-03-02T16:00:00.000000Z", "2026-06-10T16:00:00.000005Z")
    with closing(sqlite3.connect(tmp_path / "memory")) as raw:
        for table, rows in (("entities", 2), ("observations", 1), ("relations", 1)):
            times = raw.execute(
                f"SELECT market_time, wall_time, deleted_market_time, deleted_wall_time FROM {table}"
            ).fetchall()
            assert times == [written + deleted] * rows


def test_a_full_graph_refuses_with_what_to_do_and_writes_nothing(
    graph: MemoryGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.graph.ROWS_MAX", 6)
    graph.create_entities([entity("NVDA", "a", "b"), entity("AMD")])
    graph.create_relations([relation("NVDA", "rivals", "AMD")])
    now = graph.read_graph()
    with refused("graph_full", "over 6 entities, observations and relations; nothing was written; delete"):
        graph.add_observations([{"entityName": "NVDA", "contents": ["c", "d"]}])
    with refused("graph_full"):
        graph.create_entities([entity("TSM", "e")])
    assert graph.read_graph() == now
    graph.add_observations([{"entityName": "NVDA", "contents": ["c"]}])
    with refused("graph_full"):
        graph.create_relations([relation("AMD", "rivals", "NVDA")])


def test_a_full_graph_gives_up_what_is_deleted_to_make_room(
    graph: MemoryGraph, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.graph.ROWS_MAX", 6)
    graph.create_entities([entity("NVDA", "a", "b"), entity("AMD", "c", "d")])
    clock.advance(HOUR)
    graph.delete_entities(["NVDA"])
    graph.delete_observations([{"entityName": "AMD", "observations": ["c"]}])
    graph.create_entities([entity("TSM", "e", "f")])
    assert graph.read_graph()["entities"] == [entity("AMD", "d"), entity("TSM", "e", "f")]
    assert names(graph.search_nodes("b")) == []
    with seen_at(graph.path, START) as earlier:
        assert earlier.read_graph()["entities"] == [entity("AMD", "d")]
    assert sound(graph.path)


def test_a_full_graph_does_not_give_up_what_the_present_still_sees(
    graph: MemoryGraph, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.graph.ROWS_MAX", 3)
    graph.create_entities([entity("NVDA", "a", "b")])
    clock.advance(HOUR)
    graph.delete_entities(["NVDA"])
    with seen_at(graph.path, START) as earlier:
        with refused("graph_full"):
            earlier.create_entities([entity("AMD")])
        assert earlier.read_graph() == whole([entity("NVDA", "a", "b")])
    assert graph.create_entities([entity("AMD")]) == [entity("AMD")]


def test_a_graph_too_large_for_an_answer_is_cut_to_its_newest_and_says_so(graph: MemoryGraph) -> None:
    count = ANSWER_ENTITIES_MAX + 20
    for start in range(0, count, 60):
        graph.create_entities([entity(f"company {number}", "a") for number in range(start, start + 60)])
    graph.create_relations([relation("company 0", f"is {number}", "company 119") for number in range(300)])
    found = graph.read_graph()
    assert names(found) == [f"company {number}" for number in range(20, count)]
    assert len(found["relations"]) == ANSWER_RELATIONS_MAX
    assert "100 of 120 entities, 200 of 300 relations" in found["note"]
    assert "search_nodes" in found["note"]
    assert "100 of 120 entities" in graph.search_nodes("comp")["note"]
    assert "note" not in graph.search_nodes("company 50")
    assert "note" not in graph.open_nodes(["company 1"])


def test_an_entity_too_large_for_an_answer_shows_its_newest_and_what_was_searched_for(graph: MemoryGraph) -> None:
    graph.create_entities([entity("diary", "the first day: bought tulips")])
    for day in range(40):
        graph.add_observations([{"entityName": "diary", "contents": [f"day {day}: " + "x" * 3_000]}])
    found = graph.open_nodes(["diary"])
    shown = found["entities"][0]["observations"]
    assert shown[-1].startswith("day 39: ")
    assert shown[0].startswith(f"day {40 - len(shown)}: ")
    assert f"{len(shown)} of 41 observations" in found["note"]
    assert graph.search_nodes("tulips")["entities"][0]["observations"][0] == "the first day: bought tulips"


@pytest.mark.parametrize("sign", ["x", "\x01", '"', "€", "🙂"])
def test_no_answer_is_longer_than_an_answer_may_be(graph: MemoryGraph, sign: str) -> None:
    graph.create_entities([entity(f"{number:03}" + sign * 197, sign * 4_000) for number in range(110)])
    first = "000" + sign * 197
    graph.create_relations([relation(first, f"{number:03}" + sign * 197, first) for number in range(100)])
    for found in (graph.read_graph(), graph.open_nodes([first])):
        assert "note" in found or sign != "\x01"
        assert found["entities"]
        assert len(json.dumps(found, ensure_ascii=False, separators=(",", ":"))) <= ANSWER_CHARS_MAX + 1_000
    assert graph.open_nodes([first])["entities"][0]["observations"] == [sign * 4_000]


def test_the_file_is_its_owners_alone(graph: MemoryGraph) -> None:
    graph.create_entities([entity("NVDA")])
    for path in (graph.path, *graph.path.parent.glob("memory-*"), graph.path.with_name("memory.lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_a_graph_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with seen_at(tmp_path / "memory", START) as graph:
        graph.create_entities([entity("NVDA", "a")])
    with seen_at(tmp_path / "memory", START) as graph:
        assert graph.read_graph()["entities"] == [entity("NVDA", "a")]


def test_a_file_that_is_no_memory_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_text("a letter to nobody, long enough to look like a file of some other program\n" * 20)
    with pytest.raises(StoreUnusable, match="not a database"):
        MemoryGraph(path, SystemClock())
    assert path.read_text().startswith("a letter")
    with closing(sqlite3.connect(tmp_path / "other")) as raw:
        raw.execute("CREATE TABLE letters (text TEXT)")
    with pytest.raises(StoreUnusable, match="is no memory of ours"):
        MemoryGraph(tmp_path / "other", SystemClock())


def test_a_file_of_a_newer_version_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    with seen_at(tmp_path / "memory", START):
        pass
    with closing(sqlite3.connect(tmp_path / "memory")) as raw:
        raw.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreUnusable, match="newer version"):
        MemoryGraph(tmp_path / "memory", SystemClock())
    with pytest.raises(StoreUnusable, match="No such file"):
        MemoryGraph(tmp_path / "nowhere" / "memory", SystemClock())


def test_a_write_does_not_wait_for_ever_for_another_writer(graph: MemoryGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.graph.turn", partial(turn, timeout_s=0.05))
    held = try_turn(graph.path.with_name("memory.lock"))
    assert held is not None
    with pytest.raises(StoreBusy, match="nothing was written"):
        graph.create_entities([entity("NVDA")])
    assert graph.read_graph()["entities"] == []
    os.close(held)
    assert graph.create_entities([entity("NVDA")]) == [entity("NVDA")]


WRITER = """
import sys
from pathlib import Path
from memory.graph import MemoryGraph
from values.clock import SystemClock

path, who, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
graph = MemoryGraph(path, SystemClock())
graph.create_entities([{"name": "shared", "entityType": "list", "observations": []}])
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    own = f"{who} {number}"
    texts = [f"{own}: {part} " + "x" * 300 for part in range(10)]
    graph.create_entities([{"name": own, "entityType": "own", "observations": texts}])
    graph.add_observations([{"entityName": "shared", "contents": [own]}])
    print(own, flush=True)
"""


def start_writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    writer.stdin.write("\n")
    writer.stdin.flush()


def held(path: Path) -> dict[str, int]:
    """Every entity of the file, with the number of its observations; and what `shared` lists."""
    with closing(sqlite3.connect(path)) as raw:
        return dict(
            raw.execute(
                "SELECT e.name, count(o.id) FROM entities e LEFT JOIN observations o ON o.entity_id = e.id "
                "GROUP BY e.id"
            ).fetchall()
        )


def listed(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute(
            "SELECT o.text FROM observations o JOIN entities e ON e.id = o.entity_id WHERE e.name = 'shared'"
        )
        return [row[0] for row in rows]


def test_a_file_that_another_program_holds_locked_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.graph.BUSY_S", 0.05)
    with seen_at(tmp_path / "memory", START) as graph, closing(sqlite3.connect(graph.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="another program holds memory locked"):
            graph.create_entities([entity("NVDA")])
        other.rollback()
        assert graph.create_entities([entity("NVDA")]) == [entity("NVDA")]


def test_processes_that_write_one_graph_at_once_lose_nothing(tmp_path: Path) -> None:
    path, count = tmp_path / "memory", 40
    writers = [start_writer(path, f"writer {number}", count) for number in range(3)]
    for writer in writers:
        go(writer)
    said = [line for writer in writers for line in writer.communicate()[0].splitlines()]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    wanted = [f"writer {number} {each}" for number in range(3) for each in range(count)]
    assert said == wanted
    assert sorted(listed(path)) == sorted(wanted)
    assert held(path) == {"shared": len(wanted), **dict.fromkeys(wanted, 10)}
    assert sound(path)


def test_a_killed_writer_leaves_a_sound_file_with_all_that_it_acknowledged_and_no_half_of_a_call(
    tmp_path: Path,
) -> None:
    path = tmp_path / "memory"
    acknowledged: list[str] = []
    for kill in range(5):
        with start_writer(path, f"writer {kill}", 10_000) as writer:
            go(writer)
            assert writer.stdout is not None
            acknowledged += [writer.stdout.readline().strip() for _ in range(3 * kill + 1)]
            writer.kill()
            acknowledged += writer.stdout.read().splitlines()
        assert sound(path)
    kept = held(path)
    assert kept.pop("shared") == len(listed(path)) == len(set(listed(path)))
    assert set(acknowledged) <= set(listed(path)) <= set(kept)
    assert set(kept.values()) == {10}
    assert len(kept) <= len(acknowledged) + 2 * 5
    with closing(MemoryGraph(path, SystemClock())) as graph:
        assert graph.create_entities([entity("after")]) == [entity("after")]


DYING = """
import os, signal, sys
from pathlib import Path
from memory.graph import MemoryGraph
from values.clock import SystemClock

graph = MemoryGraph(Path(sys.argv[1]), SystemClock())
graph.create_entities([{"name": "NVDA", "entityType": "company", "observations": ["kept"]}])
graph._make_room = lambda: os.kill(os.getpid(), signal.SIGKILL)
graph.add_observations([{"entityName": "NVDA", "contents": ["lost"] + ["x" * 4000 + str(each) for each in range(99)]}])
"""


def test_a_writer_that_dies_before_its_commit_has_written_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    died = subprocess.run([sys.executable, "-c", DYING, str(path)], cwd=PROJECT)
    assert died.returncode == -signal.SIGKILL
    with closing(MemoryGraph(path, SystemClock())) as graph:
        assert graph.read_graph() == whole([entity("NVDA", "kept")])
        assert graph.search_nodes("lost") == whole([])
        assert graph.create_entities([entity("AMD")]) == [entity("AMD")]
    assert sound(path)


def test_threads_that_write_and_read_one_graph_at_once_lose_nothing(graph: MemoryGraph) -> None:
    graph.create_entities([entity("shared")])
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for each in range(10):
                graph.add_observations([{"entityName": "shared", "contents": [f"{number} {each}"]}])
                assert names(graph.search_nodes(f"{number} {each}")) == ["shared"]
        except BaseException as fault:  # noqa: BLE001 - told below
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    texts: Any = graph.open_nodes(["shared"])["entities"][0]["observations"]
    assert sorted(texts) == sorted(f"{number} {each}" for number in range(6) for each in range(10))
