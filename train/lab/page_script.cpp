#include "tessera/train/lab/page_parts.h"

namespace tessera::lab {

std::string_view study_style() {
  return R"(
.study { min-width: 0; } .study td { vertical-align: middle; } .study th { vertical-align: bottom; line-height: 1.3; } .study .n small { white-space: nowrap; } .study tr.hot td { background: color-mix(in srgb, var(--heat) 12%, transparent); }
.study a { color: inherit; text-decoration: underline; text-decoration-color: var(--axis); text-underline-offset: 3px; } .study td.whisk, .study th.whisk { min-width: 150px; width: 34%; }
.whisk svg { display: block; width: 100%; height: 22px; overflow: visible; } .whisk path { vector-effect: non-scaling-stroke; } .whisk .zero { stroke: var(--axis); stroke-width: 1; stroke-dasharray: 3 3; }
.whisk .seed { stroke: var(--faint); stroke-opacity: .55; stroke-width: 4; stroke-linecap: round; } .whisk .mean { stroke-width: 9; stroke-linecap: round; } .whisk .span { stroke-width: 2; }
.scale2 { position: relative; height: 16px; font-size: 11.5px; color: var(--faint); font-variant-numeric: tabular-nums; } .scale2 span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.verdict { display: block; font-size: 12.5px; color: var(--soft); } .better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
:root { --good: #0b7a4b; } @media screen and (prefers-color-scheme: dark) { :root { --good: #4cc38f; } }
.sorts { cursor: pointer; user-select: none; } .sorts:hover, .sorts:focus-visible { color: var(--ink); } .sorts::after { content: "\2195"; opacity: .35; margin-left: 3px; } .sorts[aria-sort=ascending]::after { content: "\2191"; opacity: 1; } .sorts[aria-sort=descending]::after { content: "\2193"; opacity: 1; }
.tools { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin: 12px 0 10px; font-size: 13px; color: var(--soft); } .tools input, .tools select, .tools button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--axis); border-radius: 7px; padding: 5px 9px; max-width: 100%; }
.tools input { width: 230px; } .tools button { cursor: pointer; } [hidden] { display: none !important; }
.whisker { stroke-width: 1.5; stroke-opacity: .6; fill: none; } .band { fill-opacity: .13; stroke: none; } .chart g[data-e]:hover .line { stroke-width: 4; }
.picked .chart g[data-e]:not(.hot) { opacity: .1; } .picked .chart g.hot .line { stroke-width: 3; } .picked .keys span:not(.hot) { opacity: .45; } .many .chart g[data-e]:not(.hot) .band, .spread .chart g[data-e]:not(.hot) .band { display: none; }
.many .chart g[data-e]:not(.hot) .line { stroke-width: 1.3; } .many .chart g[data-e]:not(.hot) .end { stroke-width: 5; } .many .chart g[data-e]:not(.hot) .whisker { stroke-opacity: .25; }
.keys { position: sticky; top: 0; z-index: 1; background: color-mix(in srgb, var(--page) 92%, transparent); padding: 8px 0; margin: 0 0 10px; gap: 2px 14px; } .keys span { border-radius: 6px; padding: 1px 5px; margin-left: -5px; } .keys.live span { cursor: pointer; } .keys.live span:hover { background: var(--grid); }
.pairs { display: grid; grid-template-columns: max-content repeat(var(--classes), minmax(9px, 1fr)); gap: 2px; max-width: min(820px, calc(var(--classes) * 70px + 130px)); margin: 8px auto 0; font-size: 11.5px; line-height: 1; color: var(--soft); }
.pairs .is { align-self: center; text-align: right; padding-right: 5px; white-space: nowrap; } .pairs .to { writing-mode: vertical-rl; transform: rotate(180deg); justify-self: center; padding-top: 5px; white-space: nowrap; max-height: 150px; overflow: hidden; }
.pairs .cell.sure b { font-weight: 700; } .pairs .cell.sure { outline: 1.5px solid var(--soft); outline-offset: -1px; border-radius: 3px; } .pairs .cell b { font-size: 11px; } .pairs .minus { background: var(--bad); } .pairs.many b { display: none; }
.shade { position: relative; } td.shade { background: color-mix(in srgb, var(--heat) calc(var(--by) * 45%), transparent); border-radius: 3px; } td.shade.fall { background: color-mix(in srgb, var(--bad) calc(var(--by) * 45%), transparent); }
.dense td, .dense th { padding: 4px 8px; white-space: nowrap; min-width: 0; overflow-wrap: normal; } .dense th { white-space: normal; vertical-align: bottom; line-height: 1.3; } .dense td:first-child { position: sticky; left: 0; background: var(--card); min-width: 10em; padding-left: 0; z-index: 1; } .behind { gap: 6px; } .behind > details.card { padding: 9px 14px; margin: 0; } summary .chipped { display: inline-flex; min-width: 0; margin-right: 6px; } .behind summary small { color: var(--faint); } .dense td .mosaic { padding: 2px 0; }
.behind p { margin-top: 8px; } .behind table { margin-top: 10px; } .behind pre { white-space: pre-wrap; overflow-wrap: anywhere; } .gaps td:first-child { white-space: nowrap; } .files { margin-top: 26px; font-size: 13px; } .files a { color: var(--heat); margin-left: 6px; } .facet { margin-top: 18px; }
@media screen and (max-width: 560px) { .study td.whisk, .study th.whisk { min-width: 76px; width: 24%; } .study td, .study th { padding-right: 7px; } .study td:first-child { min-width: 92px; } .study .chip { margin-right: 5px; } .dense td:first-child { min-width: 6.5em; } .keys { position: static; } .pairs { gap: 1px; font-size: 9px; } .pairs .to { max-height: 110px; } .pairs .cell b { font-size: 8px; } .tools input { width: 100%; } .study .interval { display: block; } .scale2 span:nth-child(even) { display: none; } }
@media print { .tools, .sorts::after, .behind > details:not([open]) { display: none; } .keys { break-after: avoid; } .keys { position: static; } .pairs { break-inside: avoid; max-width: min(520px, calc(var(--classes) * 52px + 110px)); font-size: 8.5px; } .pairs .cell b { font-size: 8px; } .study td.whisk { width: 26%; } .study a { text-decoration: none; } .dense { font-size: 9px; } .dense td, .dense th { padding: 2px 5px 2px 0; white-space: normal; } }
)";
}

