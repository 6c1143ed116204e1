"""Makes the table of the New York exchange's hours (`venues/exchange_hours.csv`) with `exchange_calendars`.

`python -m tests.exchange_table` writes it (`make hours`): every weekday from 2000 to the end of the year after next
that is not 9:30 to 16:00, as `date` for a closed day, else `date,open,close` in New York's time. The library is slow to
import and heavy, so the product reads the table; `test_exchange_hours.py` compares the two.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from values.clock import wall_now

TABLE = Path(__file__).resolve().parent.parent / "venues" / "exchange_hours.csv"
FIRST = date(2000, 1, 3)
NEW_YORK = ZoneInfo("America/New_York")


def rows(last: date) -> list[str]:
    """The exceptions of the library's calendar from FIRST to `last`."""
    import exchange_calendars

    # the library's first session can have no session before it
    calendar = exchange_calendars.get_calendar("XNYS", start="1999-12-01", end=last.isoformat())
    found = []
    day = FIRST
    while day <= last:
        if day.weekday() < 5:
            if not calendar.is_session(day.isoformat()):
                found.append(day.isoformat())
            else:
                opens = calendar.session_open(day.isoformat()).to_pydatetime().astimezone(NEW_YORK)
                closes = calendar.session_close(day.isoformat()).to_pydatetime().astimezone(NEW_YORK)
                if (hours := f"{opens:%H:%M},{closes:%H:%M}") != "09:30,16:00":
                    found.append(f"{day.isoformat()},{hours}")
        day += timedelta(days=1)
    return found


def text(last: date) -> str:
    return "\n".join([f"{FIRST.isoformat()} {last.isoformat()}", *rows(last)]) + "\n"


if __name__ == "__main__":
    until = date(wall_now().year + 2, 12, 31)
    TABLE.write_text(text(until), "utf-8")
    print(f"{TABLE}: to {until}", file=sys.stderr)
