"""The floor's plain types: money, clocks, instruments, errors, settings. No I/O, no imports from higher floors."""
