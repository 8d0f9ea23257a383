// Changes the view in place into what the server rendered. New rows of a table that has rows wait behind a button, so
// that nothing moves under the reader's eyes.
import { element, main } from './dom.js';

/* global Idiomorph */

let latest = null; // the newest document that was shown, whose new rows may wait

/** show changes the view into that of a document; with gather, new rows wait behind a button. */
export function show(doc, gather = true) {
  latest = doc.cloneNode(true);
  const next = doc.getElementById('main');
  if (gather) gatherNewRows(next);
  Idiomorph.morph(main(), next, options);
  const [nav, nextNav] = [document, doc].map((d) => d.querySelector('nav'));
  if (nav && nextNav) Idiomorph.morph(nav, nextNav, options);
  if (doc.title) document.title = doc.title;
  document.dispatchEvent(new CustomEvent('strunk:shown'));
}

/** showAll shows the rows that wait. */
function showAll() {
  show(latest, false);
  main().focus({ preventScroll: true });
}

document.addEventListener('click', (event) => {
  if (event.target.closest('[data-news]')) showAll();
});

const options = {
  callbacks: {
    // What the reader opened stays open, what they filled in stays, and a notice stays until the next view.
    beforeAttributeUpdated: (name, node) => !(name === 'open' && node.localName === 'details') &&
      !(name === 'tabindex' && node.localName === 'tr') && name !== 'data-here',
    beforeNodeRemoved: (node) => !node.matches?.('.notice, [data-script]'),
  },
};

/** keyOf is what names a row: its id, or its first link. */
const keyOf = (row) => row.id || row.querySelector('a[href]')?.getAttribute('href') || '';

const rowsOf = (table) => [...table.querySelectorAll(':scope > tbody > tr')];

/** gatherNewRows takes the rows out of the next view that the present one does not have, and says how many they are. */
function gatherNewRows(next) {
  const tables = main().querySelectorAll('table');
  next.querySelectorAll('table').forEach((table, i) => {
    if (tables[i]) gatherTable(tables[i], table);
  });
}

function gatherTable(table, next) {
  const known = new Map(rowsOf(table).map((row) => [keyOf(row), row]));
  const fresh = rowsOf(next).filter((row) => !known.has(keyOf(row)));
  // Where no row is left, nothing can jump.
  if (fresh.length === 0 || fresh.length === rowsOf(next).length) return;
  const kept = new Set(rowsOf(next).map(keyOf));
  fresh.forEach((row) => row.remove());
  // Rows behind the last common one were pushed off the view by those that wait: they stay.
  const rows = rowsOf(table);
  const last = rows.findLastIndex((row) => kept.has(keyOf(row)));
  if (last >= 0) next.tBodies[0].append(...rows.slice(last + 1).map((row) => row.cloneNode(true)));
  const button = element('button', { type: 'button', className: 'news', 'data-news': '' }, `${fresh.length} new`);
  (next.closest('.table') ?? next).before(button);
}
