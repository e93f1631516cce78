import { expect, test } from 'vitest';
import { countEdges, EDGES_NAME, ENDLESS_NAME, TURNS_NAME } from '../../lab/transform/count-edges.ts';

/** Runs a function body with counters. @returns its result and the counters */
function run(code: string, ...args: unknown[]): { result: unknown; counts: number[] } {
  const counted = countEdges(code, 0);
  const edges = new Uint8Array(counted.edges);
  const result = new Function(EDGES_NAME, 'args', counted.code)(edges, args);
  return { result, counts: [...edges] };
}

test('each way of a branch has a counter', () => {
  const code = 'function f(x) { if (x > 1) return 1; return x ? 2 : 3; } return f(args[0]);';
  // f, else, if, ?, :
  expect(run(code, 2)).toEqual({ result: 1, counts: [1, 0, 1, 0, 0] });
  expect(run(code, 1)).toEqual({ result: 2, counts: [1, 1, 0, 1, 0] });
  expect(run(code, 0)).toEqual({ result: 3, counts: [1, 1, 0, 0, 1] });
});

test('an else belongs to the if that it belonged to', () => {
  const code = "const [a, b] = args; if (a) if (b) return 'both'; else return 'a'; return 'none';";
  expect(run(code, true, true).result).toBe('both');
  expect(run(code, true, false).result).toBe('a');
  expect(run(code, false, true).result).toBe('none');
});

test('loops count their turns, and calls in conditions are made once', () => {
  const code =
    'let n = 0; const more = () => n++ < args[0]; while (more() && true); for (const x of [1, 2]) n += x; return n;';
  const { result, counts } = run(code, 3);
  expect(result).toBe(7);
  expect(counts).toContain(3);
  expect(counts).toContain(4);
});

test('cases, generators and what falls through', () => {
  const code = `
    function* g(x) { switch (x) { case 1: yield 'one'; case 2: yield* ['two']; break; default: yield x ?? 'none'; } }
    return [...g(args[0])];`;
  expect(run(code, 1).result).toEqual(['one', 'two']);
  expect(run(code, 2).result).toEqual(['two']);
  expect(run(code, null).result).toEqual(['none']);
});

test('lines keep their numbers', () => {
  const code = 'const a = args[0]\n  ? 1\n  : 2;\nif (a === 1)\n  return a;\nelse\n  return 0;';
  expect(countEdges(code, 0).code.split('\n')).toHaveLength(7);
  expect(run(code, true).result).toBe(1);
});

test('a loop that does not end is ended', () => {
  const code = 'let n = 0; for (;;) n++; return n;';
  const counted = countEdges(code, 0, { edges: true, turns: true });
  const run = new Function(EDGES_NAME, TURNS_NAME, ENDLESS_NAME, counted.code);
  const edges = new Uint8Array(counted.edges);
  const endless = (): never => {
    throw new Error('too many turns');
  };
  expect(() => run(edges, Float64Array.of(100), endless)).toThrow('too many turns');
  expect([...edges]).toEqual([100]);
});
