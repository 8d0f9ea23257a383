// Keys: / to search, j and k to move, x to select, r to retry, ? for help. They can be switched off, since speech input
// and other aids may press them by mistake.
import { element, main } from './dom.js';
import { refresh } from './live.js';

const OFF = 'strunk-keys-off';

const help = [
  ['/', 'search'], ['j', 'next row'], ['k', 'row before'], ['Enter', 'open the row'], ['x', 'select the row'],
  ['r', 'retry what is selected, or the row; it asks first. Where nothing can be retried, it loads the view again'],
  ['?', 'this list'],
];

const actions = {
  '/': () => document.querySelector('header input[type=search]')?.focus(),
  j: () => move(1),
  k: () => move(-1),
  x: () => current()?.querySelector('input[type=checkbox]')?.click(),
  r: retry,
  '?': () => dialog().showModal(),
};

/** startKeys listens to keys outside of fields. */
export function startKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const field = event.target.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable], dialog');
    const action = actions[event.key];
    if (field || !action || (localStorage.getItem(OFF) && event.key !== '?')) return;
    event.preventDefault();
    action();
  });
}

const rows = () => [...main().querySelectorAll('tbody tr, ol > li')];
const current = () => main().querySelector('[data-here]');

/** move makes another row the current one, and focuses its first link. */
function move(by) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.indexOf(current());
  const row = all[Math.max(0, Math.min(all.length - 1, at < 0 && by < 0 ? 0 : at + by))];
  current()?.removeAttribute('data-here');
  row.dataset.here = '';
  const link = row.querySelector('a[href], button');
  if (!link) row.tabIndex = -1;
  (link ?? row).focus();
  row.scrollIntoView({ block: 'nearest' });
}

/** retry follows what retries the selection or the current row. */
function retry() {
  const retries = (within) => within?.querySelector('[href*="op=retry"], button[value^="retry"]');
  const selected = main().querySelector('tbody input[type=checkbox]:checked');
  const found = (selected && retries(selected.closest('form'))) || retries(current());
  if (found) found.click();
  else refresh();
}

function dialog() {
  let shown = document.getElementById('keys');
  if (shown) return shown;
  const list = element('dl', {}, ...help.flatMap(([key, does]) =>
    [element('dt', {}, element('kbd', {}, key)), element('dd', {}, does)]));
  const off = element('input', { type: 'checkbox', checked: !localStorage.getItem(OFF) });
  off.addEventListener('change', () => (off.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, '1')));
  shown = element('dialog', { id: 'keys', 'aria-labelledby': 'keys-title' }, element('h2', { id: 'keys-title' }, 'Keys'), list,
    element('form', { method: 'dialog' }, element('label', {}, off, ' Keys are on'), element('button', {}, 'Close')));
  document.body.append(shown);
  return shown;
}
