"""Bad inputs: a sample into every parameter, all into a few; the whole is `python -m tests.chaos bad_inputs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.bad_inputs import FORMS, attack, over_stdio, some
from tests.chaos.corpus import CORPUS, key, variants
from tests.chaos.parameters import Parameter

SEED = 4
WHOLE = {("buy_shares", "quantity"), ("lookup_share_price", "symbol"), ("search_nodes", "query")}


def test_the_corpus_has_500_distinct_values_and_its_variants_are_new_and_repeat() -> None:
    assert len({key(each) for each in CORPUS}) == len(CORPUS) >= 500
    more = [key(each) for each in variants(SEED, 300)]
    assert len(set(more) | {key(each) for each in CORPUS}) == len(CORPUS) + 300
    assert more == [key(each) for each in variants(SEED, 300)] != [key(each) for each in variants(SEED + 1, 300)]


@pytest.mark.parametrize("form", FORMS)
async def test_bad_inputs_are_refused_with_a_reason_and_change_nothing_and_legal_ones_are_kept(form: str) -> None:
    sample = some(SEED, 6)

    def chosen(parameter: Parameter) -> object:
        return CORPUS if (parameter.tool, parameter.name) in WHOLE and "operator" not in form else sample(parameter)

    tally = await attack(form, chosen, sample(Parameter.of("any", "name", lambda _: frozenset())))  # type: ignore[arg-type]
    assert tally.faults == []
    assert tally.refused > 20
    assert tally.kept > 0


async def test_bad_inputs_over_stdio_are_refused_with_a_reason_and_change_nothing(tmp_path: Path) -> None:
    tally = await over_stdio(tmp_path, "forked", SEED, 3)
    assert tally.faults == []
    assert tally.kept == 0
    assert tally.refused == tally.calls == 3 * tally.parameters
