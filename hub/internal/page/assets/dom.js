// Building the document. Everything that is shown goes through h as text or as
// attribute values: what devices send is never read as HTML.

// h makes an element. Properties that begin with "on" are event handlers, class
// is the class, false and null leave an attribute out. Children may be nested
// lists; null and false are nothing.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

// s makes an SVG element.
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let fields = 0;

// field is a labelled control.
export function field(label, control, hint) {
  control.id ||= `field-${++fields}`;
  const parts = [h('label', { for: control.id }, label), control];
  if (hint) {
    const note = h('p', { class: 'quiet small', id: `${control.id}-hint` }, hint);
    control.setAttribute('aria-describedby', note.id);
    parts.push(note);
  }
  return h('div', { class: 'grow' }, parts);
}

export const errorBox = () => h('div', { class: 'error', role: 'alert' });

// busy runs work with the button disabled, and shows what went wrong in box.
export async function busy(button, box, work) {
  box.textContent = '';
  button.disabled = true;
  try {
    return await work();
  } catch (error) {
    box.textContent = error.message;
    return undefined;
  } finally {
    button.disabled = false;
  }
}

export function notice(text) {
  const element = h('div', {}, text);
  document.getElementById('notices').append(element);
  setTimeout(() => element.remove(), 4000);
}

export const pretty = (value) => JSON.stringify(value, null, 2);

// time shows an IoT Hub time; the year 1 is its "never".
export function time(text) {
  if (!text || text.startsWith('0001-')) return 'never';
  return new Date(text).toLocaleString();
}

// copyButton puts a text on the clipboard.
export function copyButton(label, get) {
  return h('button', {
    type: 'button',
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(await get());
        notice('Copied.');
      } catch (error) {
        notice(`Not copied: ${error.message}`);
      }
    },
  }, label);
}

const every = 3000; // ms between two looks of poll

// poll calls load now and every few seconds until the view is left. What it returns
// does that at once. One at a time: a slow hub is not asked again while it answers.
export function poll(signal, problem, load) {
  let timer;
  const turn = async () => {
    clearTimeout(timer);
    try {
      await load();
      problem.textContent = '';
    } catch (error) {
      problem.textContent = error.message;
    }
    if (!signal.aborted) timer = setTimeout(turn, every);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return turn;
}
