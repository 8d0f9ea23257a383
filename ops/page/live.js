// Keeps the view up to date by server-sent events, and says how old it is where that does not work.
import { element, main, clock } from './dom.js';
import { restReason } from './rest.js';
import { show } from './morph.js';

const state = {
  source: null,
  paused: false,
  version: '', // of the server's page; another one means that it was updated
  heard: Date.now(), // when the server last answered
  staleAfter: 15_000, // until the server says how often it does
  shown: 0, // the moment that the view is of
  waiting: null, // a newer document that rests
  problem: '',
  retryIn: 1_000,
};

/** viewed is this view as the server names it: relative to the page. */
const viewed = () => location.pathname.split('/').pop() + location.search;

const indicator = element('span', { className: 'live' });
const button = element('button', { type: 'button', className: 'q', 'aria-pressed': 'false' }, 'Pause');
const banner = element('p', { className: 'banner', role: 'status', 'data-script': '' });

/** startLive follows the view, where it is one that changes. */
export function startLive() {
  if (!('live' in main().dataset)) return;
  state.shown = Date.parse(document.querySelector('footer time')?.dateTime) || Date.now();
  document.querySelector('header .who').before(indicator, button);
  main().prepend(banner);
  button.addEventListener('click', () => setPaused(!state.paused));
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => event.persisted && open());
  setInterval(tick, 1_000);
  if (!document.hidden) open();
  tick();
}

function setPaused(paused) {
  state.paused = paused;
  button.setAttribute('aria-pressed', paused);
  if (paused) close();
  else open();
  tick();
}

function close() {
  state.source?.close();
  state.source = null;
}

function open() {
  if (state.paused || state.source || document.hidden) return;
  state.heard = Date.now();
  const source = new EventSource('follow?view=' + encodeURIComponent(viewed()));
  state.source = source;
  source.addEventListener('view', (event) => hear(JSON.parse(event.data)));
  source.addEventListener('problem', (event) => {
    state.problem = JSON.parse(event.data).message;
    tick();
  });
  source.onerror = () => source === state.source && source.readyState === EventSource.CLOSED && again();
}

/** again connects once more after a refusal, which the browser does not do by itself, and asks for the view alone. */
async function again() {
  close();
  setTimeout(open, state.retryIn);
  state.retryIn = Math.min(2 * state.retryIn, 15_000);
  try {
    const answer = await fetch(viewed() || './', { headers: { Accept: 'text/html' } });
    if (answer.ok) hear({ html: await answer.text(), at: Date.now(), every: state.staleAfter / 3_000 });
    else state.problem = `The server answers ${answer.status}.`;
  } catch {
    // the banner says it when the view is old
  }
  tick();
}

/** hear takes a message: html is missing where nothing has changed. */
function hear({ html, at, every, version }) {
  if (version && state.version && version !== state.version && !restReason()) return location.reload();
  state.version ||= version;
  Object.assign(state, { heard: Date.now(), problem: '', retryIn: 1_000, staleAfter: 3_000 * every + 4_000 });
  if (html) state.waiting = new DOMParser().parseFromString(html, 'text/html');
  state.moment = Date.parse(at) || at;
  tick();
}

/** tick shows what waits, unless the view rests, and how old it is. */
function tick() {
  const old = Date.now() - state.heard > state.staleAfter || state.problem !== '';
  const rests = restReason();
  if (!rests && state.waiting) {
    const doc = state.waiting;
    state.waiting = null;
    show(doc);
  }
  if (!state.waiting && !old && state.moment) state.shown = state.moment;
  describe(old && !state.paused && !document.hidden, rests);
}

function describe(stale, rests) {
  document.documentElement.classList.toggle('stale', stale);
  const word = state.paused ? 'paused' : stale ? 'old' : state.waiting ? 'resting' : 'live';
  const age = Math.max(0, Math.round((Date.now() - state.shown) / 1_000));
  indicator.textContent = word === 'live' ? `live · ${clock(state.shown)}` : `${word} · ${age} s`;
  indicator.title = state.waiting ? `There is something newer: the view rests because ${rests}.` : '';
  const text = stale ? `${state.problem || 'The server does not answer.'} What you see is of ${clock(state.shown)} ` +
    'UTC. The page goes on by itself.' : '';
  if (banner.textContent !== text) banner.textContent = text; // a screen reader reads each change
}

export const refresh = () => {
  close();
  open();
};
