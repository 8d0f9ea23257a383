// Small helpers for elements.

/** element makes an element with properties (and attributes, where a name has a dash) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes('-') || key === 'role') made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

/** main is the part of the document that a view fills. */
export const main = () => document.getElementById('main');

/** clock is the time of day of a moment, in UTC. */
export const clock = (moment) => new Date(moment).toISOString().slice(11, 19);
