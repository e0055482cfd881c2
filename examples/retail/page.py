"""The report's page: everything but its contents. It follows the reader's choice of light or dark."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Retail: from PostgreSQL to gold, every row accounted for</title>
<style>
:root {
  color-scheme: light dark;
  --page: #f5f6f4; --card: #ffffff; --ink: #17211f; --soft: #5c6a67; --line: #e1e6e3;
  --accent: #0f766e; --accent-soft: #99d5cc; --bronze: #b7793f; --silver: #64748b; --gold: #c79a1b;
  --quarantine: #c2410c; --ledger: #7c6f9c; --good: #15803d; --bad: #b91c1c; --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1514; --card: #172120; --ink: #e7eeec; --soft: #97a7a3; --line: #273432;
    --accent: #2dd4bf; --accent-soft: #1c5a54; --bronze: #d49a63; --silver: #94a3b8; --gold: #e6bf4d;
    --quarantine: #fb8b53; --ledger: #a99bd0; --good: #4ade80; --bad: #f87171; --on: #0b1211;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--page);
  color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 36px 20px 60px; }
header h1 { font-size: clamp(1.6rem, 4vw, 2.4rem); line-height: 1.15; margin: 0 0 10px; letter-spacing: -.02em; }
header p { color: var(--soft); margin: 0 0 24px; max-width: 46rem; font-size: 1.05rem; }
.figures {
  display: grid;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 12px;
  margin-bottom: 18px;
}
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 14px 16px; }
.figure b { display: block; font-size: 1.45rem; letter-spacing: -.01em; white-space: nowrap; }
.figure span { color: var(--soft); font-size: .86rem; } .figure span small { display: block; }
.figure.good b { color: var(--good); } .figure.bad b { color: var(--bad); }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 18px; }
.card {
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 16px;
  padding: 20px 22px;
  margin-bottom: 18px;
  min-width: 0;
}
.grid2 .card { margin-bottom: 0; } .grid2 { margin-bottom: 18px; }
h2 { font-size: 1.08rem; margin: 0 0 2px; letter-spacing: -.01em; }
.note { color: var(--soft); margin: 0 0 12px; font-size: .9rem; }
.scroll { overflow-x: auto; }
.picture { overflow-x: auto; } .picture svg { min-width: 640px; } .picture.small svg { min-width: 300px; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
svg text { fill: var(--ink); font-size: 13px; text-anchor: middle; }
svg text.end { text-anchor: end; }
svg text.small { fill: var(--soft); font-size: 12px; text-anchor: start; }
svg text.small.end { text-anchor: end; }
svg text.verb { fill: var(--soft); font-size: 13px; font-style: italic; }
svg text.tick { fill: var(--soft); font-size: 11.5px; }
.node rect { fill: var(--card); stroke-width: 2; }
.node .name { font-weight: 650; } .node .count { fill: var(--soft); font-size: 12px; }
.node.source rect { stroke: var(--accent); }
.node.bronze rect { stroke: var(--bronze); }
.node.silver rect { stroke: var(--silver); }
.node.gold rect { stroke: var(--gold); }
.node.quarantine rect { stroke: var(--quarantine); }
.node.ledger rect { stroke: var(--ledger); }
.stream { fill: none; opacity: .42; }
.stream.bronze { stroke: var(--bronze); }
.stream.silver { stroke: var(--silver); }
.stream.gold { stroke: var(--gold); }
.stream.quarantine { stroke: var(--quarantine); opacity: .8; }
.stream.ledger { stroke: var(--ledger); opacity: .8; }
.replay { fill: none; stroke: var(--quarantine); stroke-width: 1.6; stroke-dasharray: 4 4; }
.tip { fill: var(--quarantine); }
.grid { stroke: var(--line); }
.up { fill: var(--accent); opacity: .5; }
.down { fill: var(--quarantine); opacity: .75; }
g:hover > .up { opacity: 1; } g:hover > .down { opacity: 1; }
.mean { fill: none; stroke: var(--accent); stroke-width: 2.2; stroke-linejoin: round; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 5px 0 14px; }
.key .sold { background: var(--accent); margin-left: 0; }
.key .back { background: var(--quarantine); }
.key .line { background: var(--accent); height: 3px; vertical-align: middle; }
.cell { fill: var(--accent); } svg text.in { font-size: 13px; } svg text.in.dark { fill: var(--on); }
.bars { display: grid; gap: 7px; }
.bar {
  display: grid;
  grid-template-columns: minmax(120px, 15rem) 1fr 4.6rem;
  gap: 12px;
  align-items: center;
  font-size: .88rem;
}
.bar .what { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bar .what small { color: var(--soft); margin-left: 7px; }
.bar .track { background: var(--line); border-radius: 5px; height: 12px; overflow: hidden; }
.bar .track i { display: block; height: 100%; background: var(--accent); border-radius: 5px; }
.bar .value { text-align: right; font-variant-numeric: tabular-nums; }
.grid2 .bar { grid-template-columns: minmax(110px, 46%) 1fr 3.9rem; }
.grid2 .long .bar { grid-template-columns: minmax(140px, 62%) 1fr 3.9rem; }
.long .what small { display: none; }
.tall { gap: 19px; margin-top: 16px; } .tall .what small { display: block; margin-left: 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
td.wide { min-width: 11rem; }
td { white-space: nowrap; }
td.wide { white-space: normal; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.equation { font-size: clamp(1rem, 2.6vw, 1.35rem); margin: 10px 0; }
.equation i { color: var(--soft); font-style: normal; font-size: .8em; }
footer { color: var(--soft); font-size: .85rem; }
@media (max-width: 560px) {
  .card { padding: 16px; }
  .bar, .grid2 .bar { grid-template-columns: 1fr 3.9rem !important; }
  .bar .track { grid-column: 1 / -1; grid-row: 2; height: 8px; }
}
@media print {
  body { background: #fff; }
  .card { break-inside: avoid; }
}
</style>
</head>
<body>
<main>
<header>
<h1>A shop's sales, from PostgreSQL to gold</h1>
<p><!--lead--></p>
</header>
<section class="figures"><!--figures--></section>

<section class="card"><h2>Where every row went</h2>
<p class="note">One contract decides. Bronze keeps what came; refine gives each row exactly one verdict.</p>
<div class="picture"><!--flow--></div></section>

<section class="card"><h2>Revenue by day</h2>
<p class="note key">
<i class="sold"></i>sold<i class="back"></i>returned<i class="line"></i>mean of seven trading days</p>
<div class="picture"><!--daily--></div></section>

<div class="grid2">
<section class="card"><h2>Countries</h2><!--countries--></section>
<section class="card"><h2>Articles that earn most</h2>
<p class="note">Net of returns.</p>
<!--products--></section>
</div>

<div class="grid2">
<section class="card"><h2>Who the customers are</h2>
<p class="note">Segments by recency, frequency and money; net revenue of each.</p>
<!--segments--></section>
<section class="card"><h2>Recency and frequency</h2>
<p class="note">Customers in each of 25 groups.</p>
<div class="picture small">
<!--cells--></div></section>
</div>

<section class="card"><h2>What comes back</h2>
<p class="note">Articles with the most money returned.</p>
<!--returns--></section>

<section class="card"><h2>Quality</h2>
<p class="note">Why rows were rejected, before and after the correction of the contract.
A row may break several rules.</p>
<!--reasons--><p><!--replay--></p><p class="note"><!--warnings--></p></section>

<section class="card"><h2>Runs</h2>
<p class="note">Each run reads what is new or changed, lines committed late included.
What an open transaction made uncertain is read twice and judged <i>duplicate</i>.</p>
<!--runs--></section>

<section class="card"><h2>The account</h2>
<p class="note">Proved from the rows of the tables, not from anybody's counters.</p>
<!--audit--></section>

<footer>Made by <code>make demo</code>. This page loads nothing from anywhere.</footer>
</main>
</body>
</html>
"""
