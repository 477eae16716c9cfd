"""How the page looks; the colours are variables of `style.css`."""

STYLESHEET = """
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font: 16px/1.6 system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 980px; margin: 0 auto; padding: 48px 40px 64px; }
h1 { margin: 0; font-size: 32px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 0 0 4px; font-size: 19px; line-height: 1.3; }
a { color: var(--source-0); text-underline-offset: 2px; }
strong { font-weight: 700; }
section { margin-top: 52px; }
.facts { margin: 8px 0 0; color: var(--muted); font-size: 14px; }
.lead { margin: 28px 0 0; max-width: 74ch; font-size: 17px; }
.caption {
  margin: 0 0 16px;
  max-width: 84ch;
  color: var(--muted);
  font-size: 14px;
}
.picture svg { display: block; width: 100%; height: auto; overflow: visible; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; line-height: 1.4; }
th, td { padding: 7px 0 7px 20px; text-align: right; white-space: nowrap; }
td { vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
th { color: var(--muted); font-weight: 500; vertical-align: bottom; }
thead th { border-bottom: 1.5px solid var(--muted); }
tbody td { border-bottom: 1px solid var(--grid); }
th.words, td.words { text-align: left; }
td.words:not(:first-child) { white-space: normal; }
details { margin-top: 24px; font-size: 14px; }
summary { cursor: pointer; color: var(--muted); font-size: 15px; }
details[open] summary { margin-bottom: 12px; }
pre {
  margin: 0;
  padding: 16px;
  overflow-x: auto;
  border: 1px solid var(--grid);
  border-radius: 6px;
  font: 12.5px/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace;
}
aside {
  margin-top: 24px;
  padding: 10px 16px;
  border-left: 3px solid var(--source-1);
  color: var(--muted);
  font-size: 14px;
}
aside p, aside ul, footer p, footer ul { margin: 0; }
footer {
  margin-top: 52px;
  padding-top: 16px;
  border-top: 1px solid var(--grid);
  color: var(--muted);
  font-size: 14px;
}
footer code { font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 640px) { main { padding: 28px 16px 48px; } }
@media print { section { break-inside: avoid; } details { display: none; } }
"""
