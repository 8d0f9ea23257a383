// Selecting rows: a box in the head of a table that selects all of this page, and how many are selected.
import { element, main } from './dom.js';

const boxes = (table) => [...table.querySelectorAll('tbody input[type=checkbox]')];

/** startSelection gives tables with boxes one for all. */
export function startSelection() {
  addHeads();
  document.addEventListener('strunk:shown', addHeads);
  document.addEventListener('change', (event) => {
    const table = event.target.closest?.('table');
    if (!table || event.target.type !== 'checkbox') return;
    if (event.target.matches('thead input')) boxes(table).forEach((box) => (box.checked = event.target.checked));
    count(table);
  });
}

function addHeads() {
  main().querySelectorAll('table').forEach((table) => {
    const cell = table.tHead?.rows[0]?.cells[0];
    if (!cell || !boxes(table).length || cell.querySelector('input')) return;
    cell.replaceChildren(element('input', { type: 'checkbox', 'aria-label': 'Select all rows of this page', 'data-script': '' }));
  });
}

function count(table) {
  const all = boxes(table);
  const chosen = all.filter((box) => box.checked).length;
  const head = table.querySelector('thead input[type=checkbox]');
  if (head) Object.assign(head, { checked: chosen === all.length, indeterminate: chosen > 0 && chosen < all.length });
  const shown = table.closest('form')?.querySelector('[data-selected]');
  if (shown) shown.textContent = chosen ? `${chosen} selected` : '';
}
