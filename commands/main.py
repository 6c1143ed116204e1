"""`trading-floor`: every command and its help. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="A trading floor for AI traders: four personas, paper money, exact books.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
accounts_app = typer.Typer(help="Accounts: list, open, show, reconcile, export, backup, limits.", no_args_is_help=True)
app.add_typer(accounts_app, name="accounts")
servers_app = typer.Typer(help="Servers that mcp.json adds: list, show, accept.", invoke_without_command=True)
app.add_typer(servers_app, name="servers")


class MarketChoice(StrEnum):
    simulated = "simulated"
    replay = "replay"
    live = "live"


Market = Annotated[MarketChoice | None, typer.Option(help="The market of a new store.")]
History = Annotated[Path | None, typer.Option(help="The price file of a replay: CSV or CSV.gz.")]
Seed = Annotated[int | None, typer.Option(help="The seed of a new simulated market.")]
Fast = Annotated[bool, typer.Option("--as-fast-as-possible", help="Replay without waiting between bars.")]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Show the floor on a page too.")]
Record = Annotated[Path | None, typer.Option(help="Keep every answer of models, market and research in a new FILE.")]
Playback = Annotated[Path | None, typer.Option(help="Run a recorded run again from FILE, asking nobody.")]
Trader = Annotated[str | None, typer.Argument(help="One trader; leave out for the whole floor.")]
ServerName = Annotated[str, typer.Argument(help="The server's name in mcp.json.")]
AccountName = Annotated[str, typer.Argument(help="The account's name.")]


@contextmanager
def told() -> Iterator[None]:
    """Errors that are part of the interface end the command with their sentence and exit code 2, not a traceback."""
    from values.errors import Refused, StoreUnusable, VenueUnavailable

    try:
        yield
    except (Refused, StoreUnusable, VenueUnavailable) as error:
        print(getattr(error, "sentence", None) or error, file=sys.stderr)
        raise typer.Exit(2) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; Python would complain at exit
        raise typer.Exit(1) from None


@app.command()
def run(
    market: Market = None,
    history: History = None,
    seed: Seed = None,
    as_fast_as_possible: Fast = False,
    dashboard: Dashboard = False,
    record: Record = None,
    playback: Playback = None,
) -> None:
    """Run the floor until Ctrl-C, or to the end of a replay."""
    with told():
        from commands.run import play_back, run_floor

        if playback is not None:
            if any((market, history, seed is not None, as_fast_as_possible, record)):
                print("--playback takes everything from its file: only --dashboard goes with it", file=sys.stderr)
                raise typer.Exit(2)
            raise typer.Exit(play_back(playback.absolute(), dashboard=dashboard))
        raise typer.Exit(
            run_floor(
                market and market.value,
                history and history.absolute(),
                seed,
                fast=as_fast_as_possible,
                dashboard=dashboard,
                record=record and record.absolute(),
            )
        )


@app.command()
def once(market: Market = None, history: History = None, seed: Seed = None, record: Record = None) -> None:
    """Run one cycle now, then end."""
    with told():
        from commands.run import run_floor

        raise typer.Exit(
            run_floor(
                market and market.value,
                history and history.absolute(),
                seed,
                cycles_max=1,
                record=record and record.absolute(),
            )
        )


@app.command("dashboard")
def show_dashboard() -> None:
    """Show a store on a page, also while no floor runs on it."""
    with told():
        from commands.dashboard import run_dashboard

        run_dashboard()


@app.command()
def status() -> None:
    """Show the floor, its market and every account."""
    with told():
        from commands.status import show_status

        show_status()


def _control(action: str, trader: str | None) -> None:
    with told():
        from commands.status import control

        control(action, trader)


@app.command()
def pause(trader: Trader = None) -> None:
    """Skip sessions until `resume`."""
    _control("pause", trader)


@app.command()
def resume(trader: Trader = None) -> None:
    """Lift a pause, a reduce or a halt."""
    _control("resume", trader)


@app.command()
def reduce(trader: Trader = None) -> None:
    """Allow sales only, until `resume`."""
    _control("reduce", trader)


@app.command()
def halt(trader: Trader = None) -> None:
    """Stop all trading and any running session, until `resume`."""
    _control("halt", trader)


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Start anew: the store is put aside as a copy, the next start makes a new one."""
    with told():
        from commands.reset import reset_store

        raise typer.Exit(reset_store(yes))


