"""The login page: one small page without a script, light and dark, in the look of the dashboard."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from dashboard.html import tag

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --panel: #fff; --edge: #dfe3e8; --ink: #14181f; --soft: #4d5663;
  --accent: #2456c7; --on-accent: #fff; --warn: #8a4b00; --warn-ground: #fff1dc; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1116; --panel: #161b22; --edge: #2b323c; --ink: #eef1f5;
  --soft: #a9b3c0; --accent: #8ab0ff; --on-accent: #0e1116; --warn: #ffc46b; --warn-ground: #33240b; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 16px; background: var(--ground);
  color: var(--ink); font: 16px/1.45 system-ui, sans-serif; }
main { width: min(100%, 360px); background: var(--panel); border: 1px solid var(--edge);
  border-top: 4px solid var(--accent); border-radius: 14px; padding: 24px; }
h1 { font-size: 20px; margin: 0 0 16px; letter-spacing: -.01em; }
label { display: block; color: var(--soft); font-size: 14px; margin-bottom: 4px; }
input, button { font: inherit; width: 100%; border-radius: 8px; padding: 9px 12px; border: 1px solid var(--soft); }
input { color: var(--ink); background: var(--ground); margin-bottom: 14px; }
button { color: var(--on-accent); background: var(--accent); border-color: var(--accent); font-weight: 600;
  cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
p { margin: 0 0 14px; background: var(--warn-ground); color: var(--warn); border-radius: 8px; padding: 8px 12px; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#2456c7"/>'
    '<path d="M5 22l7-7 5 4 10-11" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trading floor: log in</title><link rel="icon" href="favicon.ico" type="image/svg+xml">
<style>{style}</style></head>
<body><main><h1>Trading floor</h1>{told}
<form method="post" action="login"><input name="username" value="owner" autocomplete="username" hidden>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="200" required autofocus>
<button>Open the dashboard</button></form></main></body></html>
"""


def login_page(sentence: str = "") -> str:
    """The page, with a sentence on what became of the last try."""
    return _PAGE.format(style=STYLE, told=tag("p", sentence, role="alert") if sentence else "")
