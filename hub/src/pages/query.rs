use axum::response::Response;
use maud::html;

/// Asks `/api/v1/query` and shows the answer; the expression stands in the address, so that it can be shared.
const SCRIPT: &str = r##"
const form = document.querySelector('form'), field = form.elements.expr, out = document.getElementById('out');
const cell = (row, text, tag = 'td') => { const c = row.appendChild(document.createElement(tag)); c.textContent = text; return c; };
const name = labels => {
  const { __name__ = '', ...rest } = labels;
  const inner = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(', ');
  return inner ? `${__name__}{${inner}}` : __name__ || '{}';
};
const shown = v => v.value ? v.value[1] : v.histogram ? `count ${v.histogram[1].count}, sum ${v.histogram[1].sum}`
  : (v.values || v.histograms).map(([t, x]) => `${x.count ?? x} @${t}`).join('\n');
async function run() {
  const expr = field.value.trim();
  out.replaceChildren();
  if (!expr) return;
  history.replaceState(null, '', '?expr=' + encodeURIComponent(expr));
  let answer;
  try { answer = await (await fetch('/api/v1/query', { method: 'POST', body: new URLSearchParams({ query: expr }) })).json(); }
  catch (e) { answer = { error: 'the hub does not answer: ' + e.message }; }
  const note = (text, kind) => { const p = out.appendChild(document.createElement('p')); p.className = kind; p.textContent = text; };
  if (answer.error) return note(answer.error, 'down');
  for (const text of [...(answer.warnings || []), ...(answer.infos || [])]) note(text, 'unknown');
  const { resultType, result } = answer.data;
  const rows = resultType === 'scalar' || resultType === 'string' ? [{ metric: {}, value: result }] : result;
  note(rows.length + ' series, ' + resultType, 'note');
  const table = out.appendChild(document.createElement('table'));
  for (const each of rows.slice(0, 1000)) {
    const row = table.insertRow();
    cell(row, '').appendChild(document.createElement('code')).textContent = name(each.metric);
    cell(row, shown(each)).className = 'number';
  }
  if (rows.length > 1000) note((rows.length - 1000) + ' more are not shown', 'note');
}
form.addEventListener('submit', e => { e.preventDefault(); run(); });
field.value = new URLSearchParams(location.search).get('expr') || 'up';
run();"##;

/// The query form.
pub(crate) fn query() -> Response {
    let content = html! {
        h1 { "Query" }
        form {
            input type="text" name="expr" aria-label="PromQL expression" autofocus spellcheck="false"
                placeholder="PromQL, for example rate(node_cpu_seconds_total[1m])";
            button { "Ask" }
        }
        div id="out" {}
    };
    super::page("Query", SCRIPT, &content)
}
