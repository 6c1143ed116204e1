"""A canary in every secret: it reaches what needs it, and nothing that is written, sent or shown holds it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.canaries import Canary, Search, canaries, run_floor, wrong_settings
from values.settings import FloorSettings

SEED = 4
FAULTS = {
    "model cathie": "fails",
    "model george": "tells",
    "model ray": "no_json",
    "model warren": "refuses",
    "search": "tells",
    "push": "refuses",
}


def test_every_secret_setting_has_a_canary() -> None:
    secret = {name.upper() for name, field in FloorSettings.model_fields.items() if "Secret" in str(field.annotation)}
    assert secret <= {each.setting for each in canaries(random.Random(SEED))}


def test_no_canary_leaves_a_floor_whose_upstreams_all_tell_what_they_were_asked_with(tmp_path: Path) -> None:
    secrets = canaries(random.Random(SEED))
    told = run_floor(tmp_path, secrets, FAULTS, ["accounts backup {copy}"])
    assert told.search.found == []
    assert {each.split()[0] for each in told.failed} == {"model", "search", "pushover", "ntfy"}
    assert {"model fails", "model tells", "model no_json", "model refuses"} <= set(told.failed)
    assert told.outcomes == {"completed": 1, "failed": 3}
    assert (tmp_path / "books" / "copy.db").exists()
    assert told.search.looked_at.keys() >= {
        "a command line", "an environment", "a child's settings", "a file of the running floor", "a file",
        "what the floor printed", "what model got", "what search got", "what pushover got", "what ntfy got",
        "what traces got",
    }  # fmt: skip


def test_no_error_of_a_wrong_setting_shows_it() -> None:
    search = wrong_settings(canaries(random.Random(SEED)))
    assert search.found == []
    assert search.looked_at["an error of settings"] > 5


@pytest.mark.parametrize(
    "leak", [b"pw/1", b"cGFzcw==x pw%2F1", b'{"a": "pw/1"}', b"Basic cHcvMQ==", b"Basic b3duZXI6cHcvMQ=="]
)
def test_a_leak_is_found_in_any_of_its_forms(leak: bytes) -> None:
    search = Search([Canary("PUSH_URLS", "ntfy://owner:pw%2F1@host/topic", ("pw/1",))])
    search.look("a place", b"nothing of note")
    assert search.found == []
    search.look("a place", b"before " + leak + b" after")
    assert len(search.found) == 1
    search.look("a place", leak, allowed=["PUSH_URLS"])
    assert len(search.found) == 1
