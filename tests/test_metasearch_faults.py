"""The installed ddgs library against an engine on this machine that fails in every way: an answer or a sentence.

The page of results follows the library's own reading of Mojeek (ddgs/engines/mojeek.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import ddgs.ddgs
import pytest
from ddgs.engines.mojeek import Mojeek

from research.metasearch import Metasearch
from research.provider import Hit, SearchUnavailable
from tests import search_loopback as loopback
from tests.search_loopback import Reply, SearchLoopback

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
PAGE = (
    b"<html><body><ul class='results-standard results'><li>"
    b"<h2><a href='https://a.example/chips'>Chips &amp; more</a></h2><p class='s'>Up again.</p></li></ul></body></html>"
)
OTHER = PAGE.replace(b"a.example", b"private.example")


def page(body: bytes, status: int = 200, **headers: str) -> Reply:
    return loopback.answer(body, status, Content_Type="text/html; charset=utf-8", **headers)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchLoopback]:
    with SearchLoopback() as running:

        class Here(Mojeek):
            search_url = f"{running.base_url}/search"

        monkeypatch.setattr(ddgs.ddgs, "ENGINES", {"text": {"mojeek": Here}})
        yield running


def provider(deadline_s: float = 8.0) -> Metasearch:
    return Metasearch(deadline_s=deadline_s)


async def test_a_page_of_results_is_read(engine: SearchLoopback) -> None:
    engine.script.append(page(PAGE))
    found = await provider().web("chips", 5, None, START)
    assert found == (Hit("Chips & more", "https://a.example/chips", "Up again.", "a.example", None),)
    assert engine.requests[0].params["q"] == "chips"


NOTHING = "nothing"
FAULTS: dict[str, tuple[Reply, str]] = {
    "429 with Retry-After": (page(b"", 429, Retry_After="3600"), NOTHING),
    "429": (page(b"", 429), NOTHING),
    "401": (page(b"", 401), NOTHING),
    "403": (page(b"no", 403), NOTHING),
    "404": (page(b"no", 404), NOTHING),
    "500": (page(b"<h1>oops</h1>", 500), NOTHING),
    "502": (page(b"", 502), NOTHING),
    "503": (page(b"", 503), NOTHING),
    "a page of another kind": (page(b"<html><body>are you a robot?</body></html>"), NOTHING),
    "an empty list": (page(b"<ul class='results'></ul>"), NOTHING),
    "an entry without an address": (page(b"<ul class='results'><li><h2>t</h2></li></ul>"), "can't be read"),
    "JSON": (loopback.answer({}), NOTHING),
    "cut HTML": (page(PAGE[:60]), "can't be read"),
    "not UTF-8": (page(b"\xff\xfe\xfd" * 30), NOTHING),
    "a cut message": (page(b"x", Content_Length="500", Connection="close"), "ddgs failed"),
    "a gzip bomb": (loopback.bomb(20, Content_Type="text/html"), "ddgs failed"),
    "no HTTP": (loopback.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "ddgs failed"),
    "a reset": (loopback.reset, "ddgs failed"),
    "a reset in the body": (loopback.reset_midway, "ddgs failed"),
    "silence": (loopback.silence, "ddgs found nothing within 0.3 s"),
    "a byte now and then": (loopback.drip, "ddgs found nothing within 0.3 s"),
}


@pytest.mark.timeout(15)
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_of_an_engine_is_nothing_found_or_a_sentence_and_the_next_search_works(
    engine: SearchLoopback, fault: str
) -> None:
    reply, expected = FAULTS[fault]
    # the library may ask again where a connection broke
    engine.script.extend([reply] * 3)
    asking = provider(0.3 if "0.3 s" in expected else 8.0).web("chips", 5, None, START)
    if expected == NOTHING:
        assert await asking == (), "which the provider's note says may also be a refusal"
    else:
        with pytest.raises(SearchUnavailable) as failure:
            await asking
        assert expected in str(failure.value)
        assert str(failure.value).isprintable()
        assert len(str(failure.value)) < 250
    engine.script.clear()
    engine.script.append(page(PAGE))
    assert await provider().web("chips", 5, None, START)


async def test_a_redirect_to_another_place_of_this_machine_is_not_followed(engine: SearchLoopback) -> None:
    with SearchLoopback() as private:
        private.script.append(page(OTHER))
        engine.script.append(loopback.redirect(f"{private.base_url}/latest/meta-data"))
        assert await provider().web("chips", 5, None, START) == ()
        assert private.requests == []
