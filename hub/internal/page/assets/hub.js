// What the hub as a whole can tell.

import { h, errorBox, pretty, poll } from './dom.js';

export function hubView(api) {
  const cards = h('div', { class: 'columns' });
  const problem = errorBox();
  const result = h('pre', { tabindex: '0', 'aria-label': 'Result' }, 'Nothing was asked yet.');
  const text = h('textarea', { spellcheck: 'false', 'aria-label': 'Query', value: 'SELECT COUNT() AS devices, connectionState FROM devices GROUP BY connectionState' });
  const ask = h('button', { class: 'primary', type: 'submit' }, 'Ask');
  const refused = errorBox();

  async function load() {
    const [all, connected] = await Promise.all([api.statistics(), api.connected()]);
    const numbers = [['Devices', all.totalDeviceCount], ['Connected', connected.connectedDeviceCount], ['Enabled', all.enabledDeviceCount], ['Disabled', all.disabledDeviceCount]];
    cards.replaceChildren(h('section', { class: 'card row spread' },
      numbers.map(([name, value]) => h('div', {}, h('div', { class: 'number' }, String(value)), h('div', { class: 'quiet' }, name)))));
  }

  const form = h('form', {
    class: 'card',
    onsubmit: async (event) => {
      event.preventDefault();
      refused.textContent = '';
      ask.disabled = true;
      try {
        const { rows, continuation } = await api.query(text.value);
        result.textContent = pretty(rows) + (continuation ? '\n… and more' : '');
      } catch (error) {
        refused.textContent = error.message;
      }
      ask.disabled = false;
    },
  }, h('h3', {}, 'Query'), text, refused, h('p', {}, ask), result);

  return {
    element: h('div', {}, h('h2', {}, 'Hub'), problem, cards, form),
    start: (signal) => poll(signal, problem, load),
  };
}
