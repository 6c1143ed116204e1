"""The simulated market's instruments: believable price levels, volatilities and market betas, as of late 2025.

A listing is data. It promises that every row's volatility exceeds what its beta alone explains. It declines to be
a forecast: the numbers are round, and only the simulated venue prices by them. The replay venue borrows names and
sectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from values.instrument import Instrument, Kind

MARKET_VOLATILITY = 0.16
MARKET_PREMIUM = 0.06
"""Log growth a year for a beta of 1."""

_SECTOR_SHARE: dict[Kind, float] = {"equity": 0.4, "etf": 0.75, "coin": 0.6}
"""Of the variance that the market does not explain, the part that an instrument shares with its sector."""


class Loadings(NamedTuple):
    """Standard deviations a year of a log return's three independent parts, and its growth a year."""

    market: float
    sector: float
    own: float
    growth: float


@dataclass(frozen=True, slots=True)
class Listing:
    """One simulated instrument.

    `level` is USD at the run's start, `volatility` the standard deviation of a year's log return, `beta` the
    sensitivity to the market factor, `daily_volume` the units that change hands on a usual day.
    """

    instrument: Instrument
    level: float
    volatility: float
    beta: float
    daily_volume: int

    def loadings(self) -> Loadings:
        """What `volatility` is made of; the growth is the market's premium times beta."""
        market = self.beta * MARKET_VOLATILITY
        rest = self.volatility**2 - market**2
        share = _SECTOR_SHARE[self.instrument.kind]
        return Loadings(market, math.sqrt(rest * share), math.sqrt(rest * (1 - share)), self.beta * MARKET_PREMIUM)


def _rows(kind: Kind, table: str) -> list[Listing]:
    """Listings from lines of symbol | name | sector | level | volatility | beta | units a day."""
    listings = []
    for line in table.strip().splitlines():
        symbol, name, sector, level, volatility, beta, units = (cell.strip() for cell in line.split("|"))
        listings.append(
            Listing(Instrument(symbol, kind, name, sector), float(level), float(volatility), float(beta), int(units))
        )
    return listings


_STOCKS = """
AAPL  | Apple                    | Technology             |  265   | 0.27 | 1.15 |  50_000_000
MSFT  | Microsoft                | Technology             |  505   | 0.24 | 1.00 |  20_000_000
NVDA  | NVIDIA                   | Technology             |  188   | 0.42 | 1.75 | 180_000_000
AVGO  | Broadcom                 | Technology             |  345   | 0.42 | 1.45 |  22_000_000
GOOGL | Alphabet                 | Communication services |  280   | 0.29 | 1.05 |  35_000_000
META  | Meta Platforms           | Communication services |  620   | 0.34 | 1.20 |  15_000_000
NFLX  | Netflix                  | Communication services |  112   | 0.35 | 1.10 |  35_000_000
AMZN  | Amazon                   | Consumer discretionary |  235   | 0.31 | 1.20 |  45_000_000
TSLA  | Tesla                    | Consumer discretionary |  405   | 0.58 | 1.90 |  85_000_000
HD    | Home Depot               | Consumer discretionary |  370   | 0.24 | 0.95 |   4_000_000
KO    | Coca-Cola                | Consumer staples       |   71   | 0.16 | 0.45 |  15_000_000
PG    | Procter & Gamble         | Consumer staples       |  147   | 0.18 | 0.45 |   8_000_000
WMT   | Walmart                  | Consumer staples       |  102   | 0.22 | 0.60 |  17_000_000
COST  | Costco                   | Consumer staples       |  915   | 0.23 | 0.75 |   2_200_000
JNJ   | Johnson & Johnson        | Health care            |  195   | 0.18 | 0.40 |   8_000_000
UNH   | UnitedHealth             | Health care            |  325   | 0.33 | 0.55 |   9_000_000
LLY   | Eli Lilly                | Health care            | 1020   | 0.33 | 0.65 |   4_000_000
JPM   | JPMorgan Chase           | Financials             |  310   | 0.25 | 1.05 |   9_000_000
BRK.B | Berkshire Hathaway       | Financials             |  505   | 0.18 | 0.75 |   4_500_000
COIN  | Coinbase                 | Financials             |  285   | 0.75 | 2.20 |  12_000_000
XOM   | Exxon Mobil              | Energy                 |  117   | 0.25 | 0.70 |  15_000_000
CVX   | Chevron                  | Energy                 |  153   | 0.25 | 0.75 |   8_000_000
CAT   | Caterpillar              | Industrials            |  555   | 0.30 | 1.15 |   4_000_000
BA    | Boeing                   | Industrials            |  195   | 0.36 | 1.25 |   8_000_000
NEE   | NextEra Energy           | Utilities              |   84   | 0.25 | 0.50 |  10_000_000
DUK   | Duke Energy              | Utilities              |  123   | 0.17 | 0.35 |   3_500_000
"""

_FUNDS = """
SPY   | SPDR S&P 500 ETF         | Broad market           |  675   | 0.17 | 1.00 |  75_000_000
QQQ   | Invesco QQQ Trust        | Technology             |  610   | 0.22 | 1.15 |  55_000_000
TLT   | iShares 20+ Year Treasury Bond ETF | Government bonds |  89 | 0.14 | -0.10 |  35_000_000
GLD   | SPDR Gold Shares         | Gold                   |  375   | 0.17 | 0.05 |  12_000_000
IBIT  | iShares Bitcoin Trust    | Digital assets         |   55   | 0.50 | 1.10 |  60_000_000
ARKK  | ARK Innovation ETF       | Technology             |   78   | 0.42 | 1.70 |  10_000_000
XLE   | Energy Select Sector SPDR | Energy                |   90   | 0.23 | 0.75 |  15_000_000
"""

_COINS = """
BTC-USD  | Bitcoin               | Digital assets         | 97000  | 0.48 | 1.10 |      25_000
ETH-USD  | Ether                 | Digital assets         |  3200  | 0.68 | 1.45 |     600_000
SOL-USD  | Solana                | Digital assets         |   142  | 0.82 | 1.60 |   6_000_000
XRP-USD  | XRP                   | Digital assets         |  2.25  | 0.78 | 1.35 | 250_000_000
ADA-USD  | Cardano               | Digital assets         |  0.51  | 0.84 | 1.50 | 200_000_000
DOGE-USD | Dogecoin              | Digital assets         |  0.163 | 0.90 | 1.50 | 900_000_000
LINK-USD | Chainlink             | Digital assets         |  14.2  | 0.84 | 1.55 |   5_000_000
"""

LISTINGS: dict[str, Listing] = {
    listing.instrument.symbol: listing
    for listing in sorted(
        _rows("equity", _STOCKS) + _rows("etf", _FUNDS) + _rows("coin", _COINS),
        key=lambda listing: listing.instrument.symbol,
    )
}
"""Every simulated instrument by symbol, in symbol order."""