@app.command("mcp-config")
def mcp_config(
    client: Annotated[str, typer.Argument(help="claude-desktop, vscode, cursor or plain.")],
    account: Annotated[str | None, typer.Option(help="Bind the servers to this account.")] = None,
    server: Annotated[str | None, typer.Option(help="One server alone.")] = None,
) -> None:
    """Print the servers as JSON for another MCP client."""
    with told():
        from commands.clients import print_config

        print_config(client, account, server)


@app.command()
def init() -> None:
    """Ask for keys one by one, test each, write them to .env; also an editor of what is there."""
    with told():
        from commands.init import run_init

        raise typer.Exit(run_init())


@app.command("push-test")
def push_test() -> None:
    """Send a message to every push target and say what became of it; exit 1 when one did not take it."""
    with told():
        from commands.phone import push_test as send_one

        raise typer.Exit(send_one())


@app.command()
def doctor(
    online: Annotated[bool, typer.Option("--online", help="Also ask each service that a key makes real.")] = False,
) -> None:
    """Check this machine, the store, the servers and the settings; exit 1 when something fails."""
    with told():
        from commands.doctor import run_doctor

        raise typer.Exit(run_doctor(online))


@servers_app.callback()
def servers(context: typer.Context) -> None:
    """Every added server: how it is reached, its tools, its state."""
    if context.invoked_subcommand is None:
        with told():
            from commands.servers import list_servers

            list_servers()


@servers_app.command("show")
def servers_show(name: ServerName) -> None:
    """One added server: its tools, who may use them, and what has changed."""
    with told():
        from commands.servers import show_server

        show_server(name)


@servers_app.command("accept")
def servers_accept(name: ServerName) -> None:
    """Accept the changed tools that `show` showed."""
    with told():
        from commands.servers import accept_server

        accept_server(name)


@accounts_app.command("list")
def accounts_list() -> None:
    """Every account with its value and profit."""
    with told():
        from commands.accounts import list_all

        list_all()


@accounts_app.command("open")
def accounts_open(name: AccountName) -> None:
    """Open an account of your own with 10,000 USD."""
    with told():
        from commands.accounts import open_one

        open_one(name)


@accounts_app.command("show")
def accounts_show(name: AccountName) -> None:
    """One account: state, positions, limits, last transactions."""
    with told():
        from commands.accounts import show_one

        show_one(name)


@accounts_app.command("reconcile")
def accounts_reconcile() -> None:
    """Recompute every account from its record; exit 1 on any difference."""
    with told():
        from commands.accounts import reconcile_all

        raise typer.Exit(reconcile_all())


@accounts_app.command("export")
def accounts_export(
    name: Annotated[str | None, typer.Argument(help="One account; leave out for all.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; leave out for standard output.")
    ] = None,
) -> None:
    """Write all transactions as CSV."""
    with told():
        from commands.accounts import export_csv

        export_csv(name, output)


@accounts_app.command("backup")
def accounts_backup(target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Make a consistent copy of the store, also while the floor runs."""
    with told():
        from commands.accounts import backup_store

        backup_store(target)


@accounts_app.command("limits")
def accounts_limits(
    name: AccountName,
    key: Annotated[str | None, typer.Argument(help="The limit to change.")] = None,
    value: Annotated[str | None, typer.Argument(help="Its new value, or `off`.")] = None,
) -> None:
    """Show an account's limits, or change one."""
    with told():
        from commands.accounts import limits_of

        limits_of(name, key, value)
