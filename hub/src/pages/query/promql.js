// PromQL as the editor sees it: tokens to colour, and what may stand at the cursor. The hub's parser has the last word.

const TOKEN = new RegExp([
  '(?<space>\\s+)',
  '(?<comment>#[^\\n]*)',
  // The closing quote may be missing: it is being typed.
  '(?<string>"(?:\\\\.|[^"\\\\])*"?|\'(?:\\\\.|[^\'\\\\])*\'?|`[^`]*`?)',
  '(?<number>(?:\\d+(?:ms|[smhdwy]))+|0x[\\da-f]+|\\d*\\.?\\d+(?:e[+-]?\\d+)?)',
  // With dots it must stand in quotes: completion puts it there.
  '(?<name>[a-z_:][\\w:.]*)',
  '(?<operator>=~|!~|!=|==|<=|>=|[-+*/%^=<>@])',
  '(?<bracket>[(){}\\[\\],])',
  '(?<other>.)',
].join('|'), 'giy');

const AGGREGATIONS = new Set('sum avg min max count group stddev stdvar topk bottomk quantile count_values limitk limit_ratio'.split(' '));
const GROUPING = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);
const OPERATORS = new Set(['and', 'or', 'unless', 'atan2']);
const KEYWORDS = new Set([...GROUPING, ...OPERATORS, 'bool', 'offset', 'start', 'end', 'inf', 'nan']);

/** Tokens in order, without gaps: {kind, text, from, to}. */
export function tokens(text) {
  const all = [];
  TOKEN.lastIndex = 0;
  for (let found; (found = TOKEN.exec(text)) !== null;) {
    const kind = Object.keys(found.groups).find(name => found.groups[name] !== undefined);
    all.push({ kind, text: found[0], from: found.index, to: TOKEN.lastIndex });
  }
  return all;
}

/** Tokens with the class that each is shown in: names are told apart by what follows them. */
export function coloured(text) {
  const all = tokens(text);
  const meaning = all.filter(token => token.kind !== 'space' && token.kind !== 'comment');
  let braces = 0, grouping = false;
  meaning.forEach((token, at) => {
    const next = meaning[at + 1]?.text, word = token.text.toLowerCase();
    if (token.text === '{') braces++;
    if (token.text === '}') braces--;
    if (token.text === ')') grouping = false;
    if (token.text === '(') grouping = GROUPING.has(meaning[at - 1]?.text.toLowerCase());
    if (token.kind === 'name') {
      if (word.includes('.')) token.kind = 'other';
      else if (braces > 0 || grouping) token.kind = 'label';
      else if (KEYWORDS.has(word)) token.kind = 'keyword';
      else if (next === '(' || (AGGREGATIONS.has(word) && GROUPING.has(next?.toLowerCase()))) token.kind = 'function';
      else token.kind = 'metric';
    }
  });
  return all;
}

/** The metrics that an expression names, each once. */
export function metricsOf(text) {
  return [...new Set(coloured(text).filter(token => token.kind === 'metric').map(token => token.text))];
}

/**
 * What may stand at the cursor: {kind, from, typed, ...} with the text from `from` to the cursor already typed.
 * Kinds: `expression`; `label` {selector}; `value` {label, operator, quote, selector}; `grouping`; `duration`; null for nothing.
 * `selector` is what is known of the selector around the cursor, as a selector, or null.
 */
export function contextAt(text, cursor) {
  const before = tokens(text.slice(0, cursor));
  const last = before.at(-1);
  if (last?.kind === 'comment') return null;
  const typing = last && (last.kind === 'name' || isOpen(last)) ? before.pop() : null;
  const stack = openBrackets(before.filter(token => token.kind !== 'space' && token.kind !== 'comment'));
  const open = stack.at(-1);
  const from = typing ? typing.from : cursor, typed = typing?.text ?? '';
  if (typing?.kind === 'string') return inString(open, typing);
  if (last?.kind === 'number' && !typing) return open?.text === '[' ? { kind: 'duration', from: last.from, typed: last.text } : null;
  if (open?.text === '[') return { kind: 'duration', from, typed };
  if (open?.text === '{') {
    const atName = open.inside.length === 0 || open.inside.at(-1).text === ',';
    return atName ? { kind: 'label', from, typed, selector: selectorOf(open) } : null;
  }
  if (open?.text === '(' && GROUPING.has(open.before?.text.toLowerCase())) return { kind: 'grouping', from, typed };
  return { kind: 'expression', from, typed };
}

/** A string whose closing quote is not there yet. */
function isOpen({ kind, text }) {
  return kind === 'string' && (text.length === 1 || !text.endsWith(text[0]) || /(^|[^\\])(\\\\)*\\.$/s.test(text) && text[0] !== '`');
}

/** Brackets that are open, each with the token before it and the tokens inside so far. */
function openBrackets(meaning) {
  const stack = [];
  meaning.forEach((token, at) => {
    if ('({['.includes(token.text)) {
      stack.push({ text: token.text, before: meaning[at - 1], inside: [] });
    } else if (')}]'.includes(token.text)) {
      stack.pop();
    } else {
      stack.at(-1)?.inside.push(token);
    }
  });
  return stack;
}

function inString(open, { text, from }) {
  if (open?.text !== '{') return null;
  const [label, operator] = open.inside.slice(-2);
  const about = { kind: 'value', from: from + 1, typed: text.slice(1), quote: text[0], selector: selectorOf(open) };
  if (['=', '!=', '=~', '!~'].includes(operator?.text)) {
    return { ...about, label: unquoted(label.text), operator: operator.text };
  }
  // A quoted name where a matcher may stand is the metric's.
  const atName = open.inside.length === 0 || open.inside.at(-1).text === ',';
  return atName ? { ...about, label: '__name__', operator: '=' } : null;
}

/** What is complete before the cursor: the metric, and matchers with both name and value. */
function selectorOf(open) {
  const parts = [], inside = open.inside;
  if (open.before?.kind === 'name') parts.push(`__name__="${open.before.text}"`);
  for (let at = 0; at < inside.length;) {
    const end = inside.findIndex((token, n) => n >= at && token.text === ',');
    const matcher = inside.slice(at, end < 0 ? undefined : end);
    if (end >= 0 && matcher.length === 3) parts.push(matcher.map(token => token.text).join(''));
    if (end >= 0 && matcher.length === 1 && matcher[0].kind === 'string') parts.push(`__name__=${matcher[0].text}`);
    if (end < 0) break;
    at = end + 1;
  }
  return parts.length > 0 ? `{${parts.join(',')}}` : null;
}

const unquoted = text => (/^["'`]/.test(text) ? text.slice(1, -1) : text);

/** Where a {line, column} of the hub's is in the text: its columns count bytes. */
export function indexOf(text, { line, column }) {
  const lines = text.split('\n');
  if (line > lines.length) return text.length;
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  const bytes = new TextEncoder().encode(lines[line - 1]).slice(0, column - 1);
  return start + new TextDecoder().decode(bytes).length;
}

/** The token at a position, at least one character, to be underlined. */
export function spanAt(text, position) {
  const at = indexOf(text, position);
  const token = tokens(text).find(({ from, to }) => from <= at && at < to);
  const blank = !token || token.kind === 'space';
  return { from: Math.min(at, text.length), to: blank ? at + 1 : token.to };
}
