/** The names and values in steps: finding them, and putting others in their place. */

import { unitOf } from '#hypercall-abi';
import type { Step, Value } from './types.ts';
import { isName, isPage } from './value.ts';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

/** What a name stands for, as far as its place tells: names of different kinds are never merged. */
function nameKind(step: Step, field: string): string {
  if (step.kind === 'guest') return 'guest domain';
  if (step.kind !== 'call') return 'vm';
  const unit = unitOf(step.call, field);
  return unit === 'domain' ? 'domain' : unit === 'stream' ? 'device' : 'vm';
}

/** The name that a step gives to what its call returns. */
function boundName(step: Step): { readonly kind: string; readonly name: string } | null {
  if ((step.kind !== 'call' && step.kind !== 'guest') || step.bind === undefined) return null;
  return { kind: step.kind === 'guest' ? 'guest domain' : 'vm', name: step.bind };
}

function rebound(step: Step, name: string): Step {
  return step.kind === 'call' || step.kind === 'guest' ? { ...step, bind: name } : step;
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
    const bound = boundName(step);
    if (bound !== null) add(bound.kind, bound.name);
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
  const bound = boundName(changed);
  return bound?.kind === kind && bound.name === from ? rebound(changed, to) : changed;
}

/** The same steps with names in order: pages a, b, c, domains d1, d2, those of guests g1, g2, VMs vm1, vm2. What they stand for stays the same. */
export function orderlyNames(steps: readonly Step[]): readonly Step[] {
  const names = namesOf(steps);
  const pages = new Map((names.get('page') ?? []).map((name, i) => [name, i < 26 ? LETTERS[i]! : `p${i}`]));
  const domains = new Map((names.get('domain') ?? []).map((name, i) => [name, `d${i + 1}`]));
  const vms = new Map((names.get('vm') ?? []).map((name, i) => [name, `vm${i + 1}`]));
  const guests = new Map((names.get('guest domain') ?? []).map((name, i) => [name, `g${i + 1}`]));
  const byKind = new Map([
    ['domain', domains],
    ['vm', vms],
    ['guest domain', guests],
  ]);
  return steps.map((step) => {
    const changed = mapValues(step, (value, field) => {
      if (isPage(value)) return { ...value, page: pages.get(value.page)! };
      if (!isName(value)) return value;
      const known = byKind.get(nameKind(step, field));
      return known === undefined ? value : { name: known.get(value.name)! };
    });
    const bound = boundName(changed);
    return bound === null ? changed : rebound(changed, byKind.get(bound.kind)!.get(bound.name)!);
  });
}

/** The step with every value mapped; the field is the argument's or the property's name. */
export function mapValues(step: Step, map: (value: Value, field: string) => Value): Step {
  switch (step.kind) {
    case 'call':
    case 'guest': {
      const args: Record<string, Value> = {};
      for (const [name, value] of Object.entries(step.args)) args[name] = map(value, name);
      return { ...step, args };
    }
    case 'hvc':
    case 'guestHvc':
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
