"""Schemas of a PostgreSQL server for tests, each a store of its own.

The server is TEST_POSTGRESQL_URL, else the one that answers at 127.0.0.1. Where none does, tests are skipped with the
reason, and under CI they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from store import tables
from values.address import StoreAddress

SERVER = os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg://root@127.0.0.1:5432/test")


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@contextmanager
def schema(name: str, folder: Path, *, is_durable: bool = False) -> Iterator[StoreAddress]:
    """The address of an empty schema, which is gone afterwards; files beside the store are in `folder`.

    Commits wait for the server's disk only where it `is_durable`: no test pulls the server's plug.
    """
    try:
        with _connection(SERVER) as server:
            server.execute(text(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'))
            server.execute(text(f'CREATE SCHEMA "{name}"'))
    except OperationalError as error:
        reason = f"no PostgreSQL answers at {make_url(SERVER).render_as_string()}: {error.orig}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    commits = "on" if is_durable else "off"
    url = make_url(SERVER).update_query_dict({"options": f"-csearch_path={name} -csynchronous_commit={commits}"})
    yield StoreAddress.parse(url.render_as_string(hide_password=False), folder)
    with _connection(SERVER) as server:
        server.execute(text("SET lock_timeout = '10s'"))
        server.execute(text(f'DROP SCHEMA "{name}" CASCADE'))


class Template:
    """A store in a schema that each test finds as it was made."""

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self._engine = create_engine(address.url, connect_args={"connect_timeout": 10})
        with self._engine.connect() as connection:
            self._run = dict(connection.execute(tables.run.select()).mappings().one())
            sequences = "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema"
            numbers = connection.execute(text(sequences)).scalars()
            # emptied row by row: TRUNCATE makes new files for every table and takes fifteen times as long
            self._empty = "; ".join(
                [f"DELETE FROM {table.name}" for table in reversed(tables.metadata.sorted_tables)]
                + [f"SELECT setval('{name}', 1, false)" for name in numbers]
            )

    def renew(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            connection.exec_driver_sql(self._empty)
            connection.execute(tables.run.insert().values(self._run))

    def close(self) -> None:
        self._engine.dispose()
