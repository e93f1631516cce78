/** What the oracle found, as data. A finding names the property, the rule of it that is broken, and the call. */

import { copyRegisters, defaultProfile, formatCall, formatGuestCall, type Profile } from '#hypercall-abi';
import { PROPERTY_NAMES, type Property } from './properties.ts';

/** What a finding tells beside its text: numbers are addresses, ids or counts, by name. */
export type Detail = Readonly<Record<string, number | string>>;

export interface Finding {
  readonly property: Property;
  /** Which rule of the property: a row of the call specification, or a short name. */
  readonly rule: string;
  /** The call during which it was found, formatted; empty outside of calls. */
  readonly call: string;
  readonly cpu: number;
  readonly detail: Detail;
  readonly text: string;
}

/** Findings of one kind that differ only in where they are. */
const SAME_RULE_LIMIT = 4;

/** Collects findings. The first ones tell most: what follows from them is cut off per rule and in total. */
export class Findings {
  readonly list: Finding[] = [];
  /** Findings that were left out because there were enough of their kind. */
  suppressed = 0;
  /** Which findings are collected at the moment; all of them when null. */
  only: ((property: Property, rule: string) => boolean) | null = null;
  private readonly limit: number;
  private readonly profile: Profile;
  private readonly properties: ReadonlySet<Property>;
  private readonly before = new Int32Array(16);
  private cpu = -1;
  private inCall = false;
  private isGuests = false;
  private readonly seen = new Map<string, number>();

  /**
   * @param profile what the calls of findings are printed by
   * @param properties those that are reported
   */
  constructor(limit: number, profile: Profile = defaultProfile, properties = PROPERTY_NAMES) {
    this.limit = limit;
    this.properties = new Set(properties);
    this.profile = profile;
  }

  /** From now on findings belong to the call whose registers are in `x`. */
  beginCall(cpu: number, x: Int32Array): void {
    copyRegisters(this.before, x);
    this.cpu = cpu;
    this.inCall = true;
    this.isGuests = false;
  }

  /** The same for a call of the guest whose vCPU is loaded on that CPU. */
  beginGuestCall(cpu: number, x: Int32Array): void {
    this.beginCall(cpu, x);
    this.isGuests = true;
  }

  endCall(): void {
    this.inCall = false;
  }

  /** Properties that are not reported. */
  get off(): readonly Property[] {
    return PROPERTY_NAMES.filter((name) => !this.properties.has(name));
  }

  add(property: Property, rule: string, text: string, detail: Detail = {}): void {
    if (!this.properties.has(property) || (this.only !== null && !this.only(property, rule))) return;
    const count = this.count(property, rule);
    if (count >= SAME_RULE_LIMIT || this.list.length >= this.limit || this.repeats(property, rule, text)) {
      this.suppressed++;
      return;
    }
    const call = this.inCall ? this.callText() : '';
    this.list.push({ property, rule, call, cpu: this.inCall ? this.cpu : -1, detail, text });
  }

  private callText(): string {
    return this.isGuests ? formatGuestCall(this.before) : formatCall(this.before, this.profile);
  }

  private repeats(property: Property, rule: string, text: string): boolean {
    return this.list.some((f) => f.property === property && f.rule === rule && f.text === text);
  }

  /** Forget all but the first `kept`. */
  clear(kept = 0): void {
    this.list.length = Math.min(kept, this.list.length);
    this.suppressed = 0;
    this.seen.clear();
    for (const { property, rule } of this.list) this.count(property, rule);
  }

  /** @returns how many of the kind there were before */
  private count(property: Property, rule: string): number {
    const key = `${property} ${rule}`;
    const count = this.seen.get(key) ?? 0;
    this.seen.set(key, count + 1);
    return count;
  }
}

/** An address for people. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
