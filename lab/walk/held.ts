/** What a cache may still hold, in words, and the commands after which it holds it no more. */
import type { StaleEntry } from '#machine';

const PAGE = 4096;
const SYNC = 'CMD_SYNC';

/** What the entry is a copy of. @param target what a leaf leads to, in words */
export function heldSentence(entry: StaleEntry, target: string | null): string {
  const { kind, stage, sid, iova, size } = entry;
  switch (kind) {
    case 'leaf': {
      const input = stage === 2 ? 'IPA' : 'IOVA';
      const range = size > PAGE ? `${hex(iova)} to ${hex(iova + size - 1)}` : hex(iova);
      return `old leaf of ${input} ${range}, ${tagName(entry)}${target === null ? '' : `: leads to ${target}`}`;
    }
    case 'table':
      return `old pointer to a level ${entry.level + 1} table, from ${stage === 2 ? 'IPA' : 'IOVA'} ${hex(iova)}, ${tagName(entry)}`;
    case 'tag':
      return `translations of ${tagName(entry)}, which no stream uses any more`;
    case 'ste':
      return `old words of the STE of stream ${hex(sid)}`;
    case 'cd':
      return `old words of the CD of stream ${hex(sid)}`;
    case 'l1cd':
      return `old level-1 context descriptor of stream ${hex(sid)}`;
    case 'l1std':
      return `old level-1 stream table descriptor, from stream ${hex(sid)}`;
    case 'strtab':
      return 'the stream table that STRTAB_BASE named before';
  }
}

/**
 * The commands that are missing before no cache holds the entry: the invalidation unless one covers it, and the SYNC.
 * @param nested stage-1 entries may hold what stage 2 says: no invalidation by IPA finds it there
 */
export function missingCommands(entry: StaleEntry, nested = false): string[] {
  const { kind, stage, vmid, combined, pending } = entry;
  const within = nested && stage === 2 && (kind === 'leaf' || kind === 'table') && !combined;
  const own = pending ? [] : [invalidation(entry)];
  return [...own, ...(within ? [`TLBI_NH_ALL VMID ${vmid}`] : []), SYNC];
}

function invalidation(entry: StaleEntry): string {
  const { kind, stage, vmid, asid, sid } = entry;
  switch (kind) {
    case 'leaf':
    case 'table': {
      if (entry.combined) return `TLBI_NH_ALL VMID ${vmid}`;
      const range = `${hex(entry.iova)}${pagesOf(entry.size)}${kind === 'table' ? ', Leaf 0' : ''}`;
      if (stage === 2) return `TLBI_S2_IPA VMID ${vmid}, IPA ${range}`;
      if (asid < 0) return `TLBI_NH_VAA VMID ${vmid}, IOVA ${range}`;
      return `TLBI_NH_VA VMID ${vmid}, ASID ${asid}, IOVA ${range}`;
    }
    case 'tag':
      return stage === 2 ? `TLBI_S12_VMALL VMID ${vmid}` : `TLBI_NH_ASID VMID ${vmid}, ASID ${asid}`;
    case 'ste':
      return `CFGI_STE StreamID ${hex(sid)}`;
    case 'cd':
      return `CFGI_CD StreamID ${hex(sid)}, SubstreamID ${Math.max(0, entry.ssid)}`;
    case 'l1cd':
      return `CFGI_CD_ALL StreamID ${hex(sid)}`;
    case 'l1std':
      return `CFGI_STE StreamID ${hex(sid)}, Leaf 0, for every stream below it`;
    case 'strtab':
      return 'CFGI_ALL';
  }
}

function tagName({ stage, vmid, asid }: StaleEntry): string {
  if (stage === 2) return `VMID ${vmid}`;
  return asid < 0 ? `VMID ${vmid}, global` : `VMID ${vmid}, ASID ${asid}`;
}

function pagesOf(size: number): string {
  return size > PAGE ? `, ${size / PAGE} pages` : '';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
