import { expect, test } from 'vitest';
import { run, type Steps } from '../../machine/steps.ts';

function* add(a: number, b: number): Steps<number> {
  yield { kind: 'read', at: a };
  yield { kind: 'read', at: b };
  return a + b;
}

test('run drives a computation through its pauses to its value', () => {
  function* twice(): Steps<number> {
    return (yield* add(1, 2)) * 2;
  }
  expect(run(twice())).toBe(6);
});
