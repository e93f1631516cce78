/**
 * Counting what agrees. A check has a group and a place; within it any number of things may be compared, and it agrees
 * when all of them are equal. Every difference is counted, the first ones are kept in full.
 */

/** One difference: what was compared and where, what the other side says, and what ours says. */
export interface Disagreement {
  readonly group: string;
  readonly where: string;
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

/** Checks of one group. */
export interface GroupCount {
  readonly group: string;
  readonly agree: number;
  readonly checks: number;
}

const MAX_TEXT = 2000;

export class Tally {
  /** The first differences. */
  readonly shown: Disagreement[] = [];
  /** All differences; a check may have several. */
  differences = 0;
  private readonly most: number;
  private readonly counts = new Map<string, { agree: number; checks: number }>();
  private group = '';
  private where: string | (() => string) = '';
  private before = 0;

  /** @param most how many differences to keep in full */
  constructor(most: number) {
    this.most = most;
  }

  /** Begins a check; `where` is only asked for when something differs. */
  begin(group: string, where: string | (() => string)): void {
    this.group = group;
    this.where = where;
    this.before = this.differences;
  }

  /** Compares within the check, whole documents if need be. */
  same(what: string | (() => string), expected: unknown, got: unknown): void {
    if (!equal(expected, got)) this.differs(what, textOf(expected), textOf(got));
  }

  /** Notes a difference within the check. */
  differs(what: string | (() => string), expected: string, got: string): void {
    this.differences++;
    if (this.shown.length >= this.most) return;
    this.shown.push({
      group: this.group,
      where: typeof this.where === 'string' ? this.where : this.where(),
      what: typeof what === 'string' ? what : what(),
      expected: cut(expected),
      got: cut(got),
    });
  }

  /** Ends the check: whether all of it agreed. */
  end(): boolean {
    const agrees = this.differences === this.before;
    this.add(this.group, agrees ? 1 : 0, 1);
    return agrees;
  }

  /** A check of one comparison. */
  check(group: string, where: string | (() => string), what: string, expected: unknown, got: unknown): boolean {
    this.begin(group, where);
    this.same(what, expected, got);
    return this.end();
  }

  /** Counts of each group, in the order in which they first appeared. */
  groups(): GroupCount[] {
    return [...this.counts].map(([group, { agree, checks }]) => ({ group, agree, checks }));
  }

  get agree(): number {
    return this.groups().reduce((sum, { agree }) => sum + agree, 0);
  }

  get checks(): number {
    return this.groups().reduce((sum, { checks }) => sum + checks, 0);
  }

  private add(group: string, agree: number, checks: number): void {
    const count = this.counts.get(group) ?? { agree: 0, checks: 0 };
    this.counts.set(group, count);
    count.agree += agree;
    count.checks += checks;
  }
}

/** Equal as JSON documents are: the order of fields does not count, an absent field is one that is undefined. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => equal(item, b[i]));
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  for (const name of names) {
    if (!equal((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name])) return false;
  }
  return true;
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value) ?? 'nothing';
}

function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}… (${text.length} characters)` : text;
}
