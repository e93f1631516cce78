/**
 * A profile: the contract of one generation of the hypervisor, as data. Which calls there are, how they are numbered,
 * what they take and give back, what limits hold. The order in which an entry checks is not data: each generation has
 * its own entry in the hypervisor and its own rows in the oracle's call specification.
 */

import type { CallName, CallSpec } from '../calls.ts';

export type ProfileName = 'android17' | 'android16' | 'rfc-v2' | 'rfc-v1';

/** Numbers by which the hypervisor's page records tell what a component has of a page. */
export interface PageStates {
  readonly owned: number;
  readonly sharedOwned: number;
  readonly sharedBorrowed: number;
  readonly noPage: number;
}

/**
 * How a call asks for memory. `x2`: type in x2[7:0], pages in x2[39:8]. `x2-x3`: type 1 in x2[7:0], what the memory is
 * for in x2[15:8] (heap 1, IOMMU 3), number of chunks in x3[31:0], bytes of each in x3[63:32]. `needs-page`: in no register;
 * the CPU's memcache (see {@link Memcache}) says that it was empty when a page was needed.
 */
export type RequestStyle = 'x2' | 'x2-x3' | 'needs-page';

/** Domain types: `any` leaves the stage to the hardware, `bypass` is the identity domain's, `nested` has a guest's stage 1. */
export interface DomainTypes {
  readonly s1: number;
  readonly s2: number;
  readonly any?: number;
  readonly bypass?: number;
  readonly nested?: number;
}

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
    /** The id of the identity domain; -1 where there is none. */
    readonly identity: number;
    /** Where their records are: in one array, or in leaf pages that are made as ids are allocated. */
    readonly table: 'array' | 'two-level';
    /**
     * Where each IOMMU has domains of its own: how many, a power of two. Everywhere but in the registers of a call a domain
     * then goes by the number iommu * perIommu + domain; the tag of its translations is the lower part.
     */
    readonly perIommu?: number;
  };
  /** The values of alloc_domain's type, by what they are called; there are no gaps. */
  readonly domainTypes: DomainTypes;
  /**
   * When a domain gets its page table: with alloc_domain, which names the IOMMU; or with the first attach, from the
   * features of that stream's IOMMU, which also decide the stage where the type leaves it open.
   */
  readonly tableBuilt: 'alloc' | 'first-attach';
  /** Whether the streams of a domain are all behind one IOMMU, or may be behind several that share its table. */
  readonly domainSmmus: 'one' | 'several';
  readonly pageStates: PageStates;
  readonly request: RequestStyle;
  /** Split of StreamIDs in a two-level stream table; 8 when left out. */
  readonly streamTableSplit?: number;
}

export class Profile {
  readonly name: ProfileName;
  readonly summary: string;
  readonly calls: readonly CallSpec[];
  readonly domains: ProfileData['domains'];
  readonly domainTypes: ProfileData['domainTypes'];
  readonly tableBuilt: ProfileData['tableBuilt'];
  readonly domainSmmus: ProfileData['domainSmmus'];
  readonly pageStates: PageStates;
  readonly request: RequestStyle;
  readonly streamTableSplit: number;
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
    this.tableBuilt = data.tableBuilt;
    this.domainSmmus = data.domainSmmus;
    this.pageStates = data.pageStates;
    this.request = data.request;
    this.streamTableSplit = data.streamTableSplit ?? 8;
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

  /** Those of these names that are calls here. */
  namesOf(...names: readonly CallName[]): CallName[] {
    return names.filter((name) => this.has(name));
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