/// Without it the page is whole: it adds sorting, filtering and highlighting, and keeps them in the address, so that a view can be sent.
std::string_view study_script() {
  return R"('use strict';
(function () {
  const all = (what, where) => Array.from((where || document).querySelectorAll(what));
  const table = document.getElementById('accuracy');
  if (!table) return;
  const rows = Array.from(table.tBodies[0].rows), heads = Array.from(table.tHead.rows[0].cells);
  const view = {sort: '', filter: '', facet: '', pick: ''};
  const picked = new Set();

  function keep() {
    const parts = Object.keys(view).filter(k => view[k]).map(k => k + '=' + encodeURIComponent(view[k]).replaceAll('%2C', ','));
    history.replaceState(null, '', parts.length ? '#' + parts.join('&') : location.pathname + location.search);
  }
  function words_of(text) {
    try { return decodeURIComponent(text); } catch (e) { return text; }
  }
  function cell(row, c) {
    const of = row.cells[c];
    if (of.dataset.v === undefined) return of.textContent.trim().toLowerCase();
    return of.dataset.v === '' ? NaN : Number(of.dataset.v);
  }
  function order(c, down) {
    const sorted = rows.slice().sort((x, y) => {
      const a = cell(x, c), b = cell(y, c);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return (a > b) - (b > a) ? ((a > b) - (b > a)) * (down ? -1 : 1) : 0;
    });
    sorted.forEach(row => table.tBodies[0].appendChild(row));
    heads.forEach((h, i) => i === c ? h.setAttribute('aria-sort', down ? 'descending' : 'ascending') : h.removeAttribute('aria-sort'));
    view.sort = heads[c].dataset.sort + (down ? ',down' : ',up');
  }
  function sift() {
    const words = view.filter.toLowerCase().split(/\s+/).filter(w => w);
    const shown = new Set();
    let count = 0;
    rows.forEach(row => {
      const text = row.dataset.words.toLowerCase();
      const fits = words.every(w => w[0] === '-' ? !text.includes(w.slice(1)) || w === '-' : text.includes(w)) &&
                   (view.facet === '' || row.dataset.f === view.facet);
      row.hidden = !fits;
      if (fits) { ++count; shown.add(row.dataset.e + '/' + row.dataset.f); shown.add(row.dataset.e); }
    });
    all('.chart g[data-e]').forEach(g => g.toggleAttribute('hidden', !shown.has(g.dataset.e + '/' + g.dataset.f)));
    all('.sifted > tr[data-e]').forEach(row => row.hidden = !shown.has(row.dataset.e + '/' + row.dataset.f));
    all('.keys span[data-e]').forEach(s => s.hidden = !shown.has(s.dataset.e));
    const said = document.getElementById('shown');
    if (said) said.textContent = count === rows.length ? '' : count + ' of ' + rows.length + ' shown';
  }
  function light(over) {
    const on = new Set(picked);
    if (over !== undefined) on.add(over);
    document.body.classList.toggle('picked', on.size > 0);
    all('.chart g[data-e], .keys span[data-e], #accuracy tr[data-e]').forEach(x => x.classList.toggle('hot', on.has(x.dataset.e)));
  }
  function pick(e) {
    if (!picked.delete(e)) picked.add(e);
    view.pick = Array.from(picked).join(',');
    light(), keep();
  }

  heads.forEach((h, c) => {
    if (!h.dataset.sort) return;
    h.classList.add('sorts'), h.tabIndex = 0;
    const numbers = rows.length > 0 && rows[0].cells[c].dataset.v !== undefined;
    const turn = () => {
      const now = h.getAttribute('aria-sort');
      order(c, now ? now === 'ascending' : numbers), keep();
    };
    h.addEventListener('click', turn);
    h.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === ' ') e.preventDefault(), turn(); });
  });
  const tools = document.getElementById('tools');
  tools.hidden = false;
  const box = document.getElementById('filter'), facet = document.getElementById('facet');
  box.addEventListener('input', () => { view.filter = box.value; sift(), keep(); });
  if (facet) facet.addEventListener('change', () => { view.facet = facet.value; sift(), keep(); });
  document.getElementById('clear').addEventListener('click', () => {
    box.value = view.filter = view.facet = view.pick = '';
    if (facet) facet.value = '';
    picked.clear(), sift(), light(), keep();
  });
  all('.keys span[data-e]').forEach(s => {
    s.parentNode.classList.add('live'), s.tabIndex = 0, s.setAttribute('role', 'button');
    s.addEventListener('click', () => pick(s.dataset.e));
    s.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === ' ') e.preventDefault(), pick(s.dataset.e); });
  });
  all('.chart g[data-e]').forEach(g => g.addEventListener('click', () => pick(g.dataset.e)));
  all('.chart g[data-e], .keys span[data-e], #accuracy tr[data-e]').forEach(x => {
    x.addEventListener('pointerenter', () => light(x.dataset.e));
    x.addEventListener('pointerleave', () => light());
  });

  function open() {  // a link into something that is folded unfolds it
    const hash = location.hash.slice(1);
    if (!hash.includes('=')) {
      const at = document.getElementById(hash), fold = at ? at.closest('details') : null;
      if (fold) { fold.open = true; fold.scrollIntoView(); }
      return;
    }
    hash.split('&').forEach(part => {
      const at = part.indexOf('='), name = part.slice(0, at);
      if (Object.prototype.hasOwnProperty.call(view, name)) view[name] = words_of(part.slice(at + 1));
    });
    const [column, way] = view.sort.split(','), c = heads.findIndex(h => h.dataset.sort !== undefined ? h.dataset.sort === column : false);
    if (c >= 0) order(c, way === 'down');
    box.value = view.filter;
    if (facet) facet.value = view.facet;
    picked.clear(), view.pick.split(',').filter(e => e).forEach(e => picked.add(e));
    sift(), light();
  }
  window.addEventListener('hashchange', open);
  if (location.hash) open();
})();
)";
}

}  // namespace tessera::lab
