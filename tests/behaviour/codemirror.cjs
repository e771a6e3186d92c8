// Asks a server what Prometheus's own editor asks, with its client and its completion, and prints the answers as JSON.
// Run by tests/behaviour/codemirror.rs: node codemirror.cjs URL, with NODE_PATH where the packages are.

const { CompletionContext } = require('@codemirror/autocomplete');
const { EditorState } = require('@codemirror/state');
const { PromQLExtension, newCompleteStrategy } = require('@prometheus-io/codemirror-promql');
const { HTTPPrometheusClient } = require('@prometheus-io/codemirror-promql/dist/cjs/client/prometheus.js');
const { Matcher } = require('@prometheus-io/codemirror-promql/dist/cjs/types/index.js');
const { EqlSingle } = require('@prometheus-io/lezer-promql');

const url = process.argv[2];
// The client swallows errors unless somebody asks for them.
const httpErrorHandler = error => { throw error; };

/** Everything that the client can ask, by the name of its method. */
async function asked(options) {
  const client = new HTTPPrometheusClient({ url, httpErrorHandler, ...options });
  const web = [new Matcher(EqlSingle, 'job', 'web')];
  return {
    metricNames: await client.metricNames(),
    labelNames: await client.labelNames(),
    labelNamesOf: await client.labelNames('requests_total'),
    labelValues: await client.labelValues('job'),
    labelValuesOf: await client.labelValues('code', 'requests_total', web),
    metricMetadata: await client.metricMetadata(),
    series: await client.series('requests_total', web, 'code'),
    flags: await client.flags(),
  };
}

/** What is offered at the sign | of each text; brackets are closed, as the editor does it. */
async function completed() {
  const strategy = newCompleteStrategy({ remote: { url, httpErrorHandler } });
  const extensions = [new PromQLExtension().asExtension()];
  const offers = {};
  for (const text of ['req|', 'sum by (|)', 'rate(requests_total{|})', 'rate(requests_total{job="web",code="|"})']) {
    const state = EditorState.create({ doc: text.replace('|', ''), extensions });
    const result = await strategy.promQL(new CompletionContext(state, text.indexOf('|'), true));
    offers[text] = (result?.options ?? []).map(({ label, detail, info }) => ({ label, detail, info }));
  }
  return offers;
}

(async () => {
  const methods = {};
  for (const httpMethod of ['POST', 'GET']) {
    methods[httpMethod] = await asked({ httpMethod, lookbackInterval: 12 * 3600 * 1000 });
  }
  let refusal = null;
  await new HTTPPrometheusClient({ url, httpErrorHandler: error => { refusal = error.message; } }).series('', [], '');
  console.log(JSON.stringify({ methods, completed: await completed(), refusal }));
  // The client's caches have timers.
  process.exit(0);
})().catch(error => {
  console.error(error);
  process.exit(1);
});
