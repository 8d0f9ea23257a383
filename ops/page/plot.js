// Plots say what they show at the pointer, and when that was; without it they say what is now.

const DAY = 86_400_000;

/** startPlots follows the pointer over plots. */
export function startPlots() {
  document.addEventListener('pointermove', (event) => {
    const plot = event.target.closest?.('.plot[data-said]');
    if (plot) say(plot, event.clientX);
  });
  document.addEventListener('pointerout', (event) => {
    const plot = event.target.closest?.('.plot[data-said]');
    if (plot && !plot.contains(event.relatedTarget)) forget(plot.closest('figure'));
  });
  document.addEventListener('strunk:shown', () => document.querySelectorAll('figure[data-now]').forEach(forget));
}

function say(plot, x) {
  const { from, step, said } = plot.dataset;
  const texts = said.split('|');
  const box = plot.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (x - box.left) / box.width));
  const i = Math.round(share * (texts.length - 1));
  const at = new Date(Date.parse(from) + 1_000 * step * i).toISOString();
  const day = Date.now() - Date.parse(at) > DAY ? at.slice(5, 10) + ' ' : '';
  const figure = plot.closest('figure');
  const shown = figure.querySelector('figcaption b');
  figure.dataset.now ??= shown.textContent;
  shown.textContent = `${day}${at.slice(11, 16)} · ${texts[i]}`;
}

function forget(figure) {
  if (!('now' in figure.dataset)) return;
  figure.querySelector('figcaption b').textContent = figure.dataset.now;
  delete figure.dataset.now;
}
