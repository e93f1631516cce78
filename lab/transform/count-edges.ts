/**
 * Puts counters into JavaScript: one for every function, branch, loop body and case, so that a run tells where it has
 * been. The counters are bytes that wrap; the code finds them as `__edges`.
 */

import { type Node, parse } from 'acorn';
import MagicString from 'magic-string';

/** The name by which counted code finds its counters, a Uint8Array. */
export const EDGES_NAME = '__edges';

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
export function countEdges(code: string, first: number): Counted {
  const tree = parse(code, { ecmaVersion: 'latest', sourceType: 'script', allowReturnOutsideFunction: true });
  const counter = new EdgeCounter(code, first);
  counter.visit(tree);
  return { code: counter.text.toString(), edges: counter.next - first };
}

/** A node of any kind, by the names of its fields. */
type AnyNode = Node & Readonly<Record<string, unknown>>;

class EdgeCounter {
  readonly text: MagicString;
  next: number;

  constructor(code: string, first: number) {
    this.text = new MagicString(code);
    this.next = first;
  }

  visit(node: Node): void {
    const fields = node as AnyNode;
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        this.body(fields.body as Node);
        break;
      case 'IfStatement':
        if (!fields.alternate) this.close((fields.consequent as Node).end, ` else {${this.count()};}`);
        this.statement(fields.consequent as Node);
        if (fields.alternate) this.statement(fields.alternate as Node);
        break;
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
      case 'WhileStatement':
      case 'DoWhileStatement':
        this.statement(fields.body as Node);
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
    for (const value of Object.values(fields)) {
      if (isNode(value)) this.visit(value);
      else if (Array.isArray(value)) for (const one of value) if (isNode(one)) this.visit(one);
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

  /** Braces round a statement, so that what belongs to it stays with it. */
  private statement(node: Node): void {
    if (node.type === 'BlockStatement') {
      this.text.appendLeft(node.start + 1, `${this.count()};`);
      return;
    }
    this.text.appendLeft(node.start, `{${this.count()};`);
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
