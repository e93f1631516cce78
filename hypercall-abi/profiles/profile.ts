/**
 * A profile: the contract of one generation of the hypervisor, as data. Which calls there are, how they are numbered,
 * what they take and give back, what limits hold. The order in which an entry checks is not data: each generation has
 * its own entry in the hypervisor and its own rows in the oracle's call specification.
 */

import type { CallName, CallSpec } from '../calls.ts';

export type ProfileName = 'android17';

export interface ProfileData {
  readonly name: ProfileName;
  /** One line: which upstream code. */
  readonly summary: string;
  /** Every call, in the order of its position. */
  readonly calls: readonly CallSpec[];
  readonly domains: {
    /** How many there are. */
    readonly count: number;
    /** The host may name ids below this. */
    readonly hostCount: number;
    /** The id of the identity domain. */
    readonly identity: number;
  };
  /** The values of alloc_domain's type, by what they are called; none is negative, and there are no gaps. */
  readonly domainTypes: Readonly<Record<string, number>> & { readonly s1: number; readonly s2: number };
}

export class Profile {
  readonly name: ProfileName;
  readonly summary: string;
  readonly calls: readonly CallSpec[];
  readonly domains: ProfileData['domains'];
  readonly domainTypes: ProfileData['domainTypes'];
  /** The first value that is no domain type. */
  readonly domainTypeLimit: number;
  readonly #byName: ReadonlyMap<string, CallSpec>;
  readonly #byPosition: readonly (CallSpec | undefined)[];

  constructor(data: ProfileData) {
    this.name = data.name;
    this.summary = data.summary;
    this.calls = data.calls;
    this.domains = data.domains;
    this.domainTypes = data.domainTypes;
    this.domainTypeLimit = Math.max(...Object.values(data.domainTypes)) + 1;
    this.#byName = new Map(data.calls.map((spec) => [spec.name, spec]));
    const byPosition: (CallSpec | undefined)[] = [];
    for (const spec of data.calls) byPosition[spec.position] = spec;
    this.#byPosition = byPosition;
  }

  /** Whether there is a call of that name. */
  has(name: string): name is CallName {
    return this.#byName.has(name);
  }

  /** The call of that name. @throws RangeError naming the calls there are */
  call(name: string): CallSpec {
    const spec = this.#byName.get(name);
    if (spec === undefined) {
      throw new RangeError(`no hypercall '${name}'; there are: ${[...this.#byName.keys()].join(', ')}`);
    }
    return spec;
  }

  /** The call at that position of the function-id space, if there is one. */
  at(position: number): CallSpec | undefined {
    return this.#byPosition[position];
  }
}
