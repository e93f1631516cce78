/** The names and values in steps: finding them, and putting others in their place. */

import { unitOf } from '#hypercall-abi';
import type { Step, Value } from './types.ts';
import { isName, isPage } from './value.ts';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

/** What a name stands for, as far as its place tells: names of different kinds are never merged. */
function nameKind(step: Step, field: string): string {
  if (step.kind !== 'call') return 'vm';
  const unit = unitOf(step.call, field);
  return unit === 'domain' ? 'domain' : unit === 'stream' ? 'device' : 'vm';
}

/** Every name of the steps, by kind, in the order of first appearance. */
export function namesOf(steps: readonly Step[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  const add = (kind: string, name: string): void => {
    const known = names.get(kind) ?? [];
    if (!known.includes(name)) names.set(kind, [...known, name]);
  };
  for (const step of steps) {
    if (step.kind === 'dma') add('device', step.device);
    if (step.kind === 'call' && step.bind !== undefined) add('vm', step.bind);
    mapValues(step, (value, field) => {
      if (isPage(value)) add('page', value.page);
      if (isName(value)) add(nameKind(step, field), value.name);
      return value;
    });
  }
  return names;
}

/** The step with one name of a kind in the place of another. */
export function renamed(step: Step, kind: string, from: string, to: string): Step {
  let changed = mapValues(step, (value, field) => {
    if (kind === 'page' && isPage(value) && value.page === from) return { ...value, page: to };
    if (isName(value) && value.name === from && nameKind(step, field) === kind) return { name: to };
    return value;
  });
  if (kind === 'device' && changed.kind === 'dma' && changed.device === from) changed = { ...changed, device: to };
  if (kind === 'vm' && changed.kind === 'call' && changed.bind === from) changed = { ...changed, bind: to };
  return changed;
}

/** The same steps with names in order: pages a, b, c, domains d1, d2, VMs vm1, vm2. What they stand for stays the same. */
export function orderlyNames(steps: readonly Step[]): readonly Step[] {
  const names = namesOf(steps);
  const pages = new Map((names.get('page') ?? []).map((name, i) => [name, i < 26 ? LETTERS[i]! : `p${i}`]));
  const domains = new Map((names.get('domain') ?? []).map((name, i) => [name, `d${i + 1}`]));
  const vms = new Map((names.get('vm') ?? []).map((name, i) => [name, `vm${i + 1}`]));
  return steps.map((step) => {
    const changed = mapValues(step, (value, field) => {
      if (isPage(value)) return { ...value, page: pages.get(value.page)! };
      if (!isName(value)) return value;
      const kind = nameKind(step, field);
      const known = kind === 'domain' ? domains : kind === 'vm' ? vms : null;
      return known === null ? value : { name: known.get(value.name)! };
    });
    if (changed.kind !== 'call' || changed.bind === undefined) return changed;
    return { ...changed, bind: vms.get(changed.bind)! };
  });
}

/** The step with every value mapped; the field is the argument's or the property's name. */
export function mapValues(step: Step, map: (value: Value, field: string) => Value): Step {
  switch (step.kind) {
    case 'call': {
      const args: Record<string, Value> = {};
      for (const [name, value] of Object.entries(step.args)) args[name] = map(value, name);
      return { ...step, args };
    }
    case 'hvc':
      return { ...step, registers: step.registers.map((value, n) => map(value, `x${n}`)) };
    case 'write':
      return { ...step, at: map(step.at, 'at'), value: map(step.value, 'value') };
    case 'read':
      return { ...step, at: map(step.at, 'at') };
    case 'describe': {
      const { at, vm, isProtected, vcpus } = step;
      return {
        ...step,
        at: map(at, 'at'),
        vm: map(vm, 'vm'),
        isProtected: map(isProtected, 'isProtected'),
        vcpus: map(vcpus, 'vcpus'),
      };
    }
    case 'dma': {
      const iova = map(step.iova, 'iova');
      return step.value === undefined ? { ...step, iova } : { ...step, iova, value: map(step.value, 'value') };
    }
    default:
      return step;
  }
}
