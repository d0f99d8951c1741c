"""The style sheet of /_sandbox/, light and dark, for phones and wide screens."""

STYLE = """
:root {
  --paper: #f6f7f9; --card: #fff; --ink: #17202c; --soft: #5c6877; --line: #e2e6ec;
  --brand: #2456c7; --brand-soft: #e8eefc; --good: #11703f; --good-soft: #e0f3e8;
  --bad: #a8321f; --bad-soft: #fce9e5; --warn-soft: #fdf3d7; --warn: #755400;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f141b; --card: #171e28; --ink: #e6ebf2; --soft: #94a1b3; --line: #273140;
    --brand: #86abff; --brand-soft: #1c2a49; --good: #6fd6a0; --good-soft: #123424;
    --bad: #ff9c8a; --bad-soft: #41201b; --warn-soft: #3a3013; --warn: #f0cf7b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 28px 24px 56px; max-width: 1240px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1, h2, h3, p, dl, dd, ol { margin: 0; padding: 0; }
ol { list-style: none; }
h1 { font-size: 24px; line-height: 1.25; letter-spacing: -.01em; }
h2 { font-size: 15px; margin: 0 0 10px; }
small { color: var(--soft); font-size: 13px; font-weight: 400; }
code { font: 12.5px/1.4 var(--mono); overflow-wrap: anywhere; }
a { color: var(--brand); }
header { display: flex; flex-wrap: wrap; gap: 14px 24px; justify-content: space-between;
  align-items: center; margin-bottom: 20px; }
header p { color: var(--soft); }
header strong { color: var(--ink); font-weight: 600; }
nav { display: flex; gap: 8px; }
.button { padding: 7px 14px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); color: var(--ink); text-decoration: none; font-size: 14px; }
.button:hover { border-color: var(--brand); }
.button.live { background: var(--brand-soft); border-color: var(--brand); color: var(--brand); }
:focus-visible { outline: 2px solid var(--brand); outline-offset: 2px; }
.banner { margin-bottom: 20px; padding: 10px 14px; border-radius: 10px;
  background: var(--warn-soft); color: var(--warn); }
.totals { display: grid; gap: 12px; margin-bottom: 28px;
  grid-template-columns: repeat(auto-fit, minmax(136px, 1fr)); }
.tile { padding: 12px 16px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { font-size: 24px; line-height: 1.25; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.tile.main dd { color: var(--brand); }
.tile.zero dd { color: var(--soft); font-weight: 400; }
main { display: grid; gap: 28px; grid-template-columns: minmax(0, 1fr) 352px; align-items: start; }
.user, .requests, .links, .empty { background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: 16px 18px; margin-bottom: 14px; }
.user h3 { display: flex; gap: 12px; align-items: center; font-size: 16px; line-height: 1.3; }
.user h3 span { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.user h3 small { white-space: nowrap; }
.avatar { flex: none; width: 32px; height: 32px; border-radius: 50%; display: grid;
  place-items: center; font: 600 14px/1 system-ui, sans-serif; background: var(--brand-soft);
  color: var(--brand); }
.visitor .avatar { background: none; border: 1px dashed var(--soft); color: var(--soft); }
.ids { color: var(--soft); font-size: 13px; margin: 2px 0 0 44px; overflow-wrap: anywhere; }
.ids code { color: var(--ink); }
.traits, .chips { display: flex; flex-wrap: wrap; gap: 6px; }
.traits { margin: 10px 0 0 44px; }
.traits div, .chips div { display: flex; max-width: 100%; font-size: 13px; line-height: 1.45;
  border: 1px solid var(--line); border-radius: 7px; overflow: hidden; }
.traits dt, .chips dt { flex: none; max-width: min(260px, 40vw); padding: 1px 7px;
  color: var(--soft);
  background: var(--paper); overflow-wrap: anywhere; }
.traits dd, .chips dd { padding: 1px 8px; overflow-wrap: anywhere; min-width: 0; }
.traits div { border-color: var(--brand-soft); }
.traits dt { background: var(--brand-soft); color: var(--brand); }
.user ol { margin: 12px 0 0 44px; }
.user li { padding: 9px 0; border-top: 1px solid var(--line); }
.user li:last-child { padding-bottom: 0; }
.event { display: flex; flex-wrap: wrap; gap: 0 12px; justify-content: space-between; }
.event b { font-weight: 600; overflow-wrap: anywhere; }
time { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.chips { margin-top: 5px; }
details { margin: 10px 0 0 44px; }
details ol { margin: 8px 0 0 !important; }
summary { cursor: pointer; color: var(--brand); font-size: 14px; }
.requests li { display: flex; gap: 12px; padding: 9px 0; border-top: 1px solid var(--line); }
.requests li:first-child { border: 0; padding-top: 0; }
.requests li:last-child { padding-bottom: 0; }
.requests div { flex: 1; min-width: 0; display: grid; }
.requests b { font: 13px/1.5 var(--mono); overflow-wrap: anywhere; }
.requests small { font-size: 12.5px; }
.requests small, .requests q { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.requests q { color: var(--bad); font-size: 13px; quotes: none; }
.status { flex: none; align-self: start; min-width: 48px; text-align: center; padding: 1px 7px;
  border-radius: 7px; font: 600 13px/1.6 system-ui, sans-serif; }
.good { background: var(--good-soft); color: var(--good); }
.bad { background: var(--bad-soft); color: var(--bad); }
.links p { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 14px; }
.empty { padding: 32px 28px; }
.empty h2 { font-size: 18px; }
pre { margin: 16px 0 0; padding: 14px 16px; white-space: pre-wrap;
  overflow-wrap: anywhere; border-radius: 10px;
  background: var(--paper); border: 1px solid var(--line); font: 13px/1.55 var(--mono); }
@media (max-width: 1100px) {
  .totals { grid-template-columns: repeat(12, 1fr); }
  .tile { grid-column: span 3; }
  .tile.main { grid-column: span 4; }
}
@media (max-width: 900px) { main { grid-template-columns: minmax(0, 1fr); gap: 14px; } }
@media (max-width: 560px) {
  body { padding: 20px 14px 40px; }
  .totals { grid-template-columns: repeat(6, 1fr); gap: 8px; }
  .tile { padding: 10px 12px; grid-column: span 3; }
  .tile.main { grid-column: span 2; }
  .user, .requests, .links { padding: 14px; }
  .ids, .traits, .user ol, details { margin-left: 0; }
  .ids { margin-top: 8px; }
}
"""
