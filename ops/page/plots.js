// Plots of the present view: what the server drew as a line becomes one that can be read point by point. The drawing of
// the server stays for readers without script.
import { element, main } from './dom.js';

/* global uPlot */

const colour = (of, name) => getComputedStyle(of).getPropertyValue(name).trim();

/** number shortens a value as the captions do: three digits. */
const number = (v) => (v == null ? '–' : v >= 100 ? Math.round(v).toLocaleString('en') : String(Number(v.toPrecision(3))));

/** startPlots draws the plots now, and again whenever the view or its width changes. */
export function startPlots() {
  drawAll();
  document.addEventListener('strunk:shown', drawAll);
  addEventListener('resize', drawAll);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
}

function drawAll() {
  main().querySelectorAll('figure[data-plot]').forEach(draw);
}

/** draw replaces the picture of a figure, whose data-plot holds values, from data-from on, each data-step seconds. */
function draw(figure) {
  const values = JSON.parse(figure.dataset.plot);
  const picture = figure.querySelector('svg');
  if (!picture || values.length < 2) return;
  const [from, step] = [Number(figure.dataset.from), Number(figure.dataset.step)];
  const line = colour(picture.querySelector('polyline') ?? picture, 'stroke');
  const width = figure.clientWidth - 24;
  const shown = figure.querySelector('[data-script]') ?? element('div', { className: 'plot', 'data-script': '', 'aria-hidden': 'true' });
  shown.replaceChildren();
  picture.after(shown);
  figure.classList.add('alive');
  const grid = { stroke: colour(figure, '--line'), width: 1 };
  const axis = { stroke: colour(figure, '--mute'), grid, ticks: grid, font: '11px system-ui', size: 34 };
  new uPlot({
    width, height: 110, tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), 'Etc/UTC'), legend: { show: true, live: true },
    cursor: { drag: { x: false, y: false }, points: { size: 5 } }, scales: { y: { range: (_, low, high) => [0, high || 1] } },
    axes: [{ ...axis, size: 24, values: '{HH}:{mm}', space: 60 }, { ...axis, size: 44, values: (_, all) => all.map(number) }],
    series: [{ value: '{MM}-{DD} {HH}:{mm}', label: 'UTC' },
      { label: figure.dataset.unit || 'value', stroke: line, width: 1.4, points: { show: false }, value: (_, v) => number(v) }],
  }, [values.map((_, i) => from + i * step), values], shown);
}
