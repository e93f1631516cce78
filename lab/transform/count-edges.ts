/**
 * Puts counters into JavaScript: one for every function, branch, loop body and case, so that a run tells where it has
 * been, and one for all turns of all loops, so that no run goes on for ever. The first are bytes that wrap; the code finds
 * them as `__edges`. Each turn takes one from `__turns[0]`, and calls `__endless` when nothing is left.
 */

import { type Node, parse } from 'acorn';
import MagicString from 'magic-string';

/** The names by which the code finds its counters (a Uint8Array), the turns that are left, and what ends it. */
export const EDGES_NAME = '__edges';
export const TURNS_NAME = '__turns';
export const ENDLESS_NAME = '__endless';

/** What is put into code. */
export interface Inserted {
  readonly edges: boolean;
  readonly turns: boolean;
}

/** Code with counters, and how many there are. */
export interface Counted {
  readonly code: string;
  readonly edges: number;
}

/**
 * Every line keeps its number.
 * @param code a script, as a function body takes it
 * @param first number of the first counter
 * @throws SyntaxError when the code cannot be parsed
 */
export function countEdges(code: string, first: number, inserted: Inserted = { edges: true, turns: false }): Counted {
  const tree = parse(code, { ecmaVersion: 'latest', sourceType: 'script', allowReturnOutsideFunction: true });
  const counter = new EdgeCounter(code, first, inserted);
  counter.visit(tree);
  return { code: counter.text.toString(), edges: counter.next - first };
}

/** A node of any kind, by the names of its fields. */
type AnyNode = Node & Readonly<Record<string, unknown>>;

const LOOPS: ReadonlySet<string> = new Set([
  'ForStatement',
  'ForInStatement',
  'ForOfStatement',
  'WhileStatement',
  'DoWhileStatement',
]);

class EdgeCounter {
  readonly text: MagicString;
  next: number;
  private readonly inserted: Inserted;

  constructor(code: string, first: number, inserted: Inserted) {
    this.text = new MagicString(code);
    this.next = first;
    this.inserted = inserted;
  }

  visit(node: Node): void {
    const fields = node as AnyNode;
    if (this.inserted.turns && LOOPS.has(node.type)) {
      this.statement(fields.body as Node, `if(--${TURNS_NAME}[0]<0)${ENDLESS_NAME}()`);
    }
    if (this.inserted.edges) this.edges(node);
    for (const value of Object.values(fields)) {
      if (isNode(value)) this.visit(value);
      else if (Array.isArray(value)) for (const one of value) if (isNode(one)) this.visit(one);
    }
  }

  private edges(node: Node): void {
    const fields = node as AnyNode;
    if (LOOPS.has(node.type)) this.statement(fields.body as Node, this.count());
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        this.body(fields.body as Node);
        break;
      case 'IfStatement':
        if (!fields.alternate) this.close((fields.consequent as Node).end, ` else {${this.count()};}`);
        this.statement(fields.consequent as Node, this.count());
        if (fields.alternate) this.statement(fields.alternate as Node, this.count());
        break;
      case 'ConditionalExpression':
        this.expression(fields.consequent as Node);
        this.expression(fields.alternate as Node);
        break;
      case 'LogicalExpression':
        this.expression(fields.right as Node);
        break;
      case 'SwitchCase':
        this.label(fields.test as Node | null, node);
        break;
    }
  }

  /** What ends where something else ends too: nodes are visited from the outside in, so the later one goes first. */
  private close(at: number, text: string): void {
    this.text.prependLeft(at, text);
  }

  private count(): string {
    return `${EDGES_NAME}[${this.next++}]++`;
  }

  private body(node: Node): void {
    if (node.type === 'BlockStatement') this.text.appendLeft(node.start + 1, `${this.count()};`);
    else this.expression(node);
  }

  /** Put something before a statement, in braces, so that what belongs to it stays with it. */
  private statement(node: Node, first: string): void {
    if (node.type === 'BlockStatement') {
      this.text.appendLeft(node.start + 1, `${first};`);
      return;
    }
    this.text.appendLeft(node.start, `{${first};`);
    this.close(node.end, '}');
  }

  private expression(node: Node): void {
    this.text.appendLeft(node.start, `(${this.count()},`);
    this.close(node.end, ')');
  }

  private label(test: Node | null, node: Node): void {
    const colon = this.text.original.indexOf(':', test === null ? node.start : test.end);
    this.text.appendLeft(colon + 1, `${this.count()};`);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}
