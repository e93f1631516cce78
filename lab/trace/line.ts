/**
 * The head of a trace line, in the three layouts that tools print:
 *
 *     kworker/0:1H-36    [000] d.h..  4.434900: unmap: IOMMU: …              the kernel's `trace` file
 *     kworker/0:1H-36    [000]        4.434900: unmap:       IOMMU: …        `trace-cmd report`
 *     kworker/0:1H    36 [000]        4.434900:      iommu:unmap: IOMMU: …   `perf script`
 *
 * The kernel may add `(tgid)` before the CPU and prints five or so flags after it, newer `trace-cmd` does the latter
 * too; `trace-cmd` pads behind the name of the event, `perf` before it and puts the subsystem in front.
 * Sources: the kernel's documentation of ftrace ("Output format") and of kprobe-based event tracing; the manual pages
 * trace-cmd-report(1), tep_print_event(3) and perf-script(1).
 *
 * Scanned by hand: this runs once for every line of logs that have hundreds of thousands.
 */

/** A head, and where the text of the event begins. */
export interface LineHead {
  readonly task: string;
  readonly pid: number;
  readonly cpu: number;
  readonly time: number;
  /** Subsystem in front of the name, or the empty string. */
  readonly system: string;
  readonly name: string;
  /** Index of the first character behind `name:`. */
  readonly rest: number;
}

/** What is wrong with a head: the part that is missing or ill-formed, and what was expected there. */
export interface HeadProblem {
  /** Undefined when the line as a whole is none. */
  readonly field: string | undefined;
  readonly expected: string;
  readonly got: string;
}

const SPACE = 32;
const TAB = 9;
const ZERO = 48;
const NINE = 57;

/** Reads the head of a line that is neither blank nor a comment. */
export function parseHead(line: string): LineHead | HeadProblem {
  const open = cpuBracket(line);
  if (open < 0) return problem(undefined, 'an event: TASK-PID [CPU] TIME: NAME: …', line.trim());
  const close = line.indexOf(']', open);
  const who = parseTask(line, open);
  if (who === null) return problem('task', 'TASK-PID or TASK PID before [CPU]', line.slice(0, open).trim());

  let at = skipSpace(line, close + 1);
  let end = tokenEnd(line, at);
  if (!isTime(line, at, end)) {
    at = skipSpace(line, end);
    end = tokenEnd(line, at);
    if (!isTime(line, at, end)) return problem('time', 'a timestamp such as 4.434900:', line.slice(close + 1).trim());
  }
  const time = Number(line.slice(at, end - 1));

  at = skipSpace(line, end);
  end = tokenEnd(line, at);
  if (end <= at + 1 || line.charCodeAt(end - 1) !== 58) {
    return problem('event', 'the name of an event and a colon', line.slice(at, end));
  }
  const colon = line.lastIndexOf(':', end - 2);
  const qualified = colon > at;
  return {
    task: who.task,
    pid: who.pid,
    cpu: digits(line, open + 1, close),
    time,
    system: qualified ? line.slice(at, colon) : '',
    name: line.slice(qualified ? colon + 1 : at, end - 1),
    rest: end,
  };
}

/** Index of the `[` of `[CPU]`: the first one that holds nothing but digits. */
function cpuBracket(line: string): number {
  for (let open = line.indexOf('['); open >= 0; open = line.indexOf('[', open + 1)) {
    let at = open + 1;
    while (isDigit(line.charCodeAt(at))) at++;
    if (at > open + 1 && line.charCodeAt(at) === 93 && open > 0) return open;
  }
  return -1;
}

function parseTask(line: string, open: number): { task: string; pid: number } | null {
  let end = trimEnd(line, open);
  if (line.charCodeAt(end - 1) === 41) {
    // The thread group: `(  123)` or `(-----)`.
    const paren = line.lastIndexOf('(', end);
    if (paren < 0) return null;
    end = trimEnd(line, paren);
  }
  let start = end;
  while (start > 0 && isDigit(line.charCodeAt(start - 1))) start--;
  if (start > 0 && line.charCodeAt(start - 1) === 47) {
    // perf may print pid/tid: the thread is what counts.
    let process = start - 1;
    while (process > 0 && isDigit(line.charCodeAt(process - 1))) process--;
    const before = line.charCodeAt(process - 1);
    if (process < start - 1 && (before === SPACE || before === TAB)) {
      const pid = digits(line, start, end);
      return { task: line.slice(skipSpace(line, 0), trimEnd(line, process)), pid };
    }
  }
  if (start === end || start === 0) return null;
  const separator = line.charCodeAt(start - 1);
  if (separator !== 45 && separator !== SPACE && separator !== TAB) return null;
  const task = line.slice(skipSpace(line, 0), trimEnd(line, separator === 45 ? start - 1 : start));
  return task === '' ? null : { task, pid: digits(line, start, end) };
}

/** Is [at, end) a timestamp with its colon: digits, maybe a point and more digits? */
function isTime(line: string, at: number, end: number): boolean {
  if (end < at + 2 || line.charCodeAt(end - 1) !== 58 || !isDigit(line.charCodeAt(at))) return false;
  let points = 0;
  for (let i = at + 1; i < end - 1; i++) {
    const code = line.charCodeAt(i);
    if (code === 46) points++;
    else if (!isDigit(code)) return false;
  }
  return points <= 1;
}

function problem(field: string | undefined, expected: string, got: string): HeadProblem {
  return { field, expected, got };
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}

function digits(line: string, start: number, end: number): number {
  let value = 0;
  for (let i = start; i < end; i++) value = value * 10 + line.charCodeAt(i) - ZERO;
  return value;
}

function skipSpace(line: string, from: number): number {
  let at = from;
  while (line.charCodeAt(at) === SPACE || line.charCodeAt(at) === TAB) at++;
  return at;
}

function tokenEnd(line: string, from: number): number {
  let at = from;
  while (at < line.length && line.charCodeAt(at) !== SPACE && line.charCodeAt(at) !== TAB) at++;
  return at;
}

function trimEnd(line: string, end: number): number {
  let at = end;
  while (at > 0 && (line.charCodeAt(at - 1) === SPACE || line.charCodeAt(at - 1) === TAB)) at--;
  return at;
}
