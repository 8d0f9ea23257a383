// A view rests, which means that it is not changed, while somebody is at work on it.
import { main } from './dom.js';

let pointer = ''; // the kind that moved last: after a touch, what was touched still counts as hovered
addEventListener('pointermove', (event) => (pointer = event.pointerType));

/** restReason says why the view must not change now; empty where it may. */
export function restReason() {
  if (pointer === 'mouse' && main().querySelector('tbody tr:hover, ol > li:hover, form:hover, .plot:hover')) return 'the pointer is over it';
  if (document.querySelector('dialog[open]')) return 'a dialog is open';
  const selection = getSelection();
  if (!selection.isCollapsed && main().contains(selection.anchorNode)) return 'text is selected';
  if ([...main().querySelectorAll('input, textarea, select')].some(inUse)) return 'a form is filled in';
  return '';
}

/** inUse reports whether a field has the focus, or another value than the server gave it. */
function inUse(field) {
  if (field.type === 'hidden' || field.type === 'submit') return false;
  if (field === document.activeElement && field.type !== 'checkbox') return true;
  if (field.type === 'checkbox' || field.type === 'radio') return field.checked !== field.defaultChecked;
  if (field.options) return [...field.options].some((o) => o.defaultSelected && !o.selected);
  return field.value !== field.defaultValue;
}
