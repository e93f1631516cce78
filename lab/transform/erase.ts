/**
 * Erases the pauses of a generator source, line for line.
 *
 * `hyp` and `io-pgtable` are written once, as generators that yield wherever another CPU could step in. This makes
 * their plain twin:
 *
 *     function* map(io: Memory): Steps<void> {      function map(io: Memory): Plain<void> {
 *       yield { kind: 'write', at };            ->
 *       yield* store(io, at);                         store(io, at);
 *     }                                             }
 *
 * It works on tokens, not on a syntax tree, so what it accepts is narrow on purpose: a `yield` that is not a
 * statement of its own, or whose operand has effects to lose, is an error.
 */

type Kind = 'space' | 'word' | 'number' | 'string' | 'template' | 'regex' | 'punctuation';

interface Token {
  readonly kind: Kind;
  readonly text: string;
  readonly line: number;
}

interface Edit {
  /** Index of the first token replaced, and of the first one after. */
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

const spaces = /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/y;
const words = /#?[\p{ID_Start}$_\\][\p{ID_Continue}$\\]*/uy;
const numbers = /(?:0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?\.?)n?/y;
const strings = /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y;
const regexes = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y;
/** The text of a template up to its end or to its next substitution; what comes before it is a backtick or a brace. */
const templates = /[`}](?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y;

/** After these a slash starts a regular expression and an expression may start; after any other word neither does. */
const operators = new Set(
  'as await case delete do else extends in instanceof is keyof new of return satisfies throw typeof void yield'.split(
    ' ',
  ),
);
const modifiers = new Set('abstract override private protected public readonly static'.split(' '));

/** Makes the plain twin of a generator source. Every line keeps its number. */
export function erase(source: string): string {
  const tokens = tokenize(source);
  const edits: Edit[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const edit = editAt(tokens, i);
    if (edit === undefined) continue;
    edits.push(edit);
    i = edit.to - 1;
  }
  let result = '';
  let at = 0;
  for (const { from, to, text } of edits) {
    result += textOf(tokens, at, from) + text;
    at = to;
  }
  return result + textOf(tokens, at, tokens.length);
}

function editAt(tokens: readonly Token[], i: number): Edit | undefined {
  const { kind, text } = token(tokens, i);
  const previous = token(tokens, before(tokens, i));
  if (kind === 'string') {
    return isImported(tokens, i) && text.slice(1, -1) === '#io-pgtable' ? replace(i, `'#io-pgtable/plain'`) : undefined;
  }
  if (kind === 'punctuation') return text === '*' && startsMethod(tokens, i) ? replace(i, '') : undefined;
  if (kind !== 'word' || previous.text === '.' || previous.text === '?.') return undefined;
  if (text === 'Steps') return replace(i, 'Plain');
  const next = after(tokens, i);
  if (text === 'function' && token(tokens, next).text === '*') {
    const named = token(tokens, next + 1).kind === 'word';
    return { from: i + 1, to: next + 1, text: lineBreaks(tokens, i + 1, next) + (named ? ' ' : '') };
  }
  if (text !== 'yield' || token(tokens, next).text === ':') return undefined;
  return token(tokens, next).text === '*' ? eraseDelegation(tokens, i, next) : eraseYield(tokens, i);
}

/** `yield* f()` -> `f()` */
function eraseDelegation(tokens: readonly Token[], i: number, star: number): Edit {
  const operand = after(tokens, star);
  const breaks = lineBreaks(tokens, i, operand);
  if (breaks !== '' && ['return', 'throw'].includes(token(tokens, before(tokens, i)).text)) {
    throw new Error(`line ${token(tokens, i).line}: the operand of this yield* must start on its line`);
  }
  return { from: i, to: operand, text: breaks };
}

/** `yield x;` -> nothing */
function eraseYield(tokens: readonly Token[], i: number): Edit {
  const { line } = token(tokens, i);
  const last = token(tokens, before(tokens, i));
  const isBody = last.text === ')' || last.text === 'else' || last.text === 'do';
  const isStatement = isBody || ['', ';', '{', '}'].includes(last.text) || endsCaseLabel(tokens, before(tokens, i));
  if (!isStatement || last.kind === 'template') throw new Error(`line ${line}: a yield must be a statement of its own`);
  let depth = 0;
  let previous = token(tokens, i);
  for (let end = i + 1; end < tokens.length; end++) {
    const { kind, text } = token(tokens, end);
    if (kind === 'space') continue;
    if (text === 'yield') throw new Error(`line ${line}: a yield inside the operand of a yield`);
    if (depth === 0 && text === ';') {
      return { from: i, to: end + 1, text: (isBody ? ';' : '') + lineBreaks(tokens, i, end) };
    }
    depth += nesting(token(tokens, end));
    if (depth < 0 || (depth === 0 && endsOperand(previous) && startsOperand(token(tokens, end)))) break;
    previous = token(tokens, end);
  }
  throw new Error(`line ${line}: no semicolon after this yield`);
}

function nesting({ kind, text }: Token): number {
  if (kind === 'template') return (text.endsWith('${') ? 1 : 0) - (text.startsWith('}') ? 1 : 0);
  if (kind !== 'punctuation') return 0;
  return ['(', '[', '{'].includes(text) ? 1 : [')', ']', '}'].includes(text) ? -1 : 0;
}

function endsOperand({ kind, text }: Token): boolean {
  if (kind === 'word') return !operators.has(text);
  if (kind === 'template') return text.endsWith('`');
  return kind === 'punctuation' ? [')', ']', '}'].includes(text) : kind !== 'space';
}

function startsOperand({ kind, text }: Token): boolean {
  if (kind === 'word') return !['as', 'in', 'instanceof', 'is', 'of', 'satisfies'].includes(text);
  return kind === 'number' || kind === 'string';
}

/** Does the colon at `i` end `case x` or `default`, and not half a conditional? */
function endsCaseLabel(tokens: readonly Token[], i: number): boolean {
  if (token(tokens, i).text !== ':') return false;
  for (let at = before(tokens, i); at >= 0; at = before(tokens, at)) {
    const { kind, text } = token(tokens, at);
    if (kind === 'word' && (text === 'case' || text === 'default')) return true;
    if (['?', ':', ';', '{', '}'].includes(text)) return false;
  }
  return false;
}

/** Is the star at `i` the mark of a generator method: `*name(` where a member of a class or an object starts? */
function startsMethod(tokens: readonly Token[], i: number): boolean {
  const last = token(tokens, before(tokens, i));
  const starts = last.kind === 'word' ? modifiers.has(last.text) : ['{', '}', ';', ','].includes(last.text);
  if (!starts || last.kind === 'template') return false;
  const name = after(tokens, i);
  if (token(tokens, name).text === '[') return true;
  return (
    ['word', 'string'].includes(token(tokens, name).kind) &&
    ['(', '<'].includes(token(tokens, after(tokens, name)).text)
  );
}

function isImported(tokens: readonly Token[], i: number): boolean {
  const at = before(tokens, i);
  const { text } = token(tokens, at);
  return text === 'from' || text === 'import' || (text === '(' && token(tokens, before(tokens, at)).text === 'import');
}

function replace(i: number, text: string): Edit {
  return { from: i, to: i + 1, text };
}

function before(tokens: readonly Token[], i: number): number {
  let at = i - 1;
  while (token(tokens, at).kind === 'space' && at >= 0) at--;
  return at;
}

function after(tokens: readonly Token[], i: number): number {
  let at = i + 1;
  while (token(tokens, at).kind === 'space' && at < tokens.length) at++;
  return at;
}

/** Past either end of the source: nothing, in a place where a statement may start. */
const nothing: Token = { kind: 'space', text: '', line: 0 };

function token(tokens: readonly Token[], i: number): Token {
  return tokens[i] ?? nothing;
}

function textOf(tokens: readonly Token[], from: number, to: number): string {
  return tokens
    .slice(from, to)
    .map(({ text }) => text)
    .join('');
}

function lineBreaks(tokens: readonly Token[], from: number, to: number): string {
  return textOf(tokens, from, to).replace(/[^\n]+/g, '');
}

/** Cuts a source into tokens that, joined, are the source again. Comments count as space. */
function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  /** For each open brace: does it belong to a substitution of a template? */
  const braces: boolean[] = [];
  let line = 1;
  let previous = nothing;
  for (let at = 0; at < source.length; ) {
    const found = tokenAt(source, at, line, previous, braces.at(-1) === true);
    if (found.kind === 'template') {
      if (found.text.startsWith('}')) braces.pop();
      if (found.text.endsWith('${')) braces.push(true);
    } else if (found.kind === 'punctuation') {
      if (found.text === '{') braces.push(false);
      if (found.text === '}') braces.pop();
    }
    tokens.push(found);
    if (found.kind !== 'space') previous = found;
    at += found.text.length;
    line += found.text.split('\n').length - 1;
  }
  return tokens;
}

function tokenAt(source: string, at: number, line: number, previous: Token, inTemplate: boolean): Token {
  const match = (kind: Kind, pattern: RegExp): Token | undefined => {
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    return text === undefined ? undefined : { kind, text, line };
  };
  const first = source.charAt(at);
  const found =
    match('space', spaces) ??
    match('word', words) ??
    match('number', numbers) ??
    match('string', strings) ??
    (first === '/' && !endsOperand(previous) ? match('regex', regexes) : undefined) ??
    (first === '`' || (first === '}' && inTemplate) ? match('template', templates) : undefined);
  if (found !== undefined) return found;
  if (`'"\``.includes(first)) throw new Error(`line ${line}: this string has no end`);
  return { kind: 'punctuation', text: source.startsWith('?.', at) ? '?.' : first, line };
}
