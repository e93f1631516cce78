/** What a walk reads: memory in 64-bit words, and the registers that say where the stream table is. */
import { type Fixture, fixtureRead64 } from '../fixture/fixture.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { decodeCapabilities, type SmmuCapabilities } from '../oracle/decode/idr.ts';

/** Memory as the SMMU sees it. */
export interface MemorySource {
  /** The word at `pa` (8-byte aligned); null where a fetch would abort. */
  read64(pa: number): Word64 | null;
}

/** A frozen SMMU with its memory. */
export interface WalkSource {
  readonly memory: MemorySource;
  readonly capabilities: SmmuCapabilities;
  /** CR0, CR2, GBPA and STRTAB_BASE_CFG as they read. */
  readonly cr0: number;
  readonly cr2: number;
  readonly gbpa: number;
  readonly strtabBase: Word64;
  readonly strtabBaseCfg: number;
}

/** A fixture as the source of walks. */
export function walkSource(fixture: Fixture): WalkSource {
  return frozenSource({ read64: (pa) => fixtureRead64(fixture, pa) }, fixture.registers);
}

/** Any memory with the registers of its SMMU, by name, as the source of walks. */
export function frozenSource(memory: MemorySource, registers: ReadonlyMap<string, Word64>): WalkSource {
  const low = (name: string): number => registers.get(name)?.lo ?? 0;
  return {
    memory,
    capabilities: decodeCapabilities(low('IDR0'), low('IDR1'), low('IDR3'), low('IDR5')),
    cr0: low('CR0'),
    cr2: low('CR2'),
    gbpa: low('GBPA'),
    strtabBase: registers.get('STRTAB_BASE')!,
    strtabBaseCfg: low('STRTAB_BASE_CFG'),
  };
}
