/** What the `arm-lpae-*` vector files hold: page tables as upstream code built them. The shapes are in `lpae-shapes.ts`. */

/** Addresses, sizes, descriptors and registers are hexadecimal strings; counts are numbers. */
export interface VectorConfig {
  readonly fmt: string;
  readonly pgsize_bitmap: string;
  readonly ias: number;
  readonly oas: number;
  readonly coherent_walk: boolean;
  readonly quirks: readonly string[];
}

export interface ConfigOut {
  readonly pgsize_bitmap: string;
  readonly ias: number;
  readonly oas: number;
  readonly start_level: number;
  readonly pgd_bits: number;
  readonly bits_per_level: number;
  readonly pgd_size: number;
  readonly ttbr?: string;
  readonly tcr?: Readonly<Record<string, number>>;
  readonly mair?: string;
  readonly vttbr?: string;
  readonly vtcr?: Readonly<Record<string, number>>;
}

interface Result {
  /** Warnings; events in order; digest of the leaves afterwards. */
  readonly w?: number;
  readonly ev?: readonly string[];
  readonly ck?: string;
}

export type VectorOp = Result &
  (
    | {
        readonly o: 'map';
        readonly iova: string;
        readonly pa: string;
        readonly sz: string;
        readonly n: number;
        readonly prot: number;
        readonly ret: number;
        readonly mapped: string;
      }
    | { readonly o: 'unmap'; readonly iova: string; readonly sz: string; readonly n: number; readonly ret: string }
    | { readonly o: 'i2p'; readonly iova: string; readonly ret: string }
    | { readonly o: 'walk'; readonly iova: string; readonly ret: number; readonly ptes: readonly string[] }
    | { readonly o: 'failalloc'; readonly skip: number; readonly count: number }
    | { readonly o: 'hwdirty'; readonly iova: string; readonly hit: number }
    | {
        readonly o: 'dirty';
        readonly iova: string;
        readonly sz: string;
        /** 1: do not clear. */
        readonly flags: number;
        readonly ret: number;
        /** `[iova, bytes]`, ranges that follow on each other joined. */
        readonly dirty: readonly (readonly [string, string])[];
      }
  );

/** `[iova, pa, size, count, attributes]` */
export type Leaf = readonly [string, string, string, number, string];

/** `[index, value]` or `[index, value, count, stride]` */
export type Entries = readonly [number, string] | readonly [number, string, number, string];

export interface Table {
  readonly pa: string;
  readonly lvl: number;
  readonly n: number;
  readonly e: readonly Entries[];
}

export interface Sequence {
  readonly id: string;
  readonly cfg: VectorConfig & { readonly arena: string };
  readonly cfg_out: ConfigOut;
  readonly alloc_ev: readonly string[];
  readonly ops: readonly VectorOp[];
  readonly final: { readonly leaves: readonly Leaf[]; readonly digest: string; readonly tables: readonly Table[] };
  readonly free_ev: readonly string[];
}

export interface ConfigCase extends VectorConfig {
  readonly out: ConfigOut | null;
}
